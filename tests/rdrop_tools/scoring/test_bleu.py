"""Scores are sacrebleu's own; of tokenized text they are those of multi-bleu.perl."""

import gzip
import json
import math
import re
from collections import Counter
from fractions import Fraction

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from rdrop_tools.scoring import bleu as program

REFERENCE = ["Turn on the lamp.", "Open the front door now", "The pump is not running", "Yes it is"]
HYPOTHESIS = ["Turn on the light.", "Open the door now", "The pump is not running", ""]


@pytest.fixture
def reference(tmp_path):
    return write(tmp_path / "ref.txt", REFERENCE)


def write(path, lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    return path


def run(system, reference=None, *options):
    named = ["--ref", str(reference)] if reference else []
    program.main(["--sys", str(system), *named, *options])


def multi_bleu(hypotheses, references):
    """Return the line of multi-bleu.perl, straight from the definition of BLEU.

    Words are what Perl's split makes of bytes; all but the last steps are exact.
    """
    matches, totals = Counter(), Counter()
    hypotheses, references = (
        [line.encode().split() for line in t] for t in (hypotheses, references)
    )
    for hypothesis, reference in zip(hypotheses, references):
        for n in range(1, 5):
            ours, theirs = ngrams(hypothesis, n), ngrams(reference, n)
            totals[n] += sum(ours.values())
            matches[n] += sum(min(count, theirs[ngram]) for ngram, count in ours.items())
    precisions = [Fraction(matches[n], totals[n] or 1) for n in range(1, 5)]
    ours, theirs = (sum(map(len, text)) for text in (hypotheses, references))
    penalty = 1 if ours >= theirs else math.exp(1 - Fraction(theirs, ours)) if ours else 0
    bleu = penalty * math.prod(precisions) ** 0.25
    percent = "/".join(f"{float(100 * precision):.1f}" for precision in precisions)
    return (
        f"BLEU = {100 * bleu:.2f}, {percent} "
        f"(BP={penalty:.3f}, ratio={ours / theirs:.3f}, hyp_len={ours}, ref_len={theirs})"
    )


def ngrams(words, n):
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def tokenized_score(hypotheses, references, option="--tokenized"):
    how = scoring(option)
    prepared = [[*map(how.prepare, text)] for text in (hypotheses, references)]
    return program.multi_bleu(how.metrics["BLEU"].corpus_score(prepared[0], [prepared[1]]))


def scoring(*options):
    parser = program.argparse.ArgumentParser()
    program.add_scoring_arguments(parser)
    return program.scoring(parser.parse_args(options), parser)


def test_scores_are_sacrebleus(tmp_path, reference, capsys):
    run(write(tmp_path / "sys.txt", HYPOTHESIS), reference)
    bleu, chrf = capsys.readouterr().out.splitlines()
    expected = sacrebleu.corpus_bleu(HYPOTHESIS, [REFERENCE]).score
    assert bleu.startswith("BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert f" = {expected:.2f} " in bleu
    expected = sacrebleu.corpus_chrf(HYPOTHESIS, [REFERENCE]).score
    assert chrf.startswith("chrF2|") and chrf.endswith(f" = {expected:.2f}")


def test_a_tokenizer_without_its_package_is_named(tmp_path, reference, monkeypatch):
    def missing(*arguments, **options):
        raise RuntimeError("\nJapanese needs more.\n\n    pip install sacrebleu[ja]\n")

    monkeypatch.setattr(program.BLEU, "__init__", missing)
    with pytest.raises(SystemExit, match=r": Japanese needs more. pip install sacrebleu\[ja\]$"):
        run(write(tmp_path / "sys.txt", HYPOTHESIS), reference, "--tokenize", "ja-mecab")


@pytest.mark.parametrize("options", [(), ("--tokenized",)])
def test_case_counts_unless_told_otherwise(tmp_path, reference, capsys, options):
    system = write(tmp_path / "shouted", [line.upper() for line in REFERENCE])
    scores = []
    for case, extra in (("mixed", ()), ("lc", ("--lowercase",))):
        run(system, reference, "--json", *options, *extra)
        bleu = json.loads(capsys.readouterr().out)["BLEU"]
        assert f"case:{case}" in bleu["signature"]
        scores.append(bleu["score"])
    assert scores[0] < 5 and scores[1] == pytest.approx(100)


def test_the_tokenizer_can_be_chosen(tmp_path, reference, capsys):
    run(write(tmp_path / "sys.txt", HYPOTHESIS), reference, "--tokenize", "char")
    assert "tok:char" in capsys.readouterr().out


WORDS = st.sampled_from(["a", "b", "c", "d-e", "ä-ö-ü", ".", "\u00a0", "x\u3000y", "\x1c", "\x85"])
SEPARATORS = st.sampled_from([" ", "  ", "\t", "\x0b"])
LINES = st.lists(st.tuples(WORDS, SEPARATORS), max_size=9).map(
    lambda pairs: "".join(word + separator for word, separator in pairs)
)


@given(st.lists(st.tuples(LINES, LINES), min_size=1, max_size=6))
def test_tokenized_bleu_is_multi_bleus(pairs):
    hypotheses, references = zip(*pairs, ("a b c d a", "b a b c d"))  # that some words match
    assert tokenized_score(hypotheses, references) == multi_bleu(hypotheses, references)


def test_tokenized_bleu_of_real_text(shared_data):
    with gzip.open(shared_data / "iwslt14/expected/valid.de.gz", "rt", encoding="utf-8") as text:
        references = text.read().splitlines()[:2000]
    hypotheses = [" ".join(re.findall(r"\S+", line)[n % 3 :]) for n, line in enumerate(references)]
    hypotheses = [line.replace("die", "der").replace(" .", " !") for line in hypotheses]
    score = tokenized_score(hypotheses, references)
    assert score == multi_bleu(hypotheses, references)
    assert 50 < float(score.split()[2].rstrip(",")) < 95


def test_a_precision_of_zero_makes_the_score_zero(tmp_path, capsys):
    files = write(tmp_path / "sys", ["a b c x", "a b"]), write(tmp_path / "ref", ["a b c d", "a b"])
    run(*files, "--tokenized")
    expected = "BLEU = 0.00, 83.3/75.0/50.0/0.0 (BP=1.000, ratio=1.000, hyp_len=6, ref_len=6)"
    assert capsys.readouterr().out.splitlines() == [expected]


@pytest.mark.parametrize(
    ("line", "split"),  # what perl -ple 's{(\S)-(\S)}{$1 ##AT##-##AT## $2}g' prints
    [
        ("well-known", "well ##AT##-##AT## known"),
        ("a-b-c", "a ##AT##-##AT## b-c"),
        ("ab-cd-ef", "ab ##AT##-##AT## cd ##AT##-##AT## ef"),
        ("ä-ö-ü", "ä ##AT##-##AT## ö ##AT##-##AT## ü"),  # Perl sees two bytes in ö
        ("a--b", "a ##AT##-##AT## -b"),
        ("- a -b c-", "- a -b c-"),
    ],
)
def test_compounds_are_split_as_perl_does(line, split):
    assert program.split_compounds(line) == split


def test_compound_split_score():
    hypotheses, references = ["a well-known kind of text"], ["a well-worn kind of text"]
    split = [line.replace("-", " ##AT##-##AT## ") for line in (*hypotheses, *references)]
    score = tokenized_score(hypotheses, references, "--compound-split")
    assert score == multi_bleu(split[:1], split[1:])
    assert score != multi_bleu(hypotheses, references)


def test_detokenized_text_is_scored_as_raw_text(tmp_path, capsys):
    pytest.importorskip("sacremoses")
    tokenized = [
        "a well @-@ known man says : &quot; I don &apos;t . &quot;",
        "yes , it is ( not ) so !",
    ]
    raw = ['a well-known man says: "I don\'t."', "yes, it is (not) so!"]
    changed = [line.replace("man", "woman") for line in tokenized]
    files = write(tmp_path / "sys", changed), write(tmp_path / "ref", tokenized)
    run(*files, "--detokenize", "en")
    from_tokenized = capsys.readouterr().out
    changed = [line.replace("man", "woman") for line in raw]
    run(write(tmp_path / "raw_sys", changed), write(tmp_path / "raw_ref", raw))
    assert capsys.readouterr().out == from_tokenized


@pytest.mark.parametrize("language", ["xx", "english", "EN", "de-DE", ""])
def test_a_language_without_rules_is_refused(reference, language):
    pytest.importorskip("sacremoses")
    with pytest.raises(SystemExit, match=rf"languages of Moses, as, bn, .*, zh, not '{language}'"):
        run(reference, reference, "--detokenize", language)


@pytest.mark.parametrize("language", ["de", "fr", "ja", "ko", "zh"])
def test_a_language_with_rules_is_scored(reference, capsys, language):
    pytest.importorskip("sacremoses")
    run(reference, reference, "--detokenize", language)
    assert "BLEU|" in capsys.readouterr().out


def test_a_log_brings_its_own_references(tmp_path, reference, capsys):
    lines = [f"T-{n}\t{text}" for n, text in enumerate(REFERENCE)]
    lines += [f"D-{n}\t-0.5\t{text}" for n, text in enumerate(HYPOTHESIS)]
    run(write(tmp_path / "generate.log", [*lines, "Generate test with beam=5: BLEU4 = 1.00"]))
    alone = capsys.readouterr().out
    run(write(tmp_path / "sys.txt", HYPOTHESIS), reference)
    assert capsys.readouterr().out == alone


@pytest.mark.parametrize("option", ["--tokenized", "--compound-split"])
def test_json(tmp_path, reference, capsys, option):
    run(write(tmp_path / "sys.txt", HYPOTHESIS), reference, "--json")
    raw = json.loads(capsys.readouterr().out)
    expected = sacrebleu.corpus_bleu(HYPOTHESIS, [REFERENCE])
    assert raw["sentences"] == 4
    assert raw["BLEU"]["score"] == expected.score
    assert (raw["BLEU"]["counts"], raw["BLEU"]["totals"]) == (expected.counts, expected.totals)
    assert raw["BLEU"]["precisions"] == expected.precisions
    assert raw["BLEU"]["brevity_penalty"] == expected.bp < 1
    assert raw["chrF2"]["score"] == sacrebleu.corpus_chrf(HYPOTHESIS, [REFERENCE]).score
    assert raw["chrF2"]["signature"].startswith("nrefs:1|")
    run(tmp_path / "sys.txt", reference, "--json", option)
    tokenized = json.loads(capsys.readouterr().out)
    assert set(tokenized) == {"sentences", "BLEU"}
    assert "tok:none|smooth:none" in tokenized["BLEU"]["signature"]
    assert (tokenized["BLEU"]["hypothesis_length"], tokenized["BLEU"]["reference_length"]) == (
        13,
        17,
    )


def test_no_warning_about_tokenized_text(tmp_path, caplog):
    path = write(tmp_path / "text", ["it is so ."] * 200)
    run(path, path, "--tokenized")
    assert not caplog.records
    run(path, path)  # where it was forgotten, sacrebleu says so
    assert "tokenized" in caplog.text


def test_options_that_exclude_each_other(tmp_path, reference, capsys):
    for options in (["--tokenized", "--tokenize", "zh"], ["--tokenized", "--detokenize", "de"]):
        with pytest.raises(SystemExit):
            run(reference, reference, *options)
    assert "--tokenize is for text that is not tokenized yet" in capsys.readouterr().err


def test_errors_end_the_program_with_a_sentence(tmp_path, reference):
    with pytest.raises(SystemExit, match="nowhere.txt"):
        run(tmp_path / "nowhere.txt", reference)
    with pytest.raises(SystemExit, match="has 3 lines and the reference has 4"):
        run(write(tmp_path / "sys.txt", HYPOTHESIS[:3]), reference)


def test_references_without_a_word_are_an_error(tmp_path):
    path = write(tmp_path / "blank.txt", ["", " "])
    with pytest.raises(SystemExit, match="blank.txt has references without a single word"):
        run(path, path)
