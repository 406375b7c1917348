"""GLUE from files in their published layout."""

import json

import pytest

from rdrop_tools.corpus.glue import TASKS, main, read_examples

LINES = {  # as published: a header and a line, or two lines
    "CoLA": ["gj04\t1\t\tThey sang.", "gj04\t0\t*\tThey sung."],
    "MNLI": ["index\t...", "\t".join([*"01234567", "They sang.", "They spoke.", "x", "neutral"])],
    "MRPC": ["Quality\t#1 ID", "1\t10\t11\tThey sang.\tThey spoke."],
    "QNLI": ["index\tquestion", "0\tDid they?\tThey did.\tentailment"],
    "QQP": ["id\tqid1", "0\t1\t2\tDid they?\tHad they?\t0"],
    "RTE": ["index\tsentence1", "0\tThey sang.\tThey spoke.\tnot_entailment"],
    "SST-2": ["sentence\tlabel", "they sang . \t1"],
    "STS-B": ["index\tgenre", "0\ta\tb\tc\td\te\tf\tThey sang.\tThey spoke.\t4.000"],
}
EXPECTED = {
    "CoLA": (("They sung.",), "0"),
    "MNLI": (("They sang.", "They spoke."), "neutral"),
    "MRPC": (("They sang.", "They spoke."), "1"),
    "QNLI": (("Did they?", "They did."), "entailment"),
    "QQP": (("Did they?", "Had they?"), "0"),
    "RTE": (("They sang.", "They spoke."), "not_entailment"),
    "SST-2": (("they sang . ",), "1"),
    "STS-B": (("They sang.", "They spoke."), "0.8"),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_line_of_each_task(task, tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("\n".join(LINES[task]) + "\n")
    assert read_examples(path, TASKS[task])[-1] == EXPECTED[task]
    assert len(read_examples(path, TASKS[task])) == (2 if task == "CoLA" else 1)


@pytest.fixture
def published(tmp_path):
    """RTE, and the subwords of RoBERTa, but with single characters alone."""
    from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

    for name in ("train", "dev"):
        (tmp_path / "RTE").mkdir(exist_ok=True)
        (tmp_path / "RTE" / f"{name}.tsv").write_text("\n".join(LINES["RTE"]) + "\n")
    symbols = {symbol: number for number, symbol in enumerate(bytes_to_unicode().values())}
    (tmp_path / "encoder.json").write_text(json.dumps(symbols))
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\n")
    return tmp_path


def prepare(folder, task="RTE"):
    places = [f"--orig={folder}", f"--subwords={folder}", f"--out={folder / 'sets'}"]
    main([f"--task={task}", *places])


def test_the_program_writes_subwords(published):
    prepare(published)
    sets = published / "sets"
    assert (sets / "valid.label").read_text() == "not_entailment\n"
    assert len((sets / "train.input1").read_text().split()) == len("They spoke.")


@pytest.mark.parametrize(
    ("missing", "message"),
    [("RTE/dev.tsv", "there is no .*dev.tsv: give --orig"), ("vocab.bpe", "examples/roberta")],
)
def test_a_file_that_is_not_there_is_named(published, missing, message):
    (published / missing).unlink()
    with pytest.raises(SystemExit, match=message):
        prepare(published)
    assert not (published / "sets").exists()


@pytest.mark.parametrize(
    ("task", "line", "message"),
    [
        ("RTE", "0\tone", "line 2 of .*train.tsv has 2 columns, too few"),
        ("STS-B", "a\t" * 9 + "b", "line 2 of .*train.tsv has the score 'b'"),
        ("QQP", "1\t2\t3\tcut", "train.tsv has no sentences: get it again"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, task, line, message):
    (tmp_path / task).mkdir()
    (tmp_path / task / "train.tsv").write_text(f"header\n{line}\n")
    with pytest.raises(SystemExit, match=message):
        prepare(tmp_path, task)
