"""A lock on what a program writes, so that no second one writes there at the same time.

It is a lock of the system on an open file (flock), so whatever a program starts holds it too, and
the system releases it when the last of them has ended, in whatever way. The text in the file only
says who holds the lock; a file without a lock means nothing.

The shell scripts run this file, on an open file that is their standard input: see
examples/lib/lock.sh. It needs nothing but Python itself, since the quickstart takes its lock before
it installs anything.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import sys
import time

HELD = {errno.EACCES, errno.EAGAIN}
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # some network file systems
# Seconds for what a killed program leaves behind to end: PyTorch's data workers look every five
PATIENCE = 10


@contextlib.contextmanager
def locked(path, what):
    """Hold the lock of the file `path`, which is there only for that, on `what` a user knows.

    Raises BlockingIOError, in a sentence for the user, if another program holds it.
    """
    with open(path, "a+", encoding="utf-8") as file:
        take(file.fileno(), path, what)
        file.truncate(0)
        with contextlib.suppress(OSError):  # on a full disk the lock has no name and holds as well
            program = os.path.basename(sys.argv[0])
            print(f"{program} (process {os.getpid()} {where_and_when()})", file=file, flush=True)
        try:
            yield
        finally:
            os.unlink(path)


def take(descriptor, path, what):
    """Lock an open file, which is the one at `path`.

    Raises BlockingIOError, in a sentence for the user, if another program holds the lock.
    """
    deadline = time.monotonic() + PATIENCE
    while not _flock(descriptor, what):
        holder = _read(path)
        if _is_running(holder) or time.monotonic() > deadline:
            raise BlockingIOError(
                f"{what} is in use by {holder or 'another program'}: wait until that has ended, "
                "or end it."
            )
        time.sleep(0.2)
    if not os.path.exists(path) or not os.path.samestat(os.stat(path), os.fstat(descriptor)):
        raise BlockingIOError(f"{what} was in use until now: run the same command again.")


def where_and_when():
    """Return the host and the time, as they stand in the file of a lock."""
    return f"on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"


def _flock(descriptor, what):
    """Return whether this program holds the lock now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        if error.errno not in NO_LOCKS:
            raise
        print(
            f"{what} is on a file system without locks: start no second program that writes there.",
            file=sys.stderr,
        )
    return True


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _is_running(holder):
    """Whether a holder is known and still there; on another host it is taken to be."""
    named = re.search(r"process (\d+) on (.*) since ", holder)
    if not named:
        return False
    if named[2] != socket.gethostname():
        return True
    try:
        os.kill(int(named[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def main():
    """Lock the standard input for a shell script, and print the host and the time."""
    program, path, what = sys.argv[1:]
    try:
        take(sys.stdin.fileno(), path, what)
    except OSError as error:
        sys.exit(f"{program}: {error}")
    print(where_and_when())


if __name__ == "__main__":
    main()
