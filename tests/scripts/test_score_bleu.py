"""Scores are sacrebleu's own, and never of a part of a test set."""

import pytest
import sacrebleu
import score_bleu as program

REFERENCE = ["Turn on the lamp.", "Open the front door now", "The pump is not running", "Yes it is"]
HYPOTHESIS = ["Turn on the light.", "Open the door now", "The pump is not running", ""]


@pytest.fixture
def reference(tmp_path):
    return write(tmp_path / "ref.txt", REFERENCE)


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def generate_log(order=(2, 0, 3, 1), prefix="INFO:fairseq_cli.generate:"):
    """Return what fairseq-generate prints, the sentences in a given order."""
    lines = [f"{prefix}loading model(s) from model.pt"]
    for n in order:
        lines += [f"S-{n}\tsource", f"T-{n}\t{REFERENCE[n]}", f"H-{n}\t-0.5\ttokenized {n}"]
        lines += [f"D-{n}\t-0.5\t{HYPOTHESIS[n]}", f"P-{n}\t-0.1 -0.9"]
    return [*lines, f"{prefix}Generate test with beam=5: BLEU4 = 1.00"]


def run(system, reference, *options):
    program.main(["--sys", str(system), "--ref", str(reference), *options])


def test_scores_are_sacrebleus(tmp_path, reference, capsys):
    run(write(tmp_path / "sys.txt", HYPOTHESIS), reference)
    bleu, chrf = capsys.readouterr().out.splitlines()
    expected = sacrebleu.corpus_bleu(HYPOTHESIS, [REFERENCE]).score
    assert bleu.startswith("BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert f" = {expected:.2f} " in bleu
    expected = sacrebleu.corpus_chrf(HYPOTHESIS, [REFERENCE]).score
    assert chrf.startswith("chrF2|") and chrf.endswith(f" = {expected:.2f}")


@pytest.mark.parametrize(
    "prefix", ["INFO:fairseq_cli.generate:", "2026-11-21 05:18:30 | INFO | fairseq_cli.generate | "]
)
@pytest.mark.parametrize("order", [(2, 0, 3, 1), (0, 1, 2, 3)])
def test_a_generate_log_gives_the_same(tmp_path, prefix, order):
    log = write(tmp_path / "generate.log", generate_log(order, prefix))
    assert program.read_system(log, 4) == HYPOTHESIS


def test_lines_of_a_log_may_be_in_any_order(tmp_path):
    log = write(tmp_path / "generate.log", sorted(generate_log(), reverse=True))
    assert program.read_system(log, 4) == HYPOTHESIS


def test_the_first_of_an_n_best_list_counts(tmp_path):
    lines = [f"D-0\t{score}\t{text}" for score, text in ((-0.1, "best"), (-0.2, "second"))]
    assert program.read_system(write(tmp_path / "generate.log", lines), 1) == ["best"]


@pytest.mark.parametrize("count", [3, 5])
def test_another_number_of_lines_is_an_error(tmp_path, reference, count):
    system = write(tmp_path / "sys.txt", (HYPOTHESIS * 2)[:count])
    with pytest.raises(SystemExit, match=f"has {count} lines and the reference has 4"):
        run(system, reference)


def test_a_sentence_missing_from_a_log_is_an_error(tmp_path, reference):
    log = write(tmp_path / "generate.log", generate_log(order=(3, 0, 1)))
    with pytest.raises(SystemExit, match="lacks 1 of the reference's 4.*number 2"):
        run(log, reference)


def test_a_log_of_a_larger_test_set_is_an_error(tmp_path):
    log = write(tmp_path / "generate.log", generate_log())
    with pytest.raises(program.ScoringError, match="different test sets"):
        program.read_system(log, 3)


def test_a_missing_file_is_named(tmp_path, reference):
    with pytest.raises(SystemExit, match="nowhere.txt"):
        run(tmp_path / "nowhere.txt", reference)


def test_the_tokenizer_can_be_chosen(tmp_path, reference, capsys):
    run(write(tmp_path / "sys.txt", HYPOTHESIS), reference, "--tokenize", "char")
    assert "tok:char" in capsys.readouterr().out
