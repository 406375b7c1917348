#!/usr/bin/env python3
"""Speed and memory of scripts/prepare_corpus.py on WMT14's settings, by the number of workers."""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "scripts" / "prepare_corpus.py"
WMT14_PAIRS = 4_520_620
SETTINGS = ("--normalize", "--aggressive-dash-splits", "--valid-every", "100")
REFRESH = 0.2  # seconds between two looks at the memory


def make_originals(texts, languages, folder, pairs):
    """Write `pairs` lines of each text, over and over if it is shorter, and their table."""
    for path, language in zip(texts, languages):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as text:
            lines = text.readlines()
        train = (lines * (pairs // len(lines) + 1))[:pairs]
        (folder / f"train.{language}").write_text("".join(train), encoding="utf-8")
        (folder / f"test.{language}").write_text(lines[0], encoding="utf-8")
    table = [
        {"name": s, "split": s, "format": "plain", "files": [f"{s}.{lang}" for lang in languages]}
        for s in ("train", "test")
    ]
    content = {"languages": languages, "archives": [], "texts": table}
    (folder / "corpus.json").write_text(json.dumps(content))


def prepare(originals, out, workers):
    """Return (seconds, MiB of all processes at the peak) of one preparation."""
    command = [sys.executable, PROGRAM, "--corpus", originals / "corpus.json"]
    command += ["--orig", originals, "--out", out, "--workers", str(workers), *SETTINGS]
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(REFRESH)
    if process.returncode:
        sys.exit("the preparation failed, the lines above say why")
    return time.perf_counter() - start, peak


def memory_of(pid):
    """MiB of a process and its children; what they share counts once (PSS)."""
    kibibytes = 0
    for task in (pid, *_children(pid)):
        try:
            lines = Path(f"/proc/{task}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        kibibytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kibibytes / 1024


def _children(pid):
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--texts", type=Path, nargs=2, required=True, help="parallel, one a language"
    )
    parser.add_argument("--languages", nargs=2, required=True)
    parser.add_argument("--pairs", type=int, default=60_000, help="(%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, os.cpu_count()])
    parser.add_argument("--repeats", type=int, default=3, help="interleaved rounds (%(default)s)")
    args = parser.parse_args()
    results = {workers: [] for workers in args.workers}
    with tempfile.TemporaryDirectory() as folder:
        make_originals(args.texts, args.languages, Path(folder), args.pairs)
        for number in range(args.repeats):
            for workers, measured in results.items():
                measured.append(prepare(Path(folder), Path(folder, f"{number}-{workers}"), workers))
    seconds = {workers: min(measured)[0] for workers, measured in results.items()}
    print("| workers | pairs a second | / one worker | peak MiB | WMT14 En-De would take |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for workers, measured in results.items():
        speed = args.pairs / seconds[workers]
        ratio = seconds[args.workers[0]] / seconds[workers]
        peak = max(peak for _, peak in measured)
        minutes = WMT14_PAIRS / speed / 60
        print(f"| {workers} | {speed:,.0f} | {ratio:.2f} | {peak:.0f} | {minutes:.0f} min |")


if __name__ == "__main__":
    main()
