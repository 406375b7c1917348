"""A whole life on the command line: train, stop, resume, validate, translate, as a user does it."""

import json
import re
import shutil
from importlib.util import find_spec

import pytest
import torch
from helpers.constants import PLUGIN, RDROP, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.faults import contents
from helpers.launch import run

import rdrop_fairseq.compat.checkpoints  # noqa: F401  (lets torch.load read checkpoints)

TRAIN_PY = find_spec("fairseq_cli.train").origin
MODEL = (*TINY_TRANSFORMER, "--dropout=0.1")


def train(data, folder, *arguments, program=("fairseq-train",), **options):
    return run(
        *(*program, data, *TRAINING, f"--save-dir={folder}", "--log-format=json"),
        *arguments,
        **options,
    )


def logged(output, kind):
    """The dictionaries that fairseq logged under ``kind``: train_inner, train or valid."""
    return [json.loads(line) for line in re.findall(rf"\| {kind} \| (\{{.*\}})", output)]


@pytest.fixture(scope="session")
def trained(corpus, tmp_path_factory):
    """A folder with checkpoints of six R-Drop updates that kept BLEU while validating."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = (
        *(*MODEL, *RDROP, USER_DIR, "--max-update=6", "--report-accuracy"),
        *("--eval-bleu", "--eval-bleu-remove-bpe", "--best-checkpoint-metric=bleu"),
        "--maximize-best-checkpoint-metric",
    )
    output = train(corpus.translation, folder, *arguments).stdout
    return folder, arguments, output


def test_training_logs_every_loss(trained):
    _, _, output = trained
    updates = logged(output, "train_inner")
    assert len(updates) == 6
    for update in updates:
        loss, nll, kl, ppl = (float(update[key]) for key in ("loss", "nll_loss", "kl_loss", "ppl"))
        assert ppl == pytest.approx(2**nll, rel=0.02)  # of one view, as fairseq's plain loss logs
        assert loss > 1.8 * nll
        assert kl > 0
        assert 0 <= float(update["accuracy"]) <= 100


def test_validation_is_on_every_sentence_once(trained, corpus):
    """No dropped last batch, nothing doubled, neither for the loss nor for --eval-bleu."""
    folder, _, output = trained
    (valid,) = logged(output, "valid")
    assert "valid_kl_loss" not in valid
    words = (corpus.text / "valid.en").read_text().split()
    assert bleu_reference_length(folder / "checkpoint_last.pt") == len(words)


def bleu_reference_length(checkpoint):
    """How many words of reference ``--eval-bleu`` compared with, from the checkpoint's metrics."""
    groups = dict(torch.load(checkpoint, weights_only=True)["extra_state"]["metrics"])
    meters = {key: state for _, key, _, state in groups["valid"]}
    return meters["_bleu_ref_len"]["sum"]


def test_resumes_from_its_checkpoint_and_continues(trained, corpus, tmp_path):
    finished, arguments, _ = trained
    folder = shutil.copytree(finished, tmp_path / "resumed")
    longer = [word.replace("--max-update=6", "--max-update=9") for word in arguments]
    output = train(corpus.translation, folder, *longer).stdout
    assert re.search(r"Loaded checkpoint .*checkpoint_last.pt \(epoch .* @ 6 updates\)", output)
    assert [int(update["num_updates"]) for update in logged(output, "train_inner")] == [7, 8, 9]


@pytest.mark.parametrize(
    "program", [["fairseq-train"], ["python", "-m", "fairseq_cli.train"], ["python", TRAIN_PY]]
)
def test_a_training_at_its_max_update_makes_no_update_more(trained, corpus, tmp_path, program):
    finished, arguments, _ = trained
    folder = shutil.copytree(finished, tmp_path / "again")
    before = contents(folder)
    output = train(corpus.translation, folder, *arguments, program=program).stdout
    assert "@ 6 updates" in output and "done training" in output
    assert not logged(output, "train_inner")
    assert contents(folder) == before


def test_validates_like_the_plain_criterion_through_fairseq_validate(trained, corpus):
    folder, _, _ = trained
    results = []
    for criterion in (RDROP[0], "--criterion=label_smoothed_cross_entropy"):
        output = run(
            *("fairseq-validate", corpus.translation, USER_DIR, "--cpu"),
            *("--task=translation", f"--path={folder / 'checkpoint_best.pt'}", criterion),
            *("--label-smoothing=0.1", "--max-tokens=200", "--log-format=json"),
        ).stdout
        (line,) = re.findall(r"\| valid \| (\{.*\})", output)
        results.append(json.loads(line))
    for result in results:
        result.pop("valid_wps", None)
    assert results[0] == results[1]
    assert {"loss", "nll_loss", "ppl"} <= {key.replace("valid_", "") for key in results[0]}


def test_generates_a_translation_of_every_test_sentence(trained, corpus):
    folder, _, _ = trained
    output = run(
        *("fairseq-generate", corpus.translation, USER_DIR, "--cpu"),
        *(f"--path={folder / 'checkpoint_best.pt'}", "--max-tokens=200", "--beam=2"),
    ).stdout
    assert sorted(int(n) for n in re.findall(r"^H-(\d+)\t", output, re.MULTILINE)) == [*range(53)]


def test_translates_interactively_a_padded_batch(trained, corpus, tmp_path):
    folder, _, _ = trained
    sentences = tmp_path / "input"
    sentences.write_text("w1 w2 w3 w4 w5\nw6\n")
    output = run(
        *("fairseq-interactive", corpus.translation, USER_DIR, "--cpu"),
        *(f"--path={folder / 'checkpoint_best.pt'}", f"--input={sentences}"),
        *("--buffer-size=2", "--max-tokens=200", "--beam=2"),
    ).stdout
    assert re.findall(r"^H-(\d+)", output, re.MULTILINE) == ["0", "1"]


FROM_PRETRAINED = """
import rdrop_fairseq
from fairseq.models.transformer import TransformerModel
model = TransformerModel.from_pretrained("{folder}", "checkpoint_best.pt", "{data}")
print("translations:", len(model.translate(["w1 w2 w3 w4", "w5"])))
"""


def test_from_pretrained_after_importing_the_plugin(trained, corpus, tmp_path):
    code = FROM_PRETRAINED.format(folder=trained[0], data=corpus.translation)
    finished = run("python", "-c", code, cwd=tmp_path)
    assert "translations: 2" in finished.stdout


def test_learns_real_text_and_lowers_the_kl(shared_data, tmp_path):
    """Multi30k: 40 updates on 400 real pairs. The loss falls, and alpha holds the KL down."""
    import gzip

    for language in ("en", "de"):
        with gzip.open(shared_data / f"multi30k/val.{language}.gz", "rt", encoding="utf-8") as text:
            lines = [line.lower() for line in text]
        (tmp_path / f"train.{language}").write_text("".join(lines[:400]), encoding="utf-8")
        (tmp_path / f"valid.{language}").write_text("".join(lines[400:500]), encoding="utf-8")
    data = tmp_path / "data"
    run(
        *("fairseq-preprocess", "--source-lang=en", "--target-lang=de", "--thresholdtgt=2"),
        *("--thresholdsrc=2", f"--destdir={data}"),
        *(f"--trainpref={tmp_path / 'train'}", f"--validpref={tmp_path / 'valid'}"),
    )
    kl = {}
    for alpha in (0.001, 5):
        arguments = (*MODEL, *RDROP, USER_DIR, f"--reg-alpha={alpha}")
        arguments += ("--max-update=40", "--max-tokens=1000", "--no-save")
        output = train(data, tmp_path / "checkpoints", *arguments).stdout
        updates = logged(output, "train_inner")
        assert float(updates[-1]["nll_loss"]) < 0.8 * float(updates[0]["nll_loss"])
        kl[alpha] = sum(float(update["kl_loss"]) for update in updates[-10:])
    assert kl[5] < 0.75 * kl[0.001]


@pytest.mark.parametrize(
    "precision",
    [("--memory-efficient-fp16",), ("--fp16", "--fp16-no-flatten-grads"), ("--amp",)],
    ids=" ".join,
)
def test_trains_in_the_precisions_that_fairseq_runs_on_cpu(corpus, tmp_path, precision):
    arguments = (*MODEL, *RDROP, USER_DIR, "--max-update=3", *precision)
    output = train(corpus.translation, tmp_path, *arguments).stdout
    losses = [float(update["loss"]) for update in logged(output, "train_inner")]
    assert losses and all(0 < loss < 100 for loss in losses)
    assert (tmp_path / "checkpoint_last.pt").exists()


def test_a_loss_that_is_not_finite_is_reported_by_fairseq(corpus, tmp_path):
    """A learning rate of 1e30 blows the weights up; fairseq must see the NaN."""
    arguments = (*MODEL, *RDROP, USER_DIR, "--lr=1e30", "--max-update=8")
    finished = train(corpus.translation, tmp_path, *arguments, check=False)
    assert finished.returncode != 0
    assert "FloatingPointError" in finished.stdout or "NaN" in finished.stdout


HYDRA_CONFIG = """
common: {{user_dir: {plugin}, cpu: true}}
task: {{_name: translation, data: {data}, source_lang: de, target_lang: en}}
model:
  _name: transformer
  base_layers: 0  # fairseq 0.12.2 leaves it empty and stumbles over that
  encoder: {{layers: 1, embed_dim: 16, ffn_embed_dim: 32, attention_heads: 2}}
  decoder: {{layers: 1, embed_dim: 16, ffn_embed_dim: 32, attention_heads: 2}}
criterion: {{_name: rdrop_label_smoothed_cross_entropy, label_smoothing: 0.1, reg_alpha: 2.0}}
optimizer: {{_name: adam}}
lr_scheduler: {{_name: fixed}}
dataset: {{max_tokens: 200}}
optimization: {{lr: [0.005], max_update: 3}}
checkpoint: {{save_dir: {folder}/checkpoints}}
"""


def test_hydra_train_runs_the_criterion(corpus, tmp_path):
    config = HYDRA_CONFIG.format(plugin=PLUGIN, data=corpus.translation, folder=tmp_path)
    (tmp_path / "rdrop.yaml").write_text(config)
    run(
        *("fairseq-hydra-train", f"--config-dir={tmp_path}", "--config-name=rdrop"),
        cwd=tmp_path,
        environment={"HYDRA_FULL_ERROR": "1"},
    )
    checkpoint = torch.load(tmp_path / "checkpoints" / "checkpoint_last.pt", weights_only=True)
    criterion = checkpoint["cfg"]["criterion"]
    assert criterion["_name"] == "rdrop_label_smoothed_cross_entropy"
    assert criterion["reg_alpha"] == 2.0
