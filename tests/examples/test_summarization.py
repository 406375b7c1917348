"""examples/summarization: CNN/DailyMail in its real layout, and what is given to fairseq."""

import json
import zipfile

import pytest
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode
from helpers.tasks import Task


@pytest.fixture
def task(tmp_path):
    return Task("summarization", tmp_path)


@pytest.fixture
def published(tmp_path):
    """The published files, of a few words, with a vocabulary of bytes."""
    folder = tmp_path / "orig"
    (folder / "bart.large").mkdir(parents=True)
    symbols = list(bytes_to_unicode().values())
    (folder / "encoder.json").write_text(json.dumps({s: n for n, s in enumerate(symbols)}))
    (folder / "vocab.bpe").write_text("#version: 0.2\n")
    (folder / "dict.txt").write_text("".join(f"{n} 1\n" for n in range(256)))
    (folder / "bart.large" / "model.pt").write_text("the model")
    for name in ("train", "val", "test"):
        (folder / f"{name}.source").write_text("An article.\nAnother one.\n")
        (folder / f"{name}.target").write_text("Article\nOther\n")
    return folder


def whole_checkpoint(run):
    """Make a run whose best checkpoint is not damaged."""
    run.mkdir(parents=True)
    with zipfile.ZipFile(run / "checkpoint_best.pt", "w") as checkpoint:
        checkpoint.writestr("model", "of the test")


@pytest.mark.parametrize("missing", ["", "dict.txt", "bart.large/model.pt"])
def test_cnn_dailymail_without_its_files_is_refused_in_a_sentence(task, published, missing):
    orig = ("--orig", str(published)) if missing else ()
    if missing:
        (published / missing).unlink()
    status, said = task.run("prepare.sh", "cnn_dailymail", *orig)
    assert (status, said.count("\n")) == (1, 1)
    assert f"there is no {published if missing else 'DIR'}/{missing}" in said
    assert "bart.large/model.pt" in said and not (task.out / "subwords").exists()


def test_cnn_dailymail_from_its_files_to_what_bart_is_trained_on(task, published):
    status, said = task.run("prepare.sh", "cnn_dailymail", "--orig", str(published))
    assert status == 0, said
    assert (task.out / "binarized" / "dict.source.txt").read_text().startswith("0 1\n1 1\n")
    assert task.run("prepare.sh", "cnn_dailymail")[0] == 0  # all of it is there
    pretrained = task.out / "pretrained.pt"
    assert pretrained.read_text() == "the model"
    given = task.noted_training("cnn_dailymail", "--cpu", "--name", "run")
    assert given[given.index("--finetune-from-model") + 1] == str(pretrained)
    assert "--truncate-source" in given
    assert given[given.index("--reg-alpha") + 1] == "0.7"
    (published / "bart.large" / "model.pt").unlink()  # fairseq refuses what is gone
    given = task.noted_training("cnn_dailymail", "--cpu", "--name", "later")
    assert given[given.index("--finetune-from-model") + 1] == str(pretrained)


def test_bart_is_there_before_the_binarized_text(task, published):
    task.stand_in("fairseq-preprocess", "exit 1")
    assert task.run("prepare.sh", "cnn_dailymail", "--orig", str(published))[0] == 1
    assert (task.out / "pretrained.pt").read_text() == "the model"


def test_the_vocabulary_of_gpt2_reaches_the_search(task, published):
    assert task.run("prepare.sh", "cnn_dailymail", "--orig", str(published))[0] == 0
    whole_checkpoint(task.out / "run")
    task.stand_in("fairseq-generate", f'printf "%s\\n" "$@" >{task.out}/given; exit 1')
    status, said = task.run("evaluate.sh", "cnn_dailymail", "run", "--cpu")
    assert (status, "the evaluation stopped" in said) == (1, True)
    given = (task.out / "given").read_text().splitlines()
    assert given[given.index("--gpt2-vocab-bpe") + 1] == f"{task.out}/subwords/vocab.bpe"
    assert not (task.out / "run" / "test.log").exists()


def test_a_damaged_checkpoint_is_refused(task):
    (task.out / "run").mkdir(parents=True)
    (task.out / "run" / "checkpoint_best.pt").write_text("cut")
    status, said = task.run("evaluate.sh", "headlines", "run", "--cpu")
    assert (status, "is cut short or damaged" in said) == (1, True)


def test_headlines_are_scored_against_whole_titles(task):
    run = task.out / "run"
    tokenized = task.out / "subwords" / "tokenized"
    tokenized.mkdir(parents=True)
    (tokenized / "test.title").write_text("Turn on\nHost\n")
    whole_checkpoint(run)
    lines = "H-0\\t-1\\t▁Turn ▁on\\nD-0\\t-1\\tTurn on\\nD-1\\t-1\\tPort\\n"
    task.stand_in("fairseq-generate", f'[[ " $* " = *" --beam 4 "* ]] && printf "{lines}"')
    status, said = task.run("evaluate.sh", "headlines", "run", "--cpu")
    assert status == 0, said
    assert said.splitlines()[-3:] == ["ROUGE-1 50.00", "ROUGE-2 50.00", "ROUGE-L 50.00"]
    assert (run / "test.scores").read_text().splitlines() == said.splitlines()[-3:]


def test_the_baseline_differs_in_the_criterion_alone(task):
    rdrop = task.noted_training("headlines", "--cpu", "--name", "rdrop")
    baseline = task.noted_training("headlines", "--cpu", "--name", "baseline", "--baseline")
    place = rdrop.index("--reg-alpha")
    del rdrop[place : place + 2]
    assert [word.replace("rdrop_", "").replace("/rdrop", "/baseline") for word in rdrop] == [
        word.replace("rdrop_", "") for word in baseline
    ]


def test_the_learning_rate_of_bart_falls_until_the_last_update(task):
    for words, last in (((), "20000"), (("--max-updates", "7"), "7")):
        given = task.noted_training("cnn_dailymail", "--cpu", "--name", f"to-{last}", *words)
        assert given.count("--total-num-update") == 1
        for option in ("--total-num-update", "--max-update"):
            assert given[given.index(option) + 1] == last


def test_a_baseline_with_an_alpha_is_refused(task):
    (task.out / "binarized").mkdir(parents=True)
    status, said = task.run("train.sh", "headlines", "--cpu", "--baseline", "--alpha", "9")
    assert status == 2
    assert "--alpha is the weight of the KL, which --baseline does not have" in said


def test_scores_of_a_model_that_was_replaced_meanwhile_are_not_taken(task):
    run = task.out / "run"
    whole_checkpoint(run)
    (task.out / "subwords" / "tokenized").mkdir(parents=True)
    (task.out / "subwords" / "tokenized" / "test.title").write_text("Turn on\n")
    save = f"[ -e calls ] || touch {run}/checkpoint_best.pt"
    line = r'printf "H-0\t-1\t▁Turn\nD-0\t-1\tTurn\n"'
    task.stand_in("fairseq-generate", save, "echo again >>calls", line)
    for calls in (1, 2, 2):
        status, said = task.run("evaluate.sh", "headlines", "run", "--cpu")
        assert status == 0, said
        assert (task.programs / "calls").read_text().count("again") == calls


def test_a_run_without_a_name_is_called_by_its_method(task):
    for words, name in (((), "rdrop-alpha0.7-seed1"), (("--baseline",), "baseline-seed1")):
        given = task.noted_training("headlines", "--cpu", *words)
        assert given[given.index("--save-dir") + 1] == str(task.out / name)
