"""What the benchmarks share: clock, memory, surroundings, one CSV.

Variants take turns at the clock, so that a busy machine is busy for all of them.
"""

import argparse
import csv
import ctypes
import functools
import gc
import logging
import math
import multiprocessing
import os
import platform
import statistics
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from rdrop_tools import manifest

logging.basicConfig(level=logging.WARNING)  # before fairseq, which says much at import
warnings.simplefilter("ignore")  # and is warned of much: it is older than its dependencies
RESULTS = Path(__file__).with_name("results.csv")
RESET_PEAK = "5"


def options(description: str, default_repeats: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="of operands"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=default_repeats, help="interleaved rounds")
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--csv", type=Path, default=RESULTS, help="where rows are appended")
    return parser


def interleaved(variants: dict, repeats: int, device: str, clock=time.perf_counter) -> dict:
    """Seconds of each round of each variant, which take turns: A B C A B C ...

    Args:
        variants: name to a function without arguments.
        repeats: rounds to count; on a GPU one more comes before them.
        clock: ``time.process_time`` counts the seconds of the CPU.
    """
    seconds = {name: [] for name in variants}
    for round_number in range(repeats + (device == "cuda")):
        for name, run in variants.items():
            elapsed = timed(run, device, clock)
            if round_number or device != "cuda":
                seconds[name].append(elapsed)
    return seconds


def timed(run, device: str, clock=time.perf_counter) -> float:
    """Seconds of one call."""
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronize()
    start = clock()
    run()
    synchronize()
    return clock() - start


def peaks(build, case, variants: list) -> dict:
    """MiB that ``build(case, variant)()`` holds at its peak beyond what it starts with, by variant.

    ``case.device`` is a GPU, whose memory PyTorch counts, or a CPU, and then each has its process.
    """
    measured = peak_on_gpu if case.device == "cuda" else peak_in_a_fresh_process
    return {variant: measured(build, case, variant) for variant in variants}


def peak_on_gpu(build, *arguments) -> float:
    """MiB of the GPU, as :func:`peaks`."""
    run = build(*arguments)
    gc.collect()  # of what was measured before
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def peak_in_a_fresh_process(build, *arguments) -> float:
    """MiB of a CPU's memory, as :func:`peaks`.

    ``build`` and its arguments travel to another process, so they must be of a module's top level.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:  # a Pool would wait for a dead process
        return pool.submit(_peak, torch.get_num_threads(), build, *arguments).result()


def _peak(threads, build, *arguments):
    torch.set_num_threads(threads)
    run = build(*arguments)
    ctypes.CDLL(None).malloc_trim(0)  # what was freed, but kept for later, would hide new memory
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)  # it starts again from what is held now
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """A size in KiB of this process, as Linux knows it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def available_memory(device: str) -> int:
    """Bytes that are free for a benchmark."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@functools.lru_cache(maxsize=1)
def surroundings() -> dict:
    """What a figure depends on besides the code and its sizes."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": manifest.commit(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fairseq": manifest.fairseq(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def rows_of(seconds: dict, peaks: dict, **sizes) -> list:
    """One row of the CSV for each variant."""
    return [
        {
            **surroundings(),
            **sizes,
            "threads": torch.get_num_threads(),
            "variant": name,
            "repeats": len(times),
            "minimum_s": round(min(times), 4),
            "median_s": round(statistics.median(times), 4),
            "maximum_s": round(max(times), 4),
            "peak_mib": round(peaks[name]) if name in peaks else "",
        }
        for name, times in seconds.items()
    ]


def append(path: Path, rows: list) -> None:
    """Add rows to a CSV, which gets its header with the first one."""
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def table(rows: list, ratios_to: list) -> str:
    """A Markdown table of times and memory, with ratios to some of the variants."""
    minimum = {row["variant"]: row["minimum_s"] for row in rows}
    bases = [base for base in ratios_to if base in minimum]
    heads = [
        "variant",
        "minimum s",
        "median s",
        "maximum s",
        "peak MiB",
        *(f"/ {b}" for b in bases),
    ]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for row in rows:
        ratios = [f"{row['minimum_s'] / (minimum[base] or math.nan):.2f}" for base in bases]
        times = [f"{row[name]:.3f}" for name in ("minimum_s", "median_s", "maximum_s")]
        lines.append([row["variant"], *times, str(row["peak_mib"]), *ratios])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
