"""What every test may ask for: a tiny corpus, fairseq's programs, a built model, real text."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
PLUGIN = REPOSITORY / "rdrop_fairseq"

torch.set_num_threads(1)
# Where pytest runs in the background of a shell Ctrl-C is ignored, and whatever a test starts would
# inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real text beside the checkout; on CI its absence is a failure."""
    folder = REPOSITORY.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    reason = f"needs the real text in {folder}, which is not there"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def program():
    """Run a command-line program of this environment: ``program("fairseq-train", ...)``."""

    def run(name, *arguments, cwd=REPOSITORY, check=True, **environment):
        command = [Path(sys.executable).with_name(name), *arguments]
        finished = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if check and finished.returncode != 0:
            raise AssertionError(f"{name} ended with {finished.returncode}:\n{finished.stdout}")
        return finished

    return run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, program) -> SimpleNamespace:
    """Binarised toy corpora: ``.translation`` (de to en) and ``.monolingual`` (en).

    The test set has 53 sentences: not a multiple of fairseq's batch size multiple of 8.
    """
    folder = tmp_path_factory.mktemp("corpus")
    words = [f"w{number}" for number in range(40)]
    chance = random.Random(0)
    for split, size in {"train": 200, "valid": 21, "test": 53}.items():
        source = [chance.choices(words, k=chance.randint(1, 9)) for _ in range(size)]
        for language, sentences in {"de": source, "en": [s[::-1] for s in source]}.items():
            text = "".join(" ".join(sentence) + "\n" for sentence in sentences)
            (folder / f"{split}.{language}").write_text(text)
    splits = [f"--{split}pref={folder / split}" for split in ("train", "valid", "test")]
    translation = folder / "translation"
    program(
        *("fairseq-preprocess", "--source-lang=de", "--target-lang=en", "--joined-dictionary"),
        *(*splits, f"--destdir={translation}"),
    )
    monolingual = folder / "monolingual"
    program(
        *("fairseq-preprocess", "--only-source", f"--srcdict={translation / 'dict.en.txt'}"),
        *(*(f"{split}.en" for split in splits), f"--destdir={monolingual}"),
    )
    return SimpleNamespace(translation=translation, monolingual=monolingual, text=folder)


TINY_TRANSFORMER = (
    *("--arch=transformer", "--encoder-layers=1", "--decoder-layers=1"),
    *("--encoder-embed-dim=16", "--encoder-ffn-embed-dim=32", "--encoder-attention-heads=2"),
    *("--decoder-embed-dim=16", "--decoder-ffn-embed-dim=32", "--decoder-attention-heads=2"),
)
# Layers of fairseq 0.12.2 hold copies of weights that get no gradient, and buffers never set.
NEVER_TRAINED = re.compile(r"(in_proj|out_proj|fc1|fc2)_(weight|bias)$|_float_tensor$")
RDROP = ("--criterion=rdrop_label_smoothed_cross_entropy", "--label-smoothing=0.1")
TRAINING = (
    *("--cpu", "--optimizer=adam", "--lr=0.005", "--max-tokens=200", "--seed=1"),
    *("--no-progress-bar", "--log-interval=1", "--num-workers=0"),
)


@pytest.fixture(scope="session")
def built():
    """Build task, model, criterion and one training batch from fairseq-train's arguments."""
    import fairseq.tasks
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import rdrop_fairseq  # noqa: F401

    def build(data, *arguments):
        torch.manual_seed(1)
        parser = options.get_training_parser()
        words = [str(data), *TRAINING, *arguments]
        cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, words))
        task = fairseq.tasks.setup_task(cfg.task)
        model = task.build_model(cfg.model)
        criterion = task.build_criterion(cfg.criterion)
        task.load_dataset("train", combine=False, epoch=1)
        batches = task.get_batch_iterator(
            task.dataset("train"),
            max_tokens=200,
            max_positions=(60, 60) if cfg.task._name.startswith("translation") else None,
        )
        sample = next(batches.next_epoch_itr(shuffle=False))
        return SimpleNamespace(cfg=cfg, task=task, model=model, criterion=criterion, sample=sample)

    return build


@pytest.fixture(scope="session")
def trainer(built, corpus):
    """Build fairseq's trainer of one process, always with the same model, and a batch for it."""
    from fairseq.trainer import Trainer

    def build(*arguments):
        made = built(corpus.translation, *arguments)
        trainer = Trainer(made.cfg, made.task, made.model, made.criterion)
        trainer.reset_dummy_batch(made.sample)
        return trainer, made.sample

    return build
