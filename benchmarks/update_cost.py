#!/usr/bin/env python3
"""CPU time of an update of examples/ablations, by its method and passes over a sentence."""

import argparse
import random
import subprocess
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import interleaved

# measure comes first: it silences what fairseq says when it is imported
# isort: split

import fairseq.tasks
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.trainer import Trainer

import rdrop_fairseq  # noqa: F401

SETTINGS = Path(__file__).resolve().parents[1] / "examples" / "ablations" / "settings.sh"
READ = '. "$1"; printf "%s\\0" "${model[@]}" "${optimization[@]}"'
PLAIN = ("--criterion", "label_smoothed_cross_entropy")
RDROP = ("--criterion", "rdrop_label_smoothed_cross_entropy")
ADDROP = ("--criterion", "addrop_label_smoothed_cross_entropy", "--no-cross-tuning")
VARIANTS = {
    "plain": PLAIN,
    "plain, two batches": PLAIN,
    "R-Drop": RDROP,
    "R-Drop, 3 views": (*RDROP, "--rdrop-views", "3"),
    "R-Drop, 4 views": (*RDROP, "--rdrop-views", "4"),
    "SimCut": ("--criterion", "simcut_label_smoothed_cross_entropy"),
    "AD-DROP": ADDROP,
    "AD-DROP, attention": (*ADDROP, "--addrop-attribution", "attention"),
    "AD-DROP, random": (*ADDROP, "--addrop-attribution", "random"),
    "AD-DROP, integrated": (*ADDROP, "--addrop-attribution", "integrated", "--addrop-steps", "4"),
    "R-Drop with AD-DROP": (*RDROP, "--rdrop-second-view", "addrop"),
}
UPDATES = 8  # of a round


def build(data, variant):
    """A function that makes the updates of a round with the next batches, as fairseq-train does."""
    read = subprocess.run(["bash", "-c", READ, "bash", SETTINGS], capture_output=True, check=True)
    settings = read.stdout.decode().split("\0")[:-1]
    words = [str(data), *settings, *VARIANTS[variant], "--cpu", "--total-num-update", "3000"]
    parsed = options.parse_args_and_arch(options.get_training_parser(), words)
    cfg = convert_namespace_to_omegaconf(parsed)
    task = fairseq.tasks.setup_task(cfg.task)
    torch.manual_seed(1)
    trainer = Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
    task.load_dataset("train")
    iterator = task.get_batch_iterator(
        task.dataset("train"), cfg.dataset.max_tokens, required_batch_size_multiple=8
    )
    batches = list(iterator.next_epoch_itr(shuffle=False))
    random.Random(1).shuffle(batches)
    trainer.reset_dummy_batch(batches[0])
    return partial(one_round, trainer, batches, 2 if "two" in variant else 1)


def one_round(trainer, batches, of_an_update):
    """A few updates; the batches move on."""
    for _ in range(UPDATES):
        batch = batches.pop(0)
        batches.append(batch)
        with metrics.aggregate():
            trainer.train_step([batch] * of_an_update)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="binarized, as examples/ablations makes it")
    parser.add_argument("--rounds", type=int, default=6, help="interleaved (%(default)s)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    functions = {variant: build(args.data, variant) for variant in ["plain", *args.variants]}
    interleaved(functions, 1, "cpu")  # Adam's state is made in the first update
    seconds = interleaved(functions, args.rounds, "cpu", clock=time.process_time)
    print("| update | CPU s, minimum | median | / plain, minima | / plain, median of the rounds |")
    print("| --- | ---: | ---: | ---: | ---: |")
    plain = seconds["plain"]
    for variant, rounds in seconds.items():
        ratio = median(own / base for own, base in zip(rounds, plain))
        each = f"{min(rounds) / UPDATES:.3f} | {median(rounds) / UPDATES:.3f}"
        print(f"| {variant} | {each} | {min(rounds) / min(plain):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
