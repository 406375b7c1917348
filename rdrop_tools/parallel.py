"""Parallel map over a stream: several processes, results in order, bounded memory."""

import itertools
import os
import signal
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process

from rdrop_tools.arguments import at_least_one

CHUNK = 2000  # items that travel to a worker at a time: long enough to make the journey cheap
AHEAD = 4  # chunks for each worker that may be under way or wait for their turn
# Those that this process may use
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def map_chunks(function, items, workers):
    """Yield `function(list of items)` for chunk after chunk of `items`, in order.

    Args:
        function: of a module's top level, since it travels to other processes.
        workers: processes; 1 works in this one.

    Raises:
        ChildProcessError: a worker was killed.
    """
    chunks = _chunks(items)
    if workers == 1:
        yield from map(function, chunks)
        return
    try:
        yield from _map_in_processes(function, chunks, workers)
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process was killed, perhaps because the memory was full: run the same "
            "command again, with fewer --workers."
        ) from error


def _map_in_processes(function, chunks, workers):
    with ProcessPoolExecutor(workers, initializer=_follow_the_parent) as pool:
        pending = deque()
        for chunk in chunks:
            pending.append(pool.submit(function, chunk))
            if len(pending) >= AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _chunks(items):
    items = iter(items)
    while chunk := list(itertools.islice(items, CHUNK)):
        yield chunk


def _follow_the_parent():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends its workers
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent():
    """End when the parent was killed; a worker would wait for work, and hold locks, for ever."""
    parent_process().join()
    os._exit(1)


def add_workers_argument(parser):
    """Add `--workers`, by default every core."""
    parser.add_argument(
        "--workers",
        type=at_least_one,
        default=CORES,
        help="processes; changes no result (%(default)s)",
    )
