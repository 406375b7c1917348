"""R-Drop on sentences, against its definition in float64 and fairseq's own criterion."""

import argparse
import copy
import math
import shutil

import fairseq
import pytest
import torch
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from helpers.criteria import logged
from helpers.sentences import CLASSES, LABELS, NO_NOISE, NUMBERS, write_sentences

from rdrop_fairseq.views.repeat import repeat_sample

ALPHA = 3.0
NOISE = ("--dropout=0.3", "--pooler-dropout=0.2", f"--reg-alpha={ALPHA}")
REPORTS_F1 = fairseq.__version__ != "0.12.2"
NO_LABEL = -3  # "<pad>" is the symbol 1 of fairseq's dictionaries, and 4 are not labels


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Data: labelled, partly labelled, without any label, two classes, numbers."""
    labels = [LABELS[number % 3] for number in range(11)]
    some = [label if number % 3 else "<pad>" for number, label in enumerate(labels)]
    kinds = {
        "labelled": labels,
        "partly": some,
        "none": ["<pad>"] * 11,
        "unknown": [*labels[:4], "bat"],
        "numbers": [0.3 * number for number in range(11)],
        "nan": [0.5, "nan", 1.0],
    }
    base = tmp_path_factory.mktemp("sentences")
    return {
        kind: write_sentences(base / kind, values, numbers=kind in ("numbers", "nan"))
        for kind, values in kinds.items()
    }


@pytest.fixture
def setup_of(built, folders):
    """Build a model in float64 and the criterion on one kind of data."""

    def build(kind, *arguments):
        base = NUMBERS if kind in ("numbers", "nan") else CLASSES
        setup = built(folders[kind], *base, *NOISE, *arguments)
        setup.model.double().train()
        return setup

    return build


def plain_criterion(setup):
    return SentencePredictionCriterion(setup.cfg.criterion, setup.task)


def passes(setup, views=2):
    """The outputs ``(M, B, C)`` of the passes that the criterion makes after the seed 5."""
    arguments = {"features_only": True, "classification_head_name": "sentence_classification_head"}
    torch.manual_seed(5)
    repeated = repeat_sample(setup.sample, views)["net_input"]
    outputs = setup.model(**repeated, **arguments)[0]
    return torch.stack([outputs[view::views] for view in range(views)])


def kl(p, q):
    return (p.softmax(-1) * (p.softmax(-1).log() - q.softmax(-1).log())).sum()


def definition(outputs, target, drop=""):
    """The sum over sentences, one at a time; `drop` leaves a term out, or in."""
    total = 0
    for (f, g), label in zip(outputs.transpose(0, 1), target.flatten().tolist()):
        if label != NO_LABEL:
            total = total - f.softmax(-1)[label].log()
            if drop != "second cross-entropy":
                total = total - g.softmax(-1)[label].log()
        elif drop == "no label is the first class":
            total = total - f.softmax(-1)[0].log()
        if label == NO_LABEL and drop == "KL without a label":
            continue
        if drop != "KL":
            other = f.detach() if drop == "gradient of the KL" else f
            total = total + ALPHA / 2 * (kl(other, g) + kl(g, other))
    return total


def regression_definition(outputs, target, drop=""):
    total = 0
    for (f, g), y in zip(outputs.squeeze(-1).transpose(0, 1), target.flatten().tolist()):
        total = total + (f - y) ** 2
        if drop != "second error":
            total = total + (g - y) ** 2
        if drop != "distance":
            total = total + ALPHA * (f - (g.detach() if drop == "gradient" else g)) ** 2
    return total


def gradients(setup, loss):
    return torch.autograd.grad(loss, list(setup.model.parameters()), allow_unused=True)


def criterion_loss(setup):
    torch.manual_seed(5)
    return setup.criterion(setup.model, setup.sample)


CASES = {
    "labelled": (
        *(definition, "labelled"),
        *("second cross-entropy", "KL", "gradient of the KL"),
    ),
    "partly": (
        *(definition, "partly"),
        *("KL without a label", "no label is the first class", "second cross-entropy", "KL"),
    ),
    "none": (definition, "none", "KL without a label", "no label is the first class"),
    "numbers": (regression_definition, "numbers", "second error", "distance", "gradient"),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_the_definition_and_a_dropped_term_shows(setup_of, case):
    oracle, kind, *dropped = CASES[case]
    setup = setup_of(kind)
    target = setup.sample["target"]
    loss, sample_size, log = criterion_loss(setup)
    mine = gradients(setup, loss)
    expected = oracle(passes(setup), target)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(mine, gradients(setup, expected))
    assert sample_size == log["sample_size"] == log["nsentences"] == len(target)
    for term in dropped:
        wrong = oracle(passes(setup), target, term)
        if not isinstance(wrong, int):  # nothing is left of the loss
            with pytest.raises(AssertionError, match="not close"):
                torch.testing.assert_close(mine, gradients(setup, wrong))


def test_the_log_compares_with_that_of_a_plain_run(setup_of):
    """Without dropout: plain_loss and accuracy are what fairseq's criterion logs."""
    for kind in ("labelled", "numbers"):
        setup = setup_of(kind, *NO_NOISE)
        ours = logged(setup.criterion, criterion_loss(setup)[2])
        theirs = logged(
            plain_criterion(setup), plain_criterion(setup)(setup.model, setup.sample)[2]
        )
        assert ours["plain_loss"] == theirs["loss"]
        assert ours.get("accuracy") == theirs.get("accuracy")
        assert ours["kl_loss"] == 0
        assert ours["loss"] == pytest.approx(2 * theirs["loss"], abs=2e-3)


def test_kl_and_accuracy_are_of_the_sentences_that_have_them(setup_of):
    setup = setup_of("partly")
    log = logged(setup.criterion, criterion_loss(setup)[2])
    outputs, target = passes(setup), setup.sample["target"].flatten()
    symmetric = sum(kl(f, g) + kl(g, f) for f, g in outputs.transpose(0, 1)) / 2
    assert log["kl_loss"] == pytest.approx(symmetric.item() / 11 / math.log(2), abs=1e-3)
    known = target != NO_LABEL
    correct = (outputs.argmax(-1) == target)[:, known].double().mean()
    assert log["accuracy"] == pytest.approx(100 * correct.item(), abs=0.1)
    nothing = setup_of("none")
    assert "accuracy" not in logged(nothing.criterion, criterion_loss(nothing)[2])


REPORTS = {
    "classes": ("labelled", ()),
    "numbers": ("numbers", ()),
    "Matthews": ("labelled", ("--report-mcc",)),
    "correlations": ("numbers", ("--report-pearson-and-spearman",)),
}
if not REPORTS_F1:
    del REPORTS["Matthews"], REPORTS["correlations"]


@pytest.mark.parametrize("name", REPORTS)
def test_validation_is_that_of_fairseqs_criterion_to_the_last_digit(built, folders, name):
    kind, report = REPORTS[name]
    setup = built(folders[kind], *(NUMBERS if kind == "numbers" else CLASSES), *report)
    if report and kind == "labelled":
        setup.task.label_dictionary.symbols[4:7] = ["0", "1", "2"]  # fairseq wants numbers
    setup.model.eval()
    loss, sample_size, log = setup.criterion(setup.model, setup.sample)
    plain = plain_criterion(setup)
    plain_loss, plain_sample_size, plain_log = plain(setup.model, setup.sample)
    assert (loss, sample_size, log) == (plain_loss, plain_sample_size, plain_log)
    ours, theirs = logged(setup.criterion, log), logged(plain, plain_log)
    assert repr(ours) == repr(theirs)
    expected = {"Matthews": "mcc", "correlations": "spearman"}.get(name, "loss")
    assert expected in ours
    assert setup.criterion.logging_outputs_can_be_summed() == (not report)


def test_an_update_with_alpha_0_is_fairseqs_on_the_sentences_with_a_label(setup_of):
    setup = setup_of("partly", "--rdrop-start-update=2", *NO_NOISE)
    setup.criterion.set_num_updates(1)
    loss, sample_size, log = criterion_loss(setup)
    known = (setup.sample["target"].flatten() != NO_LABEL).long()
    labelled = repeat_sample(setup.sample, known)
    expected, _, plain_log = plain_criterion(setup)(setup.model, labelled)
    torch.testing.assert_close(loss, expected)
    assert sample_size == len(known) == 11
    ours = logged(setup.criterion, log)
    theirs = logged(setup.criterion, plain_log)
    assert ours["accuracy"] == theirs["accuracy"] and ours["rdrop_alpha"] == 0
    setup.criterion.set_num_updates(2)
    assert logged(setup.criterion, criterion_loss(setup)[2])["rdrop_alpha"] == ALPHA


def test_alpha_is_1_unless_it_is_given(built, folders):
    assert built(folders["labelled"], *CLASSES).cfg.criterion.reg_alpha == 1.0


def test_a_share_has_the_expected_size_and_loss_without_noise(setup_of):
    setup = setup_of("partly", "--rdrop-share=0.5", *NO_NOISE)
    whole = setup_of("partly", *NO_NOISE)
    whole.model.load_state_dict(setup.model.state_dict())
    loss, _, log = criterion_loss(setup)
    torch.testing.assert_close(loss, criterion_loss(whole)[0])
    assert logged(setup.criterion, log)["rdrop_share"] == pytest.approx(0.5, abs=0.1)
    torch.manual_seed(5)  # a sum even then, as fairseq's
    assert torch.equal(setup.criterion(setup.model, setup.sample, reduce=False)[0], loss)


@pytest.mark.parametrize("kind", ["partly", "numbers"])
def test_three_views_have_the_mean_over_pairs(setup_of, kind):
    setup = setup_of(kind, "--rdrop-views=3")
    oracle = regression_definition if kind == "numbers" else definition
    outputs, target = passes(setup, 3), setup.sample["target"]
    ones = [oracle(outputs[[i, i]], target) / 2 for i in range(3)]
    pairs = [
        oracle(outputs[[i, j]], target) - ones[i] - ones[j] for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    torch.testing.assert_close(criterion_loss(setup)[0], sum(ones) + sum(pairs) / 3)


def test_a_second_dropout_rate_of_0_is_heard(setup_of):
    setup = setup_of("labelled", "--rdrop-second-dropout=0", *NO_NOISE)
    assert logged(setup.criterion, criterion_loss(setup)[2])["kl_loss"] == 0
    setup = setup_of("labelled", "--rdrop-second-dropout=0")
    assert logged(setup.criterion, criterion_loss(setup)[2])["kl_loss"] > 0


def test_cutoff_is_for_models_whose_encoder_has_its_embeddings(setup_of, built, folders):
    setup = setup_of("labelled", "--view-cutoff=0.1")
    with pytest.raises(NotImplementedError, match="train with --view-cutoff 0"):
        criterion_loss(setup)
    bart = built(
        *(folders["labelled"], *CLASSES, "--view-cutoff=0.9", "--arch=bart_base"),
        *("--decoder-layers=1", "--decoder-embed-dim=16", "--decoder-ffn-embed-dim=32"),
        *("--decoder-attention-heads=2", "--add-prev-output-tokens", *NO_NOISE),
    )
    bart.model.train()
    assert logged(bart.criterion, criterion_loss(bart)[2])["kl_loss"] > 0


def test_the_sample_is_not_changed(setup_of):
    setup = setup_of("partly")
    before = copy.deepcopy(setup.sample)
    criterion_loss(setup)
    assert repr(setup.sample) == repr(before)


BAD = {
    "a label that is none": (
        "unknown",
        "label of sentence 4 .* not one of the 3 in label/dict.txt",
    ),
    "a target that is NaN": (
        "nan",
        r"target of sentence 1 .* \[nan\], and a regression needs finite",
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", ["rdrop", "addrop"])
def test_bad_targets_are_refused_in_a_sentence(built, folders, name, training, method):
    kind, message = BAD[name]
    base = NUMBERS if kind == "nan" else CLASSES
    setup = built(folders[kind], *base, f"--criterion={method}_sentence_prediction")
    setup.model.train(training)
    with pytest.raises(ValueError, match=message):
        criterion_loss(setup)


def test_validation_without_labels_is_refused(setup_of):
    setup = setup_of("partly")
    setup.model.eval()
    with pytest.raises(ValueError, match="sentence [0369] .* has no label, and only the training"):
        criterion_loss(setup)


@pytest.mark.parametrize("count", [2, 4])
def test_an_empty_or_a_missing_class_is_refused(built, folders, count):
    with pytest.raises(ValueError, match="3 labels .*cat dog owl.*give --num-classes 3"):
        built(folders["labelled"], *CLASSES, f"--num-classes={count}")


def test_addrop_refuses_what_it_cannot_train_on(built, folders):
    addrop = "--criterion=addrop_sentence_prediction"
    setup = built(folders["partly"], *CLASSES, addrop)
    with pytest.raises(ValueError, match="sentence [0369] .* has no label, and only"):
        criterion_loss(setup)
    setup.criterion.classification_head_name = "mnli"
    with pytest.raises(ValueError, match="no classification head 'mnli'"):
        criterion_loss(setup)
    with pytest.raises(ValueError, match="give --num-classes 3"):
        built(folders["labelled"], *CLASSES, "--num-classes=2", addrop)


def test_addrop_attributes_every_number_of_a_regression(built, folders):
    criterion = built(
        folders["numbers"], *NUMBERS, "--criterion=addrop_sentence_prediction"
    ).criterion
    numbers = torch.randn(3, 2)
    scores = criterion.scores(lambda **arguments: (numbers, None), {"net_input": {}})
    assert torch.equal(scores, numbers.view(6, 1))  # the highest of each row counts


@pytest.mark.skipif(not REPORTS_F1, reason="fairseq 0.12.2 lists no predictions")
def test_ranks_of_addrop_do_not_add_up_lists_of_predictions(built, folders):
    criterion = "--criterion=addrop_sentence_prediction"
    listed = built(folders["labelled"], *CLASSES, criterion, "--report-mcc").criterion
    assert not listed.logging_outputs_can_be_summed()
    assert built(folders["labelled"], *CLASSES, criterion).criterion.logging_outputs_can_be_summed()


def test_words_that_preprocessing_adds_are_no_labels(built, folders, tmp_path):
    padded = shutil.copytree(folders["labelled"], tmp_path / "padded")
    with open(padded / "label" / "dict.txt", "a") as dictionary:
        dictionary.write("madeupword0000 0\n")
    built(padded, *CLASSES)


def test_a_head_that_is_not_there_is_refused(setup_of):
    setup = setup_of("labelled")
    setup.criterion.classification_head_name = "mnli"
    with pytest.raises(ValueError, match="no classification head 'mnli' .*sentence_classification"):
        criterion_loss(setup)


def test_adaptive_pruning_is_refused(setup_of):
    setup = setup_of("labelled")
    setup.model.args = argparse.Namespace(mha_reg_scale_factor=0.1)
    with pytest.raises(NotImplementedError, match="train without --mha-reg-scale-factor"):
        criterion_loss(setup)
