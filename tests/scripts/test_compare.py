"""The table of systems: sacrebleu's scores and its paired bootstrap."""

import compare as program
import pytest
import sacrebleu

REFERENCE = [f"the lamp number {n} in the room is on" for n in range(30)]
GOOD = [line.replace("room", "kitchen") if n % 3 else line for n, line in enumerate(REFERENCE)]
BAD = [f"a lamp {line.split()[3]} is off" for line in REFERENCE]


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_table():
    lines = program.compare([("plain", BAD), ("R-Drop", GOOD)], REFERENCE)
    header, plain, rdrop, *signatures = lines
    assert header.split() == ["BLEU", "chrF2"]
    assert plain.startswith("plain") and "p=" not in plain
    assert f"{sacrebleu.corpus_bleu(BAD, [REFERENCE]).score:5.2f} (" in plain
    assert f"{sacrebleu.corpus_bleu(GOOD, [REFERENCE]).score:5.2f} (" in rdrop
    assert rdrop.count("p=0.0010") == 2  # one in 1,001 is the least that 1,000 samples can give
    assert any("bs:1000" in line and "seed:12345" in line for line in signatures)


def test_program_takes_names_and_files(tmp_path, capsys):
    bad, good = write(tmp_path / "bad", BAD), write(tmp_path / "good", GOOD)
    reference = write(tmp_path / "ref", REFERENCE)
    program.main([f"plain={bad}", str(good), "--ref", str(reference)])
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("plain ") and out[2].startswith(f"{good} ")


def test_one_system_is_not_enough(tmp_path, capsys):
    with pytest.raises(SystemExit):
        program.main(["a", "--ref", "b"])
    assert "at least one other system" in capsys.readouterr().err


def test_a_system_of_another_length_is_refused(tmp_path):
    files = [write(tmp_path / "a", BAD), write(tmp_path / "b", GOOD[:-1])]
    with pytest.raises(SystemExit, match="29 lines and the reference has 30"):
        program.main([*map(str, files), "--ref", str(write(tmp_path / "ref", REFERENCE))])
