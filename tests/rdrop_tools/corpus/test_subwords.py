"""The joint BPE: decoding gives back the text, and nothing half-made stays."""

import gzip
import json
import random

import pytest
import sentencepiece
from helpers import launch

from rdrop_tools import manifest
from rdrop_tools.corpus import bpe
from rdrop_tools.corpus import subwords as program

TEXT = {
    "en": ["Turn on the lamp…", "Set {name} to  ½ of “100 %”", "Turn off the lamp"],
    "de": ["Schalte die Lampe ein…", "Setze {name} auf ½ von „100 %“", "Schalte die Lampe aus"],
}


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split in program.SPLITS:
        for lang, lines in TEXT.items():
            (folder / f"{split}.{lang}").write_text("".join(f"{s}\n" for s in lines * 3), "utf-8")
    return folder


def run(corpus, out, *options):
    program.main(["--corpus", str(corpus), "--langs", "en", "de", "--out", str(out), *options])


def test_pieces_decode_to_the_text(corpus, tmp_path):
    run(corpus, tmp_path / "out", "--size", "90")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out" / "spm.model"))
    for lang, lines in TEXT.items():
        encoded = (tmp_path / "out" / f"test.{lang}").read_text("utf-8").splitlines()
        decoded = [processor.decode(line.split()) for line in encoded]
        assert decoded == [" ".join(line.split()) for line in lines * 3]
        # as fairseq's --remove-bpe sentencepiece does
        assert [e.replace(" ", "").replace("\u2581", " ").strip() for e in encoded] == decoded


def test_one_vocabulary_of_the_size_asked_for(corpus, tmp_path):
    run(corpus, tmp_path / "out", "--size", "80")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out" / "spm.model"))
    pieces = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    assert len(pieces) == 80
    assert "▁lamp" in pieces and "▁Lampe" in pieces


def test_a_small_corpus_gets_fewer_pieces(corpus, tmp_path):
    run(corpus, tmp_path / "out", "--size", "30000")
    assert (tmp_path / "out" / "test.de").exists()


def test_a_long_corpus_is_sampled_evenly_and_in_every_process_alike(corpus, tmp_path):
    chance = random.Random(0)
    for lang, letters in (("en", "abcdefgh"), ("de", "klmnopqr")):
        words = ["".join(chance.choices(letters, k=6)) for _ in range(600)]
        (corpus / f"train.{lang}").write_text("".join(f"{word}\n" for word in words))
    models = []
    for name in ("one", "other"):
        words = ["--corpus", str(corpus), "--langs", "en", "de", "--out", str(tmp_path / name)]
        code = "from rdrop_tools.corpus import bpe, subwords; bpe.SAMPLE = 200; subwords.main()"
        launch.run("python", "-c", code, *words, "--size", "60", "--workers", "1")
        models.append((tmp_path / name / "spm.model").read_bytes())
    assert models[0] == models[1]
    processor = sentencepiece.SentencePieceProcessor(model_proto=models[0])
    pieces = "".join(processor.id_to_piece(number) for number in range(processor.get_piece_size()))
    assert "a" in pieces and "k" in pieces


@pytest.mark.parametrize("sample, every", [(199, 2), (67, 3), (40, 5), (200, 1), (1000, 1)])
def test_the_sample_is_every_so_manyth_line_of_both_languages(
    corpus, tmp_path, monkeypatch, sample, every
):
    for lang in ("en", "de"):
        text = "".join(f"{lang} {number}\n" for number in range(100))
        (corpus / f"train.{lang}").write_text(text)
    drawn = []
    monkeypatch.setattr(bpe, "SAMPLE", sample)
    monkeypatch.setattr(bpe, "_learn_sentencepiece", lambda lines, size: drawn.extend(lines) or b"")
    with pytest.raises(SystemExit):  # for lack of a model
        run(corpus, tmp_path / "out", "--workers", "1")
    everything = [f"{lang} {number}" for lang in ("en", "de") for number in range(100)]
    assert drawn == everything[::every]


@pytest.mark.parametrize("missing", ["train.en", "valid.de"])
def test_missing_split_is_named_and_nothing_stays(corpus, tmp_path, missing):
    (corpus / missing).unlink()
    with pytest.raises(SystemExit, match=missing):
        run(corpus, tmp_path / "out", "--size", "90")
    assert [corpus] == list(tmp_path.iterdir())


def test_subword_nmt_with_the_published_merges_gives_the_published_text(shared_data, tmp_path):
    expected = shared_data / "iwslt14" / "expected"
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for lang in ("de", "en"):
        text = gzip.decompress((expected / f"valid.{lang}.gz").read_bytes())
        for split in program.SPLITS:
            (corpus / f"{split}.{lang}").write_bytes(text if split == "valid" else text[:1000])
    out = tmp_path / "out"
    run(corpus, out, "--method", "subword-nmt", "--model", str(expected / "code"))
    for lang in ("de", "en"):
        published = gzip.decompress((expected / f"valid.bpe.{lang}.gz").read_bytes())
        assert (out / f"valid.{lang}").read_bytes() == published
    assert manifest.read(out)["subwords"]["settings"]["size"] is None  # it was not chosen here


@pytest.mark.parametrize("method", bpe.MODEL_FILES)
def test_the_number_of_workers_changes_nothing(corpus, tmp_path, method):
    options = ("--method", method, "--size", "90", "--workers")
    run(corpus, tmp_path / "alone", *options, "1")
    run(corpus, tmp_path / "together", *options, "3")
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "alone", tmp_path / "together")
    ]
    assert len(files[0]) >= 11
    assert files[0] == files[1]


@pytest.mark.parametrize(
    "manifest, cleaned",
    [
        ({"cleaned": ["train", "valid"]}, {"train", "valid"}),
        ({"cleaned": ["train"]}, {"train"}),
        ({"corpus": []}, {"train"}),
        ({}, {"train"}),
    ],
    ids=["held out", "a text of its own", "another program's", "none"],
)
def test_long_pairs_are_left_out_of_training_text_alone(corpus, tmp_path, manifest, cleaned):
    (corpus / "manifest.json").write_text(json.dumps(manifest))
    out = tmp_path / "out"
    run(corpus, out, "--method", "subword-nmt", "--size", "40", "--max-length", "8")
    counts = json.loads((out / "manifest.json").read_text("utf-8"))["subwords"]["pairs"]
    for split in program.SPLITS:
        lines = [(out / f"{split}.{lang}").read_text("utf-8").splitlines() for lang in TEXT]
        assert {len(side) for side in lines} == {counts[split]["kept"]}
        if split in cleaned:
            assert 0 < counts[split]["kept"] < 9
            assert max(len(line.split()) for side in lines for line in side) <= 8
        else:
            assert counts[split]["kept"] == 9


def test_the_lines_that_were_encoded_stand_next_to_them(corpus, tmp_path):
    (corpus / "manifest.json").write_text('{"cleaned": ["train", "valid"]}')
    out = tmp_path / "out"
    run(corpus, out, "--method", "subword-nmt", "--size", "40", "--max-length", "8")
    written = {path.name for path in (out / "tokenized").iterdir()}
    assert written == {"valid.en", "valid.de", "test.en", "test.de"}
    for name in written:
        encoded = (out / name).read_text("utf-8").replace("@@ ", "").splitlines()
        tokenized = (out / "tokenized" / name).read_text("utf-8").splitlines()
        assert encoded == [" ".join(line.split()) for line in tokenized]
    assert (out / "tokenized" / "test.de").read_bytes() == (corpus / "test.de").read_bytes()
    assert (out / "tokenized" / "valid.de").read_bytes() != (corpus / "valid.de").read_bytes()


def test_the_manifest_continues_that_of_the_corpus(corpus, tmp_path):
    (corpus / "manifest.json").write_text('{"corpus": {"pairs": 9}}')
    run(corpus, tmp_path / "out", "--size", "90")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert manifest["corpus"] == {"pairs": 9}
    assert manifest["subwords"]["settings"]["method"] == "sentencepiece"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_manifest_is_refused(corpus, tmp_path, content):
    (corpus / "manifest.json").write_bytes(content)
    with pytest.raises(SystemExit, match="manifest.json"):
        run(corpus, tmp_path / "out", "--size", "90")
    assert not (tmp_path / "out").exists()
