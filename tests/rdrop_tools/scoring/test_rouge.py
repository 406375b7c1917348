"""ROUGE is that of its definition, on texts that stemming does not change."""

import sys

import pytest

from rdrop_tools.extras import MissingPackage
from rdrop_tools.scoring import rouge as program

pytest.importorskip("rouge_score", reason="rouge-score is missing: pip install '.[rouge]'")

REFERENCES = ["the cat sat on the mat", "turn on the lamp"]
HYPOTHESES = ["the cat on the mat", "lamp"]


def f_score(common, hypothesis, reference):
    return 200 * common / (hypothesis + reference)


def test_scores_are_means_of_f_scores():
    found = program.rouge(HYPOTHESES, REFERENCES)
    assert found == {
        "ROUGE-1": pytest.approx((f_score(5, 5, 6) + f_score(1, 1, 4)) / 2),
        "ROUGE-2": pytest.approx(f_score(3, 4, 5) / 2),
        "ROUGE-L": pytest.approx((f_score(5, 5, 6) + f_score(1, 1, 4)) / 2),
    }


def test_sentences_may_be_in_another_order():
    swapped = ["One is red. Two is blue."], ["Two is blue. One is red."]
    whole, by_sentence = (program.rouge(*swapped, by)["ROUGE-L"] for by in (False, True))
    assert (whole, by_sentence) == (pytest.approx(50), pytest.approx(100))


def test_the_log_of_fairseq_generate_and_its_references(tmp_path, capsys):
    log = tmp_path / "generate.log"
    log.write_text(
        "T-0\tred lamp\nD-0\t-0.5\tred lamp\nT-1\tblue\nD-1\t-0.5\tgreen\n"
        "Generate test with beam=4: \n"
    )
    program.main(["--sys", str(log)])
    assert capsys.readouterr().out == "ROUGE-1 50.00\nROUGE-2 50.00\nROUGE-L 50.00\n"


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(
        MissingPackage, match=r"needs rouge-score: run pip install 'rdrop_fairseq\[rouge\]'"
    ):
        program.rouge(HYPOTHESES, REFERENCES)


def test_lines_that_are_missing_are_no_score(tmp_path):
    for name, text in {"sys": "one\n", "ref": "one\ntwo\n"}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(SystemExit, match="has 1 lines and the reference has 2"):
        program.main(["--sys", str(tmp_path / "sys"), "--ref", str(tmp_path / "ref")])
