"""Hypotheses and references are complete, in order and the right ones, or there are none."""

import pytest

from rdrop_tools.scoring import output as program

REFERENCES = [
    "Turn on the lamp.",
    "Open the front door now",
    "The pump is not running",
    "Yes it is",
]
HYPOTHESES = ["Turn on the light.", "Open the door now", "The pump is not running", ""]


def write(path, lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    return path


def generate_log(order=(2, 0, 3, 1), prefix="INFO:fairseq_cli.generate:"):
    """Return what fairseq-generate prints, the sentences in a given order."""
    lines = [f"{prefix}loading model(s) from model.pt"]
    for n in order:
        lines += [f"S-{n}\tsource", f"T-{n}\t{REFERENCES[n]}", f"H-{n}\t-0.5\ttokenized {n}"]
        lines += [f"D-{n}\t-0.5\t{HYPOTHESES[n]}", f"P-{n}\t-0.1 -0.9"]
    return [*lines, f"{prefix}Generate test with beam=5: BLEU4 = 1.00"]


@pytest.fixture
def log(tmp_path):
    return write(tmp_path / "generate.log", generate_log())


def without(kind, lines):
    return [line for line in lines if not line.startswith(f"{kind}-")]


@pytest.mark.parametrize(
    "prefix", ["INFO:fairseq_cli.generate:", "2026-11-21 05:18:30 | INFO | fairseq_cli.generate | "]
)
@pytest.mark.parametrize("order", [(2, 0, 3, 1), (0, 1, 2, 3)])
def test_a_log_gives_its_d_lines_and_t_lines(tmp_path, prefix, order):
    log = write(tmp_path / "generate.log", generate_log(order, prefix))
    assert program.read_system(log, 4) == HYPOTHESES
    assert program.read_references([log]) == REFERENCES


def test_lines_may_be_in_any_order(tmp_path):
    log = write(tmp_path / "generate.log", sorted(generate_log(), reverse=True))
    assert program.read_system(log, 4) == HYPOTHESES
    assert program.read_references([log]) == REFERENCES


def test_the_first_of_an_n_best_list_counts(tmp_path):
    lines = [f"D-0\t{score}\t{text}" for score, text in ((-0.1, "best"), (-0.2, "second"))]
    assert program.read_system(write(tmp_path / "generate.log", lines), 1) == ["best"]


@pytest.mark.parametrize("subwords", ["die lam@@ pen@@ schirme", "\u2581die \u2581lampen schirme"])
def test_h_lines_lose_their_subwords_and_count_only_without_d_lines(tmp_path, subwords):
    lines = [f"H-0\t-0.5\t{subwords}", "H-1\t-0.5\ta cut@@"]
    log = write(tmp_path / "generate.log", lines)
    assert program.read_system(log, 2) == ["die lampenschirme", "a cut"]
    write(log, [*lines, "D-0\t-0.5\tdetokenized"])
    with pytest.raises(program.ScoringError, match="first of them number 1"):
        program.read_system(log, 2)


def test_only_a_newline_ends_a_line(tmp_path):
    lines = ["one\u2028line", "an\x0cother", "with\rthat", ""]
    assert program.read_lines(write(tmp_path / "a.txt", lines)) == lines
    assert program.read_lines(write(tmp_path / "a.txt", ["dos\r"])) == ["dos"]


def test_the_last_newline_may_be_missing(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n\ntwo")
    assert program.read_lines(tmp_path / "a.txt") == ["one", "", "two"]


@pytest.mark.parametrize("count", [3, 5])
def test_another_number_of_lines_is_an_error(tmp_path, count):
    system = write(tmp_path / "sys.txt", (HYPOTHESES * 2)[:count])
    with pytest.raises(program.ScoringError, match=f"has {count} lines and the reference has 4"):
        program.read_system(system, 4)


def test_a_missing_sentence_is_an_error(tmp_path):
    log = write(tmp_path / "generate.log", generate_log(order=(3, 0)))
    with pytest.raises(program.ScoringError, match="lacks 2 of the reference's 4.*number 1"):
        program.read_system(log, 4)
    with pytest.raises(program.ScoringError, match="no T- line for sentence 1 of 4"):
        program.read_references([log])


def test_a_log_of_a_larger_test_set_is_an_error(log):
    with pytest.raises(program.ScoringError, match="4 sentences and the reference 3"):
        program.read_system(log, 3)


def test_a_log_with_gaps_is_an_error_even_with_as_many_sentences(tmp_path):
    log = write(tmp_path / "generate.log", ["D-0\t0\ta", "D-2\t0\tb"])
    with pytest.raises(program.ScoringError, match="lacks 1 of the reference's 2.*number 1"):
        program.read_system(log, 2)


def test_the_size_of_the_test_set_shows_that_the_last_sentence_is_missing(tmp_path):
    size = "INFO:fairseq.tasks.translation:data-bin test de-en 4 examples"
    log = write(tmp_path / "generate.log", [size, *generate_log(order=(2, 0, 1))])
    with pytest.raises(program.ScoringError, match="no T- line for sentence 3 of 4"):
        program.read_references([log])
    write(log, [size, *generate_log()])
    assert program.read_references([log]) == REFERENCES


def test_without_its_size_a_log_must_have_come_to_its_end(tmp_path):
    sentence = "S-0\tGenerate test with beam=5: it is a sentence"
    cut_short = [sentence, *generate_log(order=(2, 0, 1))[:-1]]
    log = write(tmp_path / "generate.log", cut_short)
    with pytest.raises(program.ScoringError, match="may lack sentences: give --ref"):
        program.read_references([log])
    assert program.read_system(log, 3) == HYPOTHESES[:3]
    write(log, [*cut_short, "Generate test with beam=5: BLEU4 = 1.00"])
    assert program.read_references([log]) == REFERENCES[:3]


def test_a_sentence_without_its_reference_is_an_error(tmp_path):
    lines = [line for line in generate_log() if not line.startswith("T-3")]
    with pytest.raises(program.ScoringError, match="no T- line for sentence 3 of 4: give --ref"):
        program.read_references([write(tmp_path / "generate.log", lines)])


def test_text_without_references_asks_for_them(tmp_path):
    text = write(tmp_path / "sys.txt", HYPOTHESES)
    without_t = write(tmp_path / "generate.log", without("T", generate_log()))
    with pytest.raises(program.ScoringError, match="sys.txt has no references.*--ref"):
        program.read_references([text, without_t])


def test_references_come_from_the_logs_that_have_them(tmp_path, log):
    assert program.read_references([write(tmp_path / "a", HYPOTHESES), log]) == REFERENCES


def test_logs_with_different_references_are_an_error(tmp_path, log):
    lines = [line.replace("lamp.", "lamps.") for line in generate_log()]
    other = write(tmp_path / "other.log", lines)
    with pytest.raises(program.ScoringError, match="other.log has other references.*generate.log"):
        program.read_references([log, other])


@pytest.mark.parametrize("subwords", ["a lam@@ p", "\u2581a \u2581lamp", "cut@@"])
def test_subwords_in_references_or_d_lines_are_an_error(tmp_path, subwords):
    log = write(tmp_path / "generate.log", [f"T-0\t{subwords}", f"D-0\t-0.5\t{subwords}"])
    with pytest.raises(program.ScoringError, match="T- lines.*subwords: give --ref, or --remove-b"):
        program.read_references([log])
    with pytest.raises(program.ScoringError, match="generate.log has subwords.*--remove-bpe"):
        program.read_system(log, 1)


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(program.ScoringError, match="empty.txt is empty"):
        program.read_lines(tmp_path / "empty.txt")


def test_damaged_text_is_an_error(tmp_path):
    (tmp_path / "latin1.txt").write_bytes("Tür\nTüren\n".encode("latin-1"))
    with pytest.raises(program.ScoringError, match="Line 1 of .*latin1.txt is not UTF-8"):
        program.read_lines(tmp_path / "latin1.txt")
