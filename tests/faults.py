"""What befalls programs: killed at any moment, interrupted, out of disk space."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import time


def run_undisturbed(command, **options) -> float:
    """Run a command, which has to succeed; return the seconds that it took."""
    start = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **options)
    return time.monotonic() - start


def kill_at_random(command, seconds, begin_anew, times=10, seed=1, **options) -> None:
    """Start a command so many times and kill it, with all that it has started, at a random moment.

    Args:
        seconds: how long the command takes; it is killed before, wherever that may be.
        begin_anew: called when it has ended before it was killed, to take away what it made.
    """
    chance = random.Random(seed)
    killed = 0
    while killed < times:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0, seconds))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
        else:
            begin_anew()


@contextlib.contextmanager
def full_disk(at):
    """No file can grow beyond ``at`` bytes: for this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder, but=()) -> dict:
    """Every file under a folder, hidden ones too, except those of some names: {path: bytes}."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but
    }
