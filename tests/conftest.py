"""What every test may ask for: a tiny corpus, a built model, a trainer, real text."""

import os
import random
import signal
from types import SimpleNamespace

import pytest
import torch
from helpers.constants import TRAINING
from helpers.launch import run

pytest_plugins = ["helpers.shared_data"]
torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton
# Where pytest runs in the background of a shell Ctrl-C is ignored, and whatever a test starts would
# inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_meters():
    """A test logs into meters of its own: fairseq keeps those of a process under their names."""
    from fairseq.logging import metrics

    metrics.reset()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> SimpleNamespace:
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
    run(
        *("fairseq-preprocess", "--source-lang=de", "--target-lang=en", "--joined-dictionary"),
        *(*splits, f"--destdir={translation}"),
    )
    monolingual = folder / "monolingual"
    run(
        *("fairseq-preprocess", "--only-source", f"--srcdict={translation / 'dict.en.txt'}"),
        *(*(f"{split}.en" for split in splits), f"--destdir={monolingual}"),
    )
    return SimpleNamespace(translation=translation, monolingual=monolingual, text=folder)


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

    def build(*arguments, data=corpus.translation):
        made = built(data, *arguments)
        trainer = Trainer(made.cfg, made.task, made.model, made.criterion)
        trainer.reset_dummy_batch(made.sample)
        return trainer, made.sample

    return build
