"""An exported model is the trained one, complete, or there is none."""

import json
import os
import re

import pytest
import torch
from helpers.constants import TRAINING, USER_DIR
from helpers.hostile import RunsACommand, needs_checked_types
from helpers.launch import fork
from helpers.models import TRANSLATION

from rdrop_tools import manifest
from rdrop_tools.translation.card import model_card
from rdrop_tools.translation.folder import TranslationError, find_model

pytest.importorskip("ctranslate2")
from rdrop_tools.translation.export import export, main  # noqa: E402


def test_the_folder_has_all_that_translating_needs(exported, tokenized_run):
    folder = exported["tokenized"]
    names = {path.name for path in folder.iterdir()}
    assert {"model.bin", "config.json", "codes", "manifest.json", "README.md"} <= names
    noted = json.loads((folder / "manifest.json").read_text())
    assert (noted["ctranslate2"]["source"], noted["ctranslate2"]["target"]) == ("de", "en")
    assert noted["corpus"]["settings"]["lowercase"] is True
    assert {*noted["ctranslate2"]["files"]} == names - {"manifest.json", "README.md"}


def test_the_card_says_what_the_model_is(exported, tokenized_run, copied, tmp_path):
    card = (exported["tokenized"] / "README.md").read_text()
    assert card.startswith("# de-en translation model")
    assert "Text: toys. Licence: CC0." in card
    for row in ("| arch | transformer |", "| train pairs | 300 |", "| lowercase | True |"):
        assert row in card
    for name in ("ctranslate2", "rdrop_fairseq", "torch", "fairseq"):
        assert re.search(rf"^\| {name} \| (\w\S* )?\d+\.\d", card, re.M), name
    assert (
        "\nbash scripts/translate.sh THIS_FOLDER < text\n" in card
        and "Not measured before the export." in card
    )
    run = copied(tokenized_run, tmp_path / "copy")
    (run / "generate-test-best-beam5-lenpen1.scores").write_text("BLEU|nrefs:1 = 12.34\n")
    (run / "generate-test-ema-beam5-lenpen1.scores").write_text("BLEU|nrefs:1 = 56.78\n")
    export(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "BLEU|nrefs:1 = 12.34" in card and "56.78" not in card


def test_the_card_says_how_long_the_model_was_trained_and_at_which_rate(raw_run, copied, tmp_path):
    run = copied(raw_run, tmp_path / "copy")
    state = torch.load(run / "model.pt", weights_only=False)
    schedule = {"_name": "polynomial_decay", "warmup_updates": 30, "total_num_update": 900.0}
    state["cfg"]["lr_scheduler"] = schedule
    torch.save(state, run / "model.pt")
    export(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| updates | 150 |" in card and "| criterion | cross_entropy |" in card
    assert "| lr_scheduler | polynomial_decay |\n| warmup_updates | 30 |\n" in card
    assert "| total_num_update | 900.0 |" in card


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("==> de-en test, run, best checkpoint, beam 4, length penalty 0.6\n", "--lenpen 0.6"),
        ("==> de-en test, run, best checkpoint, beam 4, length penalty -1e-1\n", "--lenpen -1e-1"),
        ("      translated with --beam 4 --lenpen 1.5 --max-len-a 2\n", "--lenpen 1.5"),
    ],
)
def test_the_command_of_the_card_searches_as_for_its_scores(text, options, exported):
    other = "beam 9, length penalty 9\n"
    scores = {"a.scores": "BLEU = 1.00\n", "b.scores": f"{text}BLEU = 2.00\n", "c.scores": other}
    card = model_card(manifest.read(exported["raw"]), torch.nn.Linear(1, 1), scores)
    assert f"\nbash scripts/translate.sh THIS_FOLDER --beam 4 {options} < text\n" in card
    assert "The scores in b.scores below were measured with this beam" in card


def test_the_card_has_no_scores_older_than_the_checkpoint(tokenized_run, copied, tmp_path):
    """As after a training that was evaluated, continued and not evaluated again."""
    run = copied(tokenized_run, tmp_path / "copy")
    made = (run / "checkpoint_best.pt").stat().st_mtime_ns
    for beam, age in {"4": 1, "5": 0, "6": -1}.items():
        scores = run / f"generate-test-best-beam{beam}-lenpen1.scores"
        scores.write_text(f"BLEU of beam {beam}\n")
        os.utime(scores, ns=(made, made - age * 10**9))
    export(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert re.findall(r"BLEU of beam \d", card) == ["BLEU of beam 5", "BLEU of beam 6"]


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_card_says_whose_scores_it_shows(quantization, tokenized_run, copied, tmp_path):
    run = copied(tokenized_run, tmp_path / "copy")
    (run / "generate-test-best-beam5-lenpen1.scores").write_text("BLEU|nrefs:1 = 12.34\n")
    export(run, tmp_path / "out", quantization=quantization)
    card = (tmp_path / "out" / "README.md").read_text()
    is_said = "Of the model before its quantization: it was not measured as int8. fairseq" in card
    assert "BLEU|nrefs:1 = 12.34" in card and is_said == (quantization == "int8")


def test_an_integer_model_is_smaller(raw_run, exported, tmp_path, translate):
    main([str(raw_run), "--out", str(tmp_path / "int8"), "--quantization", "int8"])
    sizes = [(f / "model.bin").stat().st_size for f in (tmp_path / "int8", exported["raw"])]
    assert sizes[0] < sizes[1]
    assert "exported for CTranslate2 as int8" in (tmp_path / "int8" / "README.md").read_text()
    text = (raw_run.parent / "corpus" / "test.de").read_bytes()
    assert len(translate(tmp_path / "int8", text)) == 30


def refused(run, out, **options):
    """Return why a run is not exported, which must leave nothing."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(TranslationError) as error:
        export(run, out, **options)
    assert sorted(out.parent.rglob("*")) == before
    return str(error.value)


@pytest.mark.parametrize("architecture", ["lstm", "fconv", "lightconv"])
def test_an_architecture_that_ctranslate2_lacks_is_refused(architecture, raw_run, copied, tmp_path):
    run = copied(raw_run, tmp_path / "copy").with_name(architecture)
    fork(
        *("fairseq-train", run.parent / "binarized", *TRANSLATION[architecture], *TRAINING),
        *(USER_DIR, "--save-dir", run, "--no-epoch-checkpoints", "--max-update=1"),
    )
    reason = refused(run, tmp_path / "out", checkpoint="checkpoint_last.pt")
    assert "CTranslate2 cannot run this model" in reason and architecture in reason


def test_a_model_with_other_scores_is_refused(raw_run, exported):
    from rdrop_tools.translation.engines.fairseq import load_checkpoint
    from rdrop_tools.translation.parity import refuse_other_scores

    files = find_model(raw_run)
    model, _, task = load_checkpoint(files.path, files.data)
    refuse_other_scores(exported["raw"], model, task)
    with torch.no_grad():
        model.decoder.layers[0].fc2.bias[0] += 5
    with pytest.raises(TranslationError, match="log probabilities differ"):
        refuse_other_scores(exported["raw"], model, task)


@needs_checked_types
def test_a_hostile_checkpoint_is_refused(raw_run, copied, tmp_path):
    run = copied(raw_run, tmp_path / "copy")
    content = {"args": None, "cfg": RunsACommand(tmp_path / "ran"), "model": {}}
    torch.save(content, run / "model.pt")
    assert "model.pt was not loaded: it asks for posix.system" in refused(run, tmp_path / "out")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_checkpoint_that_is_cut_short_is_refused(raw_run, copied, tmp_path, share):
    run = copied(raw_run, tmp_path / "copy")
    whole = (run / "model.pt").read_bytes()
    (run / "model.pt").write_bytes(whole[: int(share * len(whole))])
    assert "model.pt is cut short, or not a checkpoint" in refused(run, tmp_path / "out")


def test_what_is_there_is_not_replaced(raw_run, exported):
    before = (exported["raw"] / "model.bin").stat().st_mtime_ns
    with pytest.raises(SystemExit, match="exists already"):
        main([str(raw_run), "--out", str(exported["raw"])])
    assert (exported["raw"] / "model.bin").stat().st_mtime_ns == before


def test_an_exported_model_is_not_exported_again(exported, tmp_path):
    assert "is an exported model already" in refused(exported["raw"], tmp_path / "out")
