"""The digits: the programs by their command lines, the loss against its definition, the table."""

import re
import runpy
import sys

import pytest
import torch
from helpers.constants import REPOSITORY
from helpers.launch import run
from torch import nn
from torch.distributions import Categorical, kl_divergence

FOLDER = REPOSITORY / "examples" / "image_classification"
DIGITS, TABLE = FOLDER / "digits.py", FOLDER / "table.py"
README = (FOLDER / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def digits():
    """What digits.py defines."""
    return runpy.run_path(str(DIGITS))


@pytest.mark.parametrize("alpha", ["0", "1"])
def test_a_short_training(alpha):
    said = run("python", DIGITS, "--updates=3", "--train-size=40", f"--alpha={alpha}").stdout
    pattern = rf"40 images, alpha {alpha}, seed 1: accuracy ([\d.]+) in the test, ([\d.]+) in "
    test, valid = re.match(pattern, said).groups()
    assert 0 < float(test) < 50 and 0 < float(valid) < 50


def test_needs_neither_fairseq_nor_what_only_fairseq_needs():
    blocked = "import runpy, sys; sys.modules.update(fairseq=None, omegaconf=None, hydra=None); "
    program = f"sys.argv = ['digits.py', '--updates=1']; runpy.run_path({str(DIGITS)!r}, "
    assert "300 images" in run("python", "-c", f"{blocked}{program}run_name='__main__')").stdout


def test_where_scikit_learn_is_missing_it_says_what_to_install():
    program = f"import runpy, sys; sys.modules['sklearn'] = None; runpy.run_path({str(DIGITS)!r})"
    finished = run("python", "-c", program, check=False)
    assert finished.returncode == 1
    sentence = "the digits come with scikit-learn: pip install 'rdrop_fairseq[images]'\n"
    assert finished.stdout == sentence


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--alpha=-1", "--reg-alpha.* must be 0 or more"),
        ("--train-size=1001", "whole number from 1 to 1000, not '1001'"),
        ("--train-size=0", "whole number from 1 to 1000, not '0'"),
        ("--updates=0", "whole number from 1 to .*, not '0'"),
        ("--seed=x", "whole number from 0 to .*, not 'x'"),
    ],
)
def test_a_wrong_option_is_refused_in_a_sentence(digits, monkeypatch, capsys, option, words):
    monkeypatch.setattr(sys, "argv", ["digits.py", option])
    with pytest.raises(SystemExit) as stopped:
        digits["main"]()
    assert stopped.value.code == 2
    assert re.search(words, capsys.readouterr().err)


class Remembering(nn.Module):
    """Logits with dropout that keeps what it gave, in float64."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)).double()
        self.given = []

    def forward(self, images):
        self.given.append(self.layers(images))
        return self.given[-1]


def batch_of_six():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.arange(6)


def test_the_loss_is_rdrop_of_two_views_of_each_image(digits):
    """Both cross-entropies, and alpha times half of both KLs, as a mean over the images."""
    model, (images, labels), alpha = Remembering(), batch_of_six(), 3.0
    loss = digits["objective"](model, images, labels, alpha)
    first, second = model.given[0][:6], model.given[0][6:]
    assert not torch.equal(first, second)
    p, q = Categorical(logits=first), Categorical(logits=second)
    kl = (kl_divergence(p, q) + kl_divergence(q, p)) / 2
    expected = (-p.log_prob(labels) - q.log_prob(labels) + alpha * kl).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    weight = model.layers[-1].weight
    (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
    (expected_gradient,) = torch.autograd.grad(expected, weight)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-14)


def test_alpha_0_is_one_pass_and_plain_cross_entropy(digits):
    model, (images, labels) = Remembering(), batch_of_six()
    loss = digits["objective"](model, images, labels, 0.0)
    (logits,) = model.given
    torch.testing.assert_close(loss, -Categorical(logits=logits).log_prob(labels).mean())


def test_the_three_sets_share_no_image_and_are_always_the_same(digits):
    data = digits["load"]()
    assert [len(labels) for _, labels in data.values()] == [1000, 297, 500]
    numbers = [{tuple(image.flatten().tolist()) for image in images} for images, _ in data.values()]
    assert not numbers[0] & numbers[1] and not (numbers[0] | numbers[1]) & numbers[2]
    again = digits["load"]()
    assert all(torch.equal(data[name][0], again[name][0]) for name in data)


def test_the_model_sees_every_pixel_and_has_dropout_in_training_only(digits):
    model, images = digits["ViT"](), torch.rand(2, 8, 8, requires_grad=True)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
    model(images)[:, 3].sum().backward()
    assert images.grad.ne(0).all()


def test_what_is_tested_is_the_model_that_was_best_in_validation(digits, monkeypatch):
    """Validated after 20, 40 and 45 updates, best after 40; then one look at the test set."""
    seen, valid = [], iter([50.0, 70.0, 70.0])
    rest = digits["load"]()

    def accuracy(model, images, labels):
        seen.append((len(labels), model.head[1].weight.clone()))
        return next(valid) if len(labels) == len(rest["valid"][1]) else 60.0

    monkeypatch.setitem(digits["train"].__globals__, "accuracy", accuracy)
    result = digits["train"](40, 1.0, 1, 45)
    assert result[:3] == (70.0, 60.0, 40)
    assert [size for size, _ in seen] == [297, 297, 297, 500]
    assert torch.equal(seen[3][1], seen[1][1]) and not torch.equal(seen[3][1], seen[2][1])


def test_a_stopped_table_goes_on_where_it_was(tmp_path):
    out = tmp_path / "digits.csv"
    arguments = ("python", TABLE, "--out", out, "--updates=1", "--seeds=2")
    first = run(*arguments).stdout
    rows = out.read_text().splitlines()
    assert len(rows) == 1 + 3 * 4 * 2
    out.write_text("\n".join(rows[:-2]) + "\n")
    second = run(*arguments).stdout
    assert first.count("train_size") == 24 and second.count("train_size") == 2
    assert [line.split()[1] for line in second.splitlines()[-3:]] == ["100", "300", "1000"]


def test_a_file_of_something_else_is_not_overwritten(tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("name,age\n")
    finished = run("python", TABLE, "--out", other, check=False)
    assert finished.returncode == 1 and finished.stdout.count("\n") == 1
    assert "name another file with --out" in finished.stdout
    assert other.read_text() == "name,age\n"


def test_the_table_of_the_readme_is_drawn_from_the_results():
    said = run("python", TABLE, "--out", FOLDER / "results.csv").stdout
    assert said.count("\n") == 5
    assert said in README


def test_the_function_in_the_readme_is_that_of_the_program():
    (shown,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert shown in DIGITS.read_text("utf-8")
