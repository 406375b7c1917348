"""Translations are those of fairseq-generate, a line for a line, whatever is in the text."""

import io
import json
import re
import tracemalloc

import pytest
from helpers.constants import TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.launch import fork
from hypothesis import given, settings
from hypothesis import strategies as st

from rdrop_tools.scoring.detokenization import detokenizer
from rdrop_tools.translation import program
from rdrop_tools.translation.engines import Hypothesis
from rdrop_tools.translation.folder import TranslationError, find_model
from rdrop_tools.translation.preparation import Preparation
from rdrop_tools.translation.program import as_json, as_text
from rdrop_tools.translation.translator import BATCH_TOKENS, LONGEST_PART, Translator, batches

ODD_LINES = (
    *(b"", b"   ", b"Ein Haus\r", b"\x00\x07", b"gr\xfc\xdfe", b"\xef\xbb\xbf", b"Hund\tHund"),
    *("\u2028".encode(), "漢字 🙂".encode(), b"</s> <unk> <pad>", b"@@ @@ a@@", b"&quot; &amp;"),
    *("\u2581 \u2581".encode(), b"x" * 20_000, b"Ein Haus. " * 200),
)


@pytest.fixture(params=["fairseq", "ctranslate2"])
def runs(request, raw_run, tokenized_run):
    """Both runs, for each of the engines."""
    if request.param == "fairseq":
        return {"raw": raw_run, "tokenized": tokenized_run}
    return request.getfixturevalue("exported")


BEAM = "--beam=1"  # of more, CTranslate2 may take another one of nearly equal hypotheses


def generated(trained, checkpoint, joining):
    """Return what fairseq-generate makes of the test set."""
    printed = fork(
        *("fairseq-generate", trained.parent / "binarized", USER_DIR, "--cpu", BEAM),
        *(f"--path={trained / checkpoint}", f"--remove-bpe={joining}", "--max-sentences=1"),
        *("--max-len-a=2", "--max-len-b=10"),
    ).stdout
    found = re.findall(r"^D-(\d+)\t\S+\t(.*)$", printed, re.M)
    return [text for _, text in sorted(found, key=lambda one: int(one[0]))]


def test_of_raw_text_they_are_those_of_fairseq(runs, raw_run, translate, monkeypatch):
    monkeypatch.setattr("rdrop_tools.translation.translator.BUCKET", 1)  # lengths as above
    expected = generated(raw_run, "model.pt", "sentencepiece")
    assert len({*expected}) > 3
    text = (raw_run.parent / "corpus" / "test.de").read_bytes()
    assert translate(runs["raw"], text, BEAM) == expected


def test_of_prepared_text_they_are_those_of_fairseq(runs, tokenized_run, translate, monkeypatch):
    monkeypatch.setattr("rdrop_tools.translation.translator.BUCKET", 1)
    expected = generated(tokenized_run, "checkpoint_best.pt", "@@ ")
    assert len({*expected}) > 3
    text = (tokenized_run.parent / "subwords" / "test.de").read_bytes()
    assert translate(runs["tokenized"], text, "--prepared", BEAM) == expected


@pytest.mark.parametrize("name", ["tokenized_run", "normalized_run"])
def test_of_raw_text_they_are_those_of_the_text_that_was_prepared_from_it(name, request, translate):
    run = request.getfixturevalue(name)
    raw = (run.parent / "corpus" / "test.raw.de").read_bytes()
    subwords = (run.parent / "subwords" / "test.de").read_bytes()
    prepare = Preparation(find_model(run), "de", "en").prepare
    assert [prepare(line) for line in raw.decode().splitlines()] == [
        line.split() for line in subwords.decode().splitlines()
    ]
    expected = translate(run, subwords, "--prepared", BEAM)
    assert len({*expected}) > 3
    assert translate(run, raw, BEAM) == [*map(detokenizer("en"), expected)]


@pytest.mark.parametrize("name", ["raw", "tokenized"])
def test_as_many_lines_out_as_in(runs, name, translate, capsys):
    lines = translate(runs[name], b"\n".join(ODD_LINES) + b"\n")
    assert len(lines) == len(ODD_LINES)
    blank = [number for number in range(6) if not lines[number]]
    assert {0, 1, 3} <= {*blank} and not lines[13]
    assert translate(runs[name], b"\n".join(ODD_LINES)) == lines
    assert translate(runs[name], b"") == []


def test_what_is_wrong_with_the_text_is_said(raw_run, tmp_path, capsys):
    from rdrop_tools.translation.program import main

    (tmp_path / "text").write_bytes(b"a\n\xff\n" + b"x" * 20_000 + b"\n\xfe\n")
    main([str(raw_run), "--cpu", "--beam=1", f"--input={tmp_path / 'text'}"])
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 4
    assert "2 lines, the first of them 2: not UTF-8" in captured.err
    assert "line 3: longer than 16,384 characters, left blank" in captured.err


def test_a_line_becomes_a_list_of_json(runs, translate):
    lines = translate(runs["raw"], b"Ein Haus\n\n\xff\n", "--json", "--n-best", "2")
    first, blank, bad = map(json.loads, lines)
    assert first["source"] == "Ein Haus" and len(first["translations"]) == 2
    scores = [one["score"] for one in first["translations"]]
    assert scores == sorted(scores, reverse=True) and scores[0] < 0
    assert blank == {"source": "", "translations": []}
    assert bad["source"] == "\ufffd" and bad["problem"].startswith("not UTF-8")
    texts = [one["text"] for one in first["translations"]]
    assert translate(runs["raw"], b"Ein Haus\n\n", "--n-best", "2") == [*texts, "", ""]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-0.1", "10.1", "1e5", "long", ""])
def test_a_length_penalty_that_makes_no_score_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        program.main(["run", f"--lenpen={text}"])
    assert f"--lenpen: must be a number from 0 to 10, not '{text}'\n" in capsys.readouterr().err


def test_the_extreme_length_penalties_make_scores(runs, translate):
    for penalty in ("0", "10"):
        (line,) = translate(runs["raw"], b"Ein Haus rennt\n", "--json", "--lenpen", penalty)
        (best,) = json.loads(line)["translations"]
        assert -1e3 < best["score"] < 0


def test_the_words_of_the_command_line_are_a_line(raw_run, translate, capsys):
    from rdrop_tools.translation.program import main

    (expected,) = translate(raw_run, b"Ein Haus rennt\n")
    main([str(raw_run), "--cpu", "--beam", "2", "Ein", "Haus rennt"])
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize(
    ("name", "text", "tokens", "restored"),
    [
        (
            "tokenized_run",
            'Das Haus, "das" & die U.S.',
            "das haus , &quot; das &quot; &amp; die u.s .",
            'das haus, "das" & die u.s.',
        ),
        (
            "normalized_run",
            "Das Haus, „das“ & die E-Mail",
            "Das Haus , &quot; das &quot; &amp; die E @-@ Mail",
            'Das Haus, "das" & die E-Mail',
        ),
    ],
)
def test_tokenized_text_is_prepared_and_restored(name, text, tokens, restored, request):
    preparation = Preparation(find_model(request.getfixturevalue(name)), "de", "en")
    subwords = preparation.prepare(text)
    assert preparation.join(subwords) == tokens
    assert preparation.restore(subwords) == restored


def test_raw_text_is_restored_as_it_was(raw_run):
    preparation = Preparation(find_model(raw_run), "de", "en")
    text = 'Das Haus, "das" & die U.S.  Straße &amp;'
    assert preparation.restore(preparation.prepare(text)) == " ".join(text.split())


@pytest.mark.parametrize("name", ["raw_run", "tokenized_run"])
def test_long_lines_are_cut_after_a_sentence_or_a_word(name, request):
    preparation = Preparation(find_model(request.getfixturevalue(name)), "de", "en")
    for text in ("Ein Haus. Der Hund rennt! " * 40, "Hund Haus " * 200, "Hund" * 200):
        subwords = preparation.prepare(text)
        parts = preparation.parts(subwords, 50)
        assert len(parts) > 1 and sum(parts, []) == subwords
        assert all(0 < len(part) <= 50 for part in parts)
        if "." in text:
            assert all(part[-1].endswith((".", "!")) for part in parts)
        if " " in text:
            words = [preparation.join(part) for part in parts]
            assert " ".join(words) == preparation.join(subwords)


class Echo:
    """An engine that gives back what it gets, and remembers its batches."""

    def __init__(self, longest=1000):
        self.longest = longest
        self.batches = []

    def translate(self, batch, limit):
        assert limit > max(map(len, batch))
        self.batches.append(batch)
        return [[Hypothesis(-len(s), s), Hypothesis(-99.0, ["worse"])] for s in batch]


def test_parts_come_back_in_their_order(tokenized_run):
    preparation = Preparation(find_model(tokenized_run), "de", "en")
    translator = Translator(Echo(), preparation, is_prepared=True)
    long = " ".join(f"w{number}" for number in range(LONGEST_PART + 50))
    short, blank, longer = translator.translate(["a b", " ", long])
    assert short == [("a b", -2), ("worse", -99)] and blank == []
    assert longer == [(long, -150), ("worse worse", -99)]
    assert max(map(len, sum(translator.engine.batches, []))) == LONGEST_PART


def test_a_part_is_no_longer_than_the_model_takes(tokenized_run):
    preparation = Preparation(find_model(tokenized_run), "de", "en")
    translator = Translator(Echo(longest=7), preparation, is_prepared=True)
    text = " ".join(f"w{number}" for number in range(20))
    ((best, _),) = translator.translate([text])
    assert best.text == text
    assert max(map(len, sum(translator.engine.batches, []))) == 7


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
def test_a_model_with_learned_positions_translates_a_long_line(
    engine, raw_run, copied, tmp_path, translate
):
    run = copied(raw_run, tmp_path / "copy").with_name("learned")
    fork(
        *("fairseq-train", run.parent / "binarized", *TINY_TRANSFORMER, *TRAINING, USER_DIR),
        *("--encoder-learned-pos", "--max-source-positions=40", "--save-dir", run),
        *("--decoder-learned-pos", "--max-target-positions=50", "--max-update=1"),
    )
    if engine == "ctranslate2":
        pytest.importorskip("ctranslate2")
        from rdrop_tools.translation.export import export

        export(run, tmp_path / "exported")
        run = tmp_path / "exported"
    lines = translate(run, b"Ein Haus. " * 100 + b"\n" + b"Hund " * 30 + b"\n")
    assert len(lines) == 2 and all(lines)


class Failing(Echo):
    """An engine that cannot translate a certain word."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def translate(self, batch, limit):
        if any("bad" in subwords for subwords in batch):
            raise self.error
        return super().translate(batch, limit)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("out of memory\nat 0x7f"),
        IndexError("out of memory"),
        MemoryError("out of memory"),
    ],
)
def test_an_engine_that_fails_ends_with_the_line_and_what_to_do(error, tokenized_run):
    preparation = Preparation(find_model(tokenized_run), "de", "en")
    translator = Translator(Failing(error), preparation, is_prepared=True)
    output = io.StringIO()
    reason = f"{type(error).__name__}: out of memory: try --beam 1, --cpu or shorter lines.$"
    for text, where in ((b"bad " * 9, "line 301"), (b"bad\n", "45 lines, the first of them 257")):
        stream = io.BytesIO(b"a\n" * 300 + text)
        with pytest.raises(TranslationError, match=f"^{where}: not translated, .* {reason}"):
            program.translate(translator, stream, as_text, 1, output)


@pytest.mark.parametrize("name", ["raw_run", "tokenized_run"])
def test_whatever_comes_in_as_many_lines_go_out(name, request):
    """Any bytes, through the reader, the preparation, the parts and back."""
    translator = Translator(
        Echo(), Preparation(find_model(request.getfixturevalue(name)), "de", "en")
    )
    known = st.sampled_from([*ODD_LINES[:-2], b"\n", b"\r\n", b" ", b"Haus. " * 300])
    pieces = st.lists(st.one_of(known, st.binary(max_size=9), st.text(max_size=9).map(str.encode)))

    @settings(deadline=None, max_examples=60)
    @given(pieces.map(b"".join))
    def check(raw):
        lines = raw.count(b"\n") + (raw != b"" and not raw.endswith(b"\n"))
        for write, count in ((as_text, 2 * lines), (as_json, lines)):  # Echo gives two
            output = io.StringIO(newline="")
            program.translate(translator, io.BytesIO(raw), write, 2, output)
            assert output.getvalue().count("\n") == count
            assert len(output.getvalue().splitlines()) == count

    check()


class EchoOfGerman(Echo):
    """An engine as the program needs it, which remembers nothing."""

    source, target = "de", "en"

    def translate(self, batch, limit):
        return [[Hypothesis(-1.0, subwords)] for subwords in batch]


def test_a_long_text_needs_no_more_memory_than_a_short_one(raw_run, tmp_path, monkeypatch):
    """From the file to the output, but for the search."""
    monkeypatch.setattr(program, "load_engine", lambda *_: EchoOfGerman())

    def peak(lines):
        (tmp_path / "text").write_bytes(b"Ein Haus\n\xff Hund\n\nU.S.\tder\n5\n" * (lines // 5))
        with open(tmp_path / "out", "w", encoding="utf-8") as output:
            monkeypatch.setattr("sys.stdout", output)
            tracemalloc.start()
            program.main([str(raw_run), "--json", f"--input={tmp_path / 'text'}"])
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert (tmp_path / "out").read_bytes().count(b"\n") == lines
        return peak

    peak(5)  # imports what is needed
    assert peak(30_000) < peak(10_000) + 2**18


def test_a_batch_has_no_more_than_its_tokens():
    sentences = [["w"] * (1 + number * 7 % 250) for number in range(500)]
    found = list(batches(sentences))
    assert sorted(sum((numbers for numbers, _ in found), [])) == list(range(500))
    for numbers, limit in found:
        lengths = [len(sentences[number]) for number in numbers]
        assert len(lengths) * (max(lengths) + 1) <= BATCH_TOKENS
        assert max(lengths) - min(lengths) < 8 and limit == 2 * (-(-max(lengths) // 8) * 8 + 1) + 10
    assert len(found) < 50


def test_the_other_lines_change_no_limit():
    """So that a line has one translation, however the text comes in."""
    alone = [limit for _, limit in batches([["w"] * 3])]
    assert alone == [limit for numbers, limit in batches([["w"] * 90, ["w"] * 3]) if 1 in numbers]
