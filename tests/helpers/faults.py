"""What can happen to a program from outside: it is killed at any moment, or the disk is full."""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time

from helpers.launch import run, start


def run_undisturbed(command, **options) -> float:
    """Run a command, which has to succeed; return the seconds that it took."""
    begin = time.monotonic()
    run(*command, **options)
    return time.monotonic() - begin


def kill_at_random(command, seconds, check_end, out, times=10, seed=1, **options) -> None:
    """Start a command so many times and kill it, with all that it has started, at a random moment.

    Args:
        seconds: how long the command takes; it is killed before, wherever that may be.
        check_end: called when it has ended before it was killed.
        out: what it makes, which is then removed.
    """
    chance = random.Random(seed)
    options = {"stdout": subprocess.DEVNULL, **options}
    killed = 0
    while killed < times:
        process = start(*command, start_new_session=True, **options)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0, seconds))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
        else:
            check_end()
            shutil.rmtree(out)


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
