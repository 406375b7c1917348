"""Bad input, as a user meets it: refused in one sentence with nothing left, or handled."""

import gzip
import io
import json
import os
import subprocess
import tarfile
import zipfile
import zlib

import pytest
from helpers.constants import EXAMPLES, RDROP, REPOSITORY, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.launch import fork, run

SENTENCES = ["eins zwei drei vier", "vier fünf", "sechs", "sieben acht neun zehn elf"] * 5
CLEAN = "".join(f"{line}\n" for line in SENTENCES).encode()


@pytest.fixture
def text(tmp_path):
    """Parallel text, its table, and the ways to change it."""
    return ParallelText(tmp_path)


class ParallelText:
    def __init__(self, folder):
        self.root = folder
        self.folder = folder / "text"
        self.folder.mkdir()
        self.pairs = {}
        for split in ("train", "valid", "test"):
            for language in ("de", "en"):
                self.write(f"{split}.{language}", CLEAN)

    def write(self, name, content):
        (self.folder / name).write_bytes(content)

    def pack(self, add, mode="w:gz"):
        """Move the training text into an archive, to which ``add(archive)`` adds."""
        with tarfile.open(self.folder / "train.tgz", mode) as archive:
            add(archive)
            for language in ("de", "en"):
                archive.add(self.folder / f"train.{language}", f"train.{language}")
                (self.folder / f"train.{language}").unlink()
        return self.folder / "train.tgz"

    def table(self):
        texts = [
            {"name": split, "split": split, "format": "plain", "pairs": self.pairs.get(split)}
            for split in ("train", "valid", "test")
        ]
        for entry in texts:
            entry["files"] = [f"{entry['name']}.{language}" for language in ("de", "en")]
            archive = f"{entry['name']}.tgz"
            entry["archive"] = archive if (self.folder / archive).exists() else None
        path = self.root / "corpus.json"
        path.write_text(json.dumps({"languages": ["de", "en"], "archives": [], "texts": texts}))
        return path

    def prepare(self, *options, out="prepared"):
        where = ("--corpus", self.table(), "--orig", self.folder, "--out", self.root / out)
        return run_script("prepare_corpus.py", *where, "--workers", "1", *options)

    def subwords(self, *options, out="subwords"):
        where = ("--corpus", self.folder, "--langs", "de", "en", "--out", self.root / out)
        return run_script("subwords.py", *where, "--size", "40", "--workers", "1", *options)

    def made(self, out):
        """Return {name: bytes} of the sets that a program made."""
        folder = self.root / out
        return {path.name: path.read_bytes() for path in folder.glob("*.??")}


def run_script(name, *arguments):
    words = (REPOSITORY / "scripts" / name, *arguments)
    return run("python", *words, check=False, stderr=subprocess.PIPE)


def run_bash(script, *arguments):
    words = (EXAMPLES / script, "multi30k_en_de", *arguments)
    return run("bash", *words, check=False, stderr=subprocess.PIPE)


def assert_one_sentence(finished, program, *words):
    """The program ended with a status other than 0 and one line that says what is wrong."""
    assert finished.returncode != 0
    lines = finished.stderr.splitlines()
    assert len(lines) == 1, finished.stderr
    assert lines[0].startswith(f"{program}: ")
    for word in words:
        assert word in lines[0]


BAD_TEXT = {
    "unequal line counts": (
        CLEAN + b"one more\n",
        ("train.de has 21 lines of text and", "train.en has 20"),
    ),
    "empty file": (b"", ("train.de has 0 lines of text", "train.en has 20")),
    "invalid UTF-8": (
        b"eins\n" + CLEAN[5:].replace("fünf".encode(), "fünf".encode("latin-1"), 1),
        ("train.de: line 3 is not UTF-8", "convert the file"),
    ),
    "an endless line": (
        b"a" * (2**20 + 1),
        ("train.de: line 1 has more than 1,048,576 characters",),
    ),
}


@pytest.mark.parametrize("program", ["prepare_corpus.py", "subwords.py"])
@pytest.mark.parametrize("kind", BAD_TEXT)
def test_bad_text_is_refused(text, program, kind):
    content, words = BAD_TEXT[kind]
    text.write("train.de", content)
    finished = text.prepare() if program == "prepare_corpus.py" else text.subwords()
    assert_one_sentence(finished, program, *words)
    assert {path.name for path in text.root.iterdir()} <= {"text", "corpus.json"}


@pytest.mark.parametrize("program", ["prepare_corpus.py", "subwords.py"])
@pytest.mark.parametrize("content", [b"", b"\n \n\t\n"], ids=["empty files", "only blank lines"])
def test_text_without_a_word_is_refused(text, program, content):
    for language in ("de", "en"):
        text.write(f"test.{language}", content)
    finished = text.prepare() if program == "prepare_corpus.py" else text.subwords()
    assert_one_sentence(finished, program, "test.de of test has no text in it")
    assert {path.name for path in text.root.iterdir()} <= {"text", "corpus.json"}


@pytest.mark.parametrize("program", ["prepare_corpus.py", "subwords.py"])
def test_windows_line_ends_and_byte_order_marks_change_nothing(text, program):
    run = text.prepare if program == "prepare_corpus.py" else text.subwords
    run(out="clean")
    for path in text.folder.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    run(out="windows")
    assert len(text.made("clean")) == 6
    assert text.made("windows") == text.made("clean")


def test_windows_line_ends_and_byte_order_marks_change_no_score(tmp_path):
    windows = b"\xef\xbb\xbf" + CLEAN.replace(b"\n", b"\r\n")
    (tmp_path / "clean").write_bytes(CLEAN)
    (tmp_path / "windows").write_bytes(windows)
    for names in (("clean", "windows"), ("windows", "clean")):
        system, reference = (tmp_path / name for name in names)
        finished = run_script("score_bleu.py", "--sys", system, "--ref", reference, "--tokenized")
        assert finished.stdout.startswith("BLEU = 100.00")


@pytest.mark.parametrize("program", ["prepare_corpus.py", "subwords.py"])
def test_a_line_of_100_000_tokens_is_left_out_and_counted(text, program):
    run = text.prepare if program == "prepare_corpus.py" else text.subwords
    run("--max-length", "175", out="clean")
    for language in ("de", "en"):
        text.write(f"train.{language}", CLEAN + b"eins " * 100_000 + b"\n")
    finished = run("--max-length", "175", out="long")
    made = text.made("long")
    if program == "prepare_corpus.py":
        assert "train: 21 pairs, 20 kept" in finished.stdout
        assert made == text.made("clean")
    else:
        assert "train 20" in finished.stdout
        assert made["train.de"].count(b"\n") == 20


def nothing_else(archive):
    pass


def add_member(archive, name, content=b"evil\n", **changes):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in changes.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def truncate(content):
    return content[: len(content) // 2]


def flip_a_bit(content):
    """In the middle; of a zip in its largest member, since what lies between has no checksum.

    In a gzip of text that repeats itself a flipped bit may decode to the same text: then the next.
    """
    middle = len(content) // 2
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            largest = max(archive.infolist(), key=lambda member: member.file_size)
            middle = content.index(archive.read(largest)) + largest.file_size // 2
    flipped = content
    while is_intact_gzip(flipped) or flipped == content:
        flipped = content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]
        middle += 1
    return flipped


def is_intact_gzip(content):
    try:
        return bool(gzip.decompress(content))
    except (OSError, EOFError, zlib.error):
        return False


def web_page(content):
    return b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, web_page])
def test_a_damaged_archive_is_refused(text, damage):
    archive = text.pack(nothing_else)
    archive.write_bytes(damage(archive.read_bytes()))
    assert_one_sentence(text.prepare(), "prepare_corpus.py", f"{archive} is damaged", "again")
    assert {path.name for path in text.root.iterdir()} == {"text", "corpus.json"}


@pytest.mark.parametrize("name", ["../escaped", "/{root}/escaped"], ids=["up", "absolute"])
def test_an_archive_cannot_write_elsewhere(text, name):
    text.pack(lambda archive: add_member(archive, name.format(root=text.root)))
    finished = text.prepare()
    assert finished.returncode == 0, finished.stderr
    assert not list(text.root.rglob("escaped*"))
    assert len(text.made("prepared")) == 6


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
def test_a_link_out_of_the_archive_is_not_followed(text, kind):
    with tarfile.open(text.folder / "train.tgz", "w:gz") as archive:
        for language in ("de", "en"):
            link = {"type": kind, "linkname": str(text.folder / f"valid.{language}")}
            add_member(archive, f"train.{language}", b"", **link)
    assert_one_sentence(text.prepare(), "prepare_corpus.py", "has no train.de in it")
    assert {path.name for path in text.root.iterdir()} == {"text", "corpus.json"}


def test_a_decompression_bomb_is_refused_at_the_size_of_the_table(text):
    text.pairs["train"] = 1000
    for language in ("de", "en"):
        text.write(f"train.{language}", b"a\n" * 1_000_000)
    assert text.pack(nothing_else).stat().st_size < 10_000
    finished = text.prepare()
    assert_one_sentence(finished, "prepare_corpus.py", "train.de", "more than the 1,000 lines")
    assert {path.name for path in text.root.iterdir()} == {"text", "corpus.json"}


@pytest.fixture
def below_a_file(tmp_path):
    """A place where nobody, not even root, can write."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "out"


@pytest.mark.parametrize("program", ["prepare_corpus.py", "subwords.py"])
def test_a_folder_that_cannot_be_written(text, below_a_file, program):
    run = text.prepare if program == "prepare_corpus.py" else text.subwords
    assert_one_sentence(run(out=below_a_file), program, str(below_a_file.parent))


@pytest.mark.parametrize("script", ["prepare.sh", "train.sh"])
def test_a_folder_for_a_benchmark_that_cannot_be_written(below_a_file, script):
    finished = run_bash(script, "--out", below_a_file)
    assert finished.returncode != 0
    (line,) = finished.stderr.splitlines()
    assert str(below_a_file.parent) in line


# What follows is about fairseq's programs with the plugin


def train(data, folder, *options, **check):
    arguments = (*TRAINING, *TINY_TRANSFORMER, *RDROP, USER_DIR, "--dropout=0.1")
    return fork("fairseq-train", data, *arguments, f"--save-dir={folder}", *options, **check)


def last_line(result):
    return result.stdout.strip().split("\n")[-1]


@pytest.fixture(scope="module")
def checkpoint(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(corpus.translation, folder, "--max-update=1", "--no-epoch-checkpoints")
    return folder / "checkpoint_last.pt"


WRONG_OPTIONS = {
    "--reg-beta=1": "unrecognized arguments: --reg-beta=1",
    "--rdrop-loss=quick": "argument --rdrop-loss: invalid choice: 'quick'",
    "--reg-alpha=five": "argument --reg-alpha: invalid float value: 'five'",
    "--reg-alpha=nan": "argument --reg-alpha: alpha (--reg-alpha) must be 0 or more and finite",
    "--reg-alpha=-1": "argument --reg-alpha: alpha (--reg-alpha) must be 0 or more and finite",
    "--label-smoothing=1.5": "argument --label-smoothing: label smoothing (--label-smoothing) must",
    "--rdrop-chunk-size=0": "argument --rdrop-chunk-size: chunk size (--rdrop-chunk-size) must be",
    "--rdrop-every=0.5": "argument --rdrop-every: invalid int value: '0.5'",
    "--rdrop-chunk-memory=0": "argument --rdrop-chunk-memory: the memory of a chunk (--rdrop-chunk",
}


@pytest.mark.parametrize("option", WRONG_OPTIONS)
def test_an_option_that_the_criterion_does_not_take(corpus, tmp_path, option):
    result = train(corpus.translation, tmp_path / "new", option, check=False)
    assert result.returncode == 2
    assert last_line(result).startswith(f"fairseq-train: error: {WRONG_OPTIONS[option]}")
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_of_another_architecture(corpus, checkpoint, tmp_path):
    (tmp_path / "checkpoint_last.pt").write_bytes(checkpoint.read_bytes())
    other = ("--decoder-ffn-embed-dim=24", "--max-update=2")
    result = train(corpus.translation, tmp_path, *other, check=False)
    assert result.returncode == 1
    assert str(tmp_path / "checkpoint_last.pt") in last_line(result)
    assert "please ensure that the architectures match" in last_line(result)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_last.pt"]


@pytest.mark.parametrize("name", ["fairseq-train", "fairseq-generate"])
def test_a_truncated_checkpoint(corpus, checkpoint, tmp_path, name):
    damaged = tmp_path / "checkpoint_last.pt"
    damaged.write_bytes(truncate(checkpoint.read_bytes()))
    if name == "fairseq-train":
        result = train(corpus.translation, tmp_path, "--max-update=2", check=False)
    else:
        options = ("--cpu", f"--path={damaged}", USER_DIR)
        result = fork(name, corpus.translation, *options, check=False)
    assert result.returncode == 1
    assert f"{damaged} is cut short, or not a checkpoint of fairseq" in last_line(result)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_evaluation_refuses_a_damaged_checkpoint(checkpoint, tmp_path, damage):
    model = tmp_path / "run" / "checkpoint_best.pt"
    model.parent.mkdir()
    model.write_bytes(damage(checkpoint.read_bytes()))
    (model.parent / "settings").write_text("en-de and others\n")
    finished = run_bash("evaluate.sh", "--cpu", "--out", tmp_path, "run")
    assert_one_sentence(finished, "evaluate.sh", f"{model} is cut short or damaged", "train.sh")
    assert {path.name for path in model.parent.iterdir()} == {model.name, "settings"}


@pytest.mark.parametrize(
    ("option", "name", "last"),
    [("--average=3", "checkpoint_average3.pt", "last"), ("--ema", "checkpoint_ema.pt", "best")],
)
def test_evaluation_refuses_a_damaged_average(checkpoint, tmp_path, option, name, last):
    """One newer than what it was made from."""
    damaged, made_from = tmp_path / "run" / name, tmp_path / "run" / f"checkpoint_{last}.pt"
    damaged.parent.mkdir()
    made_from.write_bytes(checkpoint.read_bytes())
    os.utime(made_from, (0, 0))
    damaged.write_bytes(truncate(checkpoint.read_bytes()))
    (damaged.parent / "settings").write_text("en-de and others\n")
    words = option.split("=")
    finished = run_bash("evaluate.sh", "--cpu", *words, "--out", tmp_path, "run")
    advice = "remove it, and the same command makes it again"
    assert_one_sentence(finished, "evaluate.sh", f"{damaged} is cut short or damaged", advice)


def test_a_symbol_outside_the_dictionary_is_read_as_unknown(corpus, checkpoint):
    options = ("--cpu", f"--path={checkpoint}", USER_DIR, "--beam=1", "--max-len-b=3")
    result = fork("fairseq-interactive", corpus.translation, *options, input="w1 nonesuch\n")
    assert "\nS-0\tw1 <unk>\n" in result.stdout
    assert "\nD-0\t" in result.stdout


def test_training_leaves_a_sentence_of_100_000_tokens_out_and_says_so(corpus, tmp_path):
    for language in ("de", "en"):
        lines = (corpus.text / f"valid.{language}").read_bytes()
        (tmp_path / f"valid.{language}").write_bytes(lines)
        (tmp_path / f"train.{language}").write_bytes(lines + b"w1 " * 100_000 + b"\n")
    fork(
        *("fairseq-preprocess", "--source-lang=de", "--target-lang=en", "--joined-dictionary"),
        *(f"--{split}pref={tmp_path / split}" for split in ("train", "valid")),
        f"--destdir={tmp_path / 'data'}",
    )
    result = train(tmp_path / "data", tmp_path / "checkpoints", "--max-update=1")
    assert "1 samples have invalid sizes and will be skipped" in result.stdout
