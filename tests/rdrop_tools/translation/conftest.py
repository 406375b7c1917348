"""Two trained runs of a toy language: of raw text, as in the quickstart, and of tokenized text."""

import json
import logging
import random
import shutil

import pytest
from helpers.constants import REPOSITORY, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.launch import fork, run

from rdrop_tools.corpus.tokenization import Tokenization

WORDS = (
    *("Ein", "Haus", "der", "Hund", "rennt", "U.S.", "5", "Straße", "&", "schnell", "nicht", '"'),
    *("E-Mail", "„gut“"),
)
MULTI30K = Tokenization(lowercase=True, normalize=False, aggressive_dash_splits=False)
WMT14 = Tokenization(lowercase=False, normalize=True, aggressive_dash_splits=True)


def write_corpus(folder, tokenization):
    """Write de-en sets, the other side in reverse order, tokenized if it is said how.

    What they are made of is in SPLIT.raw.LANG.
    """
    chance = random.Random(0)
    folder.mkdir()
    for split, size in {"train": 300, "valid": 20, "test": 30}.items():
        source = [chance.choices(WORDS, k=chance.randint(1, 9)) for _ in range(size)]
        for language, sentences in {"de": source, "en": [s[::-1] for s in source]}.items():
            raw = [" ".join(sentence) for sentence in sentences]
            text = raw
            if tokenization:
                text = [tokenization.tokenize_as_training_text(line, language) for line in raw]
            for name, lines in {f"{split}.raw": raw, split: text}.items():
                content = "".join(f"{line}\n" for line in lines)
                (folder / f"{name}.{language}").write_text(content, "utf-8")
    if tokenization:
        stage = {
            "settings": {**tokenization._asdict(), "limits": {}, "valid": None},
            "versions": {"sacremoses": "0.2"},
        }
        manifest = {"description": "toys", "licence": "CC0", "corpus": stage}
        (folder / "manifest.json").write_text(json.dumps(manifest))


def make_run(folder, method, size, tokenization, checkpoint, *options):
    """Return the folder of a run, next to what it was trained on."""
    folder.mkdir()
    write_corpus(folder / "corpus", tokenization)
    subwords = folder / "subwords"
    run(
        *("python", REPOSITORY / "scripts" / "subwords.py", "--corpus", folder / "corpus"),
        *("--langs", "de", "en", "--method", method, "--size", size, "--out", subwords),
        *("--workers", "1"),
    )
    splits = [f"--{split}pref={subwords / split}" for split in ("train", "valid", "test")]
    fork(
        *("fairseq-preprocess", "--source-lang=de", "--target-lang=en", "--joined-dictionary"),
        *(*splits, f"--destdir={folder / 'binarized'}"),
    )
    fork(
        *("fairseq-train", folder / "binarized", *TINY_TRANSFORMER, *TRAINING, USER_DIR),
        *("--save-dir", folder / "run", "--no-epoch-checkpoints", *options),
        *("--validate-interval=99", "--save-interval=99"),  # at the end alone
    )
    best = folder / "run" / "checkpoint_best.pt"
    best.rename(folder / "run" / checkpoint)
    return folder / "run"


@pytest.fixture(scope="session")
def raw_run(tmp_path_factory):
    """A run as the quickstart leaves it: raw text, SentencePiece, model.pt."""
    folder = tmp_path_factory.mktemp("raw") / "en-de"
    options = ("--max-update=150", "--share-all-embeddings")
    return make_run(folder, "sentencepiece", "60", None, "model.pt", *options)


@pytest.fixture(scope="session")
def tokenized_run(tmp_path_factory):
    """A run of train.sh: tokenized and lowercased text, subword-nmt, checkpoint_best.pt."""
    folder = tmp_path_factory.mktemp("tokenized") / "benchmark"
    options = ("--max-update=150", "--store-ema", "--ema-decay=0.9")
    return make_run(folder, "subword-nmt", "20", MULTI30K, "checkpoint_best.pt", *options)


@pytest.fixture(scope="session")
def normalized_run(tmp_path_factory):
    """A run as of WMT14, hardly trained: normalised and tokenized text, SentencePiece."""
    folder = tmp_path_factory.mktemp("normalized") / "benchmark"
    return make_run(folder, "sentencepiece", "60", WMT14, "checkpoint_best.pt", "--max-update=9")


@pytest.fixture
def copied():
    """Copy a run, with what is next to it, into a folder, and return the copy."""

    def copy(trained, folder):
        shutil.copytree(trained.parent, folder)
        return folder / trained.name

    return copy


@pytest.fixture(autouse=True)
def log_again():
    """The programs silence fairseq, which in a process of tests would silence the others' logs."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def exported(raw_run, tokenized_run, tmp_path_factory):
    """Both runs, exported for CTranslate2: {name: folder}."""
    pytest.importorskip("ctranslate2")
    from rdrop_tools.translation.export import export

    folder = tmp_path_factory.mktemp("exported")
    for name, trained in {"raw": raw_run, "tokenized": tokenized_run}.items():
        export(trained, folder / name)
    return {name: folder / name for name in ("raw", "tokenized")}


@pytest.fixture
def translate(tmp_path, capsys):
    """Translate bytes with translate.py's main function; return the lines of its output."""
    from rdrop_tools.translation.program import main

    def run(folder, raw, *options):
        text = tmp_path / "text"
        text.write_bytes(raw)
        capsys.readouterr()
        main([str(folder), "--cpu", "--input", str(text), "--beam", "2", *options])
        output = capsys.readouterr().out
        assert output == "" or output.endswith("\n")
        return output.split("\n")[:-1]

    return run
