"""The sets of a benchmark: what goes where, for any number of workers, whole or not there."""

import hashlib
import json
import os
import signal

import pytest

from rdrop_tools.corpus import prepare as program
from rdrop_tools.corpus.sample import keep_sample

WORDS = ["the", "of", "and", "a", "to", "in", "is", "was", "he", "for", "it", "with"]


@pytest.fixture
def originals(tmp_path):
    folder = tmp_path / "originals"
    folder.mkdir()
    for language in ("de", "en"):
        train = [f"{WORDS[i % 12].title()} {WORDS[i % 7]}, {i}." for i in range(5000)]
        train[10] = "" if language == "de" else "Not empty."
        train[20] = "one" if language == "de" else "one two three"
        write(folder / f"train.{language}", train)
        write(folder / f"dev.{language}", ["A valid one."])
        write(folder / f"test.{language}", ["A test -- one.", ""])
    return folder


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


@pytest.fixture
def table(tmp_path):
    texts = [
        {"name": name, "split": split, "format": "plain", "files": [f"{name}.de", f"{name}.en"]}
        for name, split in (("train", "train"), ("dev", "dev"), ("test", "test"))
    ]
    path = tmp_path / "corpus.json"
    content = {"languages": ["de", "en"], "archives": [], "texts": texts}
    path.write_text(json.dumps({**content, "expected": {"test": 3}}))
    return path


@pytest.fixture
def run(tmp_path, originals, table):
    def run(*options, out=tmp_path / "out"):
        words = ["--corpus", table, "--orig", originals, "--out", out, *options]
        program.main([str(word) for word in words])
        return {path.name: path.read_text("utf-8") for path in sorted(out.iterdir())}

    return run


LIMITS = ("--min-length", 1, "--max-length", 175, "--ratio", 1.5, "--valid-every", 23)


def test_the_sets(run, capsys):
    files = run("--lowercase", *LIMITS)
    train, valid, test = (files[f"{s}.de"].splitlines() for s in ("train", "valid", "test"))
    kept = [f"{WORDS[i % 12]} {WORDS[i % 7]} , {i} ." for i in range(5000) if i not in (10, 20)]
    assert valid == kept[22::23]
    assert train == [line for number, line in enumerate(kept, 1) if number % 23]
    assert test == ["a test -- one .", ""]  # no test sentence is ever left out
    assert "corpus: train 4,781, valid 217, test 2" in (out := capsys.readouterr().out)
    assert "not the 3 pairs that test usually has" in out
    manifest = json.loads(files["manifest.json"])
    assert manifest["corpus"]["texts"]["train"] == {"read": 5000, "kept": 4998}
    assert len(manifest["corpus"]["inputs"]["train.de"]) == 64
    assert manifest["corpus"]["settings"]["limits"]["ratio"] == 1.5
    assert manifest["cleaned"] == ["train", "valid"]


def test_a_sample_of_the_training_pairs(run, tmp_path, capsys):
    """Chosen by the hash of the source, in order; the validation and the test set stay whole."""
    whole, sample = run(*LIMITS), run(*LIMITS, "--train-pairs", 100, out=tmp_path / "sample")
    assert "corpus: train 100, valid 217, test 2" in capsys.readouterr().out
    pairs = list(zip(*(whole[f"train.{language}"].splitlines() for language in ("de", "en"))))
    by_hash = sorted(pairs, key=lambda pair: hashlib.sha256(f"{pair[0]}\n".encode()).digest())
    chosen = set(by_hash[:100])
    kept = list(zip(*(sample[f"train.{language}"].splitlines() for language in ("de", "en"))))
    assert kept == [pair for pair in pairs if pair in chosen] and len(kept) == 100
    assert all(sample[f"{s}.de"] == whole[f"{s}.de"] for s in ("valid", "test"))
    assert json.loads(sample["manifest.json"])["corpus"]["pairs"]["train"] == 100


def test_a_sample_has_exactly_its_size_where_sources_repeat(tmp_path):
    write(tmp_path / "train.de", ["same"] * 9 + ["other"])
    write(tmp_path / "train.en", [str(n) for n in range(10)])
    keep_sample(tmp_path, ("de", "en"), 5)
    assert (tmp_path / "train.de").read_text().count("\n") == 5
    kept = (tmp_path / "train.en").read_text().split()
    assert len(kept) == 5 and kept == sorted(kept) and not set(kept) & set("5678")


def test_a_sample_larger_than_the_text_is_refused(run, tmp_path):
    with pytest.raises(SystemExit, match="4,781 training pairs, fewer than 5,000"):
        run(*LIMITS, "--train-pairs", 5000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_nothing(run, tmp_path, workers):
    options = (*LIMITS, "--normalize", "--aggressive-dash-splits", "--workers")
    alone = run(*options, 1)
    assert run(*options, workers, out=tmp_path / "again") == alone


def test_a_text_of_the_table_may_be_the_validation_set(run):
    files = run("--valid", "dev")
    assert json.loads(files["manifest.json"])["cleaned"] == ["train"]
    assert files["valid.en"] == "A valid one .\n"
    assert files["train.en"].count("\n") == 5000


def test_another_archive_than_the_published_one_is_told(run, originals, table, capsys):
    """Not where it was unpacked, or no checksum is published."""
    content = json.loads(table.read_text())
    right = hashlib.sha256((originals / "train.de").read_bytes()).hexdigest()
    archives = [{"file": "train.de", "sha256": right}, {"file": "train.en", "sha256": "0" * 64}]
    archives += [{"file": "packed.tgz", "sha256": "1" * 64}, {"file": "dev.de", "bytes": 3}]
    archives = [{**archive, "urls": []} for archive in archives]
    table.write_text(json.dumps({**content, "archives": archives}))
    run("--valid", "dev")
    wrong = hashlib.sha256((originals / "train.en").read_bytes()).hexdigest()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"train.en: SHA-256 {wrong}"
    assert lines[1] == f"  not the {'0' * 64} of the published one"
    assert not any("SHA-256" in line or "1" * 64 in line for line in lines[1:])


def test_errors_leave_nothing(run, originals, tmp_path):
    for options, message in [
        (("--valid", "nothing"), "no text nothing; the corpus description has train, dev, test"),
        ((), "No pair is left for valid"),
    ]:
        with pytest.raises(SystemExit, match=message):
            run(*options)
    (originals / "test.en").write_text("one line\n")
    with pytest.raises(SystemExit, match="test.de has 2 .* test.en has 1"):
        run("--valid", "dev")
    (originals / "test.en").unlink()
    with pytest.raises(SystemExit, match="test.en"):
        run("--valid", "dev")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.json", "originals"]


def test_a_killed_worker_is_one_sentence(run, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "process", killed)
    with pytest.raises(SystemExit, match="a worker process was killed"):
        run("--valid", "dev", "--workers", 2)
    assert not (tmp_path / "out").exists()


def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("archives", [5, [5], [{"sha256": "0"}]])
def test_a_table_of_no_archives_is_refused(table, run, archives):
    content = json.loads(table.read_text())
    table.write_text(json.dumps({**content, "archives": archives}))
    with pytest.raises(SystemExit, match="corpus.json is not a corpus description"):
        run()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"languages": ["de"], "texts": [{}]}'])
def test_a_damaged_table_is_refused(table, run, content):
    table.write_text(content)
    with pytest.raises(SystemExit, match="corpus.json is not a corpus description"):
        run()
