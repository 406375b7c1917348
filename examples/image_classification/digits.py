"""R-Drop in a training loop of one's own: a small ViT on scikit-learn's digits, without fairseq.

    python examples/image_classification/digits.py --train-size 300 --alpha 1

To use it in your own loop, copy `objective`; what is around it is an ordinary training.
"""

import argparse
import copy
import sys
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rdrop_fairseq.losses.reference import rdrop_loss
from rdrop_fairseq.options import REG_ALPHA

try:
    from sklearn.datasets import load_digits
except ImportError:
    sys.exit("the digits come with scikit-learn: pip install 'rdrop_fairseq[images]'")

POOL, VALID = 1000, 297  # images to train on, at most, and to validate on; 500 are left to test
BATCH, LEARNING_RATE, WEIGHT_DECAY = 32, 3e-3, 0.05
UPDATES_BETWEEN_VALIDATIONS = 20


class ViT(nn.Module):
    """A vision transformer: ``(B, 8, 8)`` images to ``(B, 10)`` logits."""

    def __init__(self, patch=4, width=64, layers=2, heads=4, dropout=0.1):
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(patch * patch, width)
        self.summary = nn.Parameter(torch.zeros(1, 1, width))  # ViT's class token
        self.position = nn.Parameter(0.02 * torch.randn(1, (8 // patch) ** 2 + 1, width))
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, images: Tensor) -> Tensor:
        patches = images.unfold(1, self.patch, self.patch).unfold(2, self.patch, self.patch)
        embedded = self.embed(patches.flatten(3).flatten(1, 2))
        tokens = torch.cat([self.summary.expand(len(images), -1, -1), embedded], 1)
        return self.head(self.encoder(self.dropout(tokens + self.position))[:, 0])


class Result(NamedTuple):
    """Accuracies in percent of the model that was best in validation."""

    valid: float
    test: float
    update: int
    seconds: float


def load() -> dict:
    """The images, ``(N, 8, 8)`` from 0 to 1, and their digits, always split in the same way."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    sizes = {"train": POOL, "valid": VALID, "test": len(images) - POOL - VALID}
    parts = order.split(list(sizes.values()))
    labels = torch.tensor(digits.target)
    return {name: (images[part], labels[part]) for name, part in zip(sizes, parts)}


def objective(model: nn.Module, images: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """The loss of a batch, divided by its images: cross-entropy, or with alpha R-Drop's."""
    if alpha == 0:
        return nn.functional.cross_entropy(model(images), labels)
    views = model(torch.cat([images, images])).unflatten(0, (2, -1))  # (2, B, 10), two masks
    return rdrop_loss(views, labels, alpha).loss / len(labels)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """In percent, without dropout."""
    model.eval()
    return 100 * (model(images).argmax(-1) == labels).double().mean().item()


def train(train_size: int, alpha: float, seed: int, updates: int) -> Result:
    """Train on the first images of the pool; test the model that was best in validation, once."""
    torch.manual_seed(seed)
    data = load()
    images, labels = (part[:train_size] for part in data["train"])
    model = ViT()
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, updates, pct_start=0.1)
    best, order, start = None, torch.tensor([], dtype=torch.long), time.perf_counter()
    for update in range(1, updates + 1):
        if len(order) == 0:  # a new epoch
            order = torch.randperm(train_size)
        batch, order = order[:BATCH], order[BATCH:]
        model.train()
        optimizer.zero_grad()
        objective(model, images[batch], labels[batch], alpha).backward()
        optimizer.step()
        schedule.step()
        if update % UPDATES_BETWEEN_VALIDATIONS == 0 or update == updates:
            valid = accuracy(model, *data["valid"])
            if best is None or valid > best[0]:
                best = valid, update, copy.deepcopy(model.state_dict())
    seconds = time.perf_counter() - start
    model.load_state_dict(best[2])
    return Result(best[0], accuracy(model, *data["test"]), best[1], seconds)


def whole_number(smallest: int, largest: int):
    """For argparse: a whole number in that range."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not smallest <= int(text) <= largest:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {smallest} to {largest}, not '{text}'"
            )
        return int(text)

    return parse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--alpha", type=REG_ALPHA.parse, default=1.0, help="0: no R-Drop; 1")
    parser.add_argument("--train-size", type=whole_number(1, POOL), default=300, help="images; 300")
    parser.add_argument("--updates", type=whole_number(1, 10**6), default=600, help="600")
    parser.add_argument("--seed", type=whole_number(0, 2**32), default=1, help="1")
    options = parser.parse_args()
    result = train(options.train_size, options.alpha, options.seed, options.updates)
    print(
        f"{options.train_size} images, alpha {options.alpha:g}, seed {options.seed}: "
        f"accuracy {result.test:.2f} in the test, {result.valid:.2f} in validation, at update "
        f"{result.update} of {options.updates} ({result.seconds:.1f} s)"
    )


if __name__ == "__main__":
    main()
