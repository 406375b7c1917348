"""The table of systems: sacrebleu's scores and its paired bootstrap."""

import json

import pytest
import sacrebleu

from rdrop_tools.scoring import comparison as program

REFERENCE = [f"the lamp number {n} in the room is on" for n in range(30)]
GOOD = [line.replace("room", "kitchen") if n % 3 else line for n, line in enumerate(REFERENCE)]
BAD = [f"a lamp {line.split()[3]} is off" for line in REFERENCE]


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def files(tmp_path):
    """The arguments that name a bad baseline, a good system and the reference."""
    texts = {"bad": BAD, "good": GOOD, "ref": REFERENCE}
    bad, good, reference = (write(tmp_path / name, lines) for name, lines in texts.items())
    return [f"plain={bad}", f"R-Drop={good}", "--ref", str(reference)]


def test_table(files, capsys):
    program.main(files)
    header, plain, rdrop, *signatures = capsys.readouterr().out.splitlines()
    assert header.split() == ["BLEU", "chrF2"]
    assert plain.startswith("plain ") and "p=" not in plain
    assert f"{sacrebleu.corpus_bleu(BAD, [REFERENCE]).score:5.2f} (" in plain
    assert f"{sacrebleu.corpus_bleu(GOOD, [REFERENCE]).score:5.2f} (" in rdrop
    assert rdrop.count("p=0.0010") == 2  # one in 1,001 is the least that 1,000 samples can give
    for row in (plain, rdrop):  # columns are aligned
        assert row[header.index("chrF2") - 1] == " " != row[header.index("chrF2")]
    assert any("bs:1000" in line and "seed:12345" in line for line in signatures)


def test_a_file_without_a_name_is_its_own(files, capsys):
    program.main([files[0], files[1].partition("=")[2], *files[2:]])
    assert capsys.readouterr().out.splitlines()[2].startswith(files[1].partition("=")[2])


def test_equal_systems_do_not_differ(files, capsys):
    program.main([files[0], files[0], *files[2:]])
    assert capsys.readouterr().out.splitlines()[2].count("p=1.0000") == 2


def test_approximate_randomization(files, capsys):
    program.main([*files, "--test", "randomization", "--tokenized"])
    _, plain, rdrop, signature = capsys.readouterr().out.splitlines()
    assert "±" not in plain + rdrop
    assert rdrop.endswith("p=0.0001")  # the least that 10,000 trials can give
    assert "ar:10000" in signature and "tok:none|smooth:none" in signature


def test_options_of_scoring_reach_the_comparison(tmp_path, capsys):
    texts = {"sys": ["a well-known lamp on"], "ref": ["this well-known lamp on"]}
    system, reference = (write(tmp_path / name, lines) for name, lines in texts.items())
    scores = []
    for option in ("--tokenized", "--compound-split"):
        program.main([str(system), str(system), "--ref", str(reference), option, "--json"])
        scores.append(json.loads(capsys.readouterr().out)["systems"][0]["BLEU"]["score"])
    assert scores[0] == 0 and scores[1] > 30


def test_json(files, capsys):
    program.main([*files, "--json"])
    result = json.loads(capsys.readouterr().out)
    plain, rdrop = result["systems"]
    assert (plain["name"], rdrop["name"]) == ("plain", "R-Drop")
    assert rdrop["BLEU"]["score"] == sacrebleu.corpus_bleu(GOOD, [REFERENCE]).score
    assert rdrop["BLEU"]["p_value"] == pytest.approx(1 / 1001)
    assert set(plain["chrF2"]) == {"score", "mean", "interval"}
    assert "bs:1000" in result["signatures"]["BLEU"]


def test_references_from_the_logs(tmp_path, files, capsys):
    logs = []
    for name, lines in (("bad", BAD), ("good", GOOD)):
        log = [f"D-{n}\t0\t{line}" for n, line in enumerate(lines)]
        log += [f"T-{n}\t{line}" for n, line in enumerate(REFERENCE)]
        log += ["Generate test with beam=5: BLEU4 = 1.00"]
        logs.append(f"{name}={write(tmp_path / f'{name}.log', log)}")
    program.main([*logs, "--json"])
    from_logs = json.loads(capsys.readouterr().out)["systems"]
    program.main([*files, "--json"])
    from_texts = json.loads(capsys.readouterr().out)["systems"]
    assert [system["BLEU"] for system in from_logs] == [system["BLEU"] for system in from_texts]


def test_one_system_is_not_enough(tmp_path, capsys):
    with pytest.raises(SystemExit):
        program.main(["a", "--ref", "b"])
    assert "at least one other system" in capsys.readouterr().err


def test_a_system_of_another_length_is_refused(tmp_path):
    files = [write(tmp_path / "a", BAD), write(tmp_path / "b", GOOD[:-1])]
    with pytest.raises(SystemExit, match="29 lines and the reference has 30"):
        program.main([*map(str, files), "--ref", str(write(tmp_path / "ref", REFERENCE))])
