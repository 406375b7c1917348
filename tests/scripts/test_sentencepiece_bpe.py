"""The joint BPE: decoding gives back the text, and nothing half-made stays."""

import pytest
import sentencepiece
import sentencepiece_bpe as program

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
    run(corpus, tmp_path / "out", "--vocab-size", "90")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "out" / "spm.model"))
    for lang, lines in TEXT.items():
        encoded = (tmp_path / "out" / f"test.{lang}").read_text("utf-8").splitlines()
        decoded = [processor.decode(line.split()) for line in encoded]
        assert decoded == [" ".join(line.split()) for line in lines * 3]
        # as fairseq's --remove-bpe sentencepiece does
        assert [e.replace(" ", "").replace("\u2581", " ").strip() for e in encoded] == decoded


def test_one_vocabulary_of_the_size_asked_for(corpus, tmp_path, capsys):
    run(corpus, tmp_path / "out", "--vocab-size", "80")
    assert "80 pieces" in capsys.readouterr().out
    pieces = (tmp_path / "out" / "spm.vocab").read_text("utf-8")
    assert "lamp" in pieces and "Lampe" in pieces


def test_a_small_corpus_gets_fewer_pieces(corpus, tmp_path):
    run(corpus, tmp_path / "out", "--vocab-size", "30000")
    assert (tmp_path / "out" / "test.de").exists()


@pytest.mark.parametrize("missing", ["train.en", "valid.de"])
def test_missing_split_is_named_and_nothing_stays(corpus, tmp_path, missing):
    (corpus / missing).unlink()
    with pytest.raises(SystemExit, match=missing):
        run(corpus, tmp_path / "out", "--vocab-size", "90")
    assert [corpus] == list(tmp_path.iterdir())
