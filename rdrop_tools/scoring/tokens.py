"""Score the tokens of a set, each after the reference's words, a `NAME VALUE` a line.

Perplexity and BLEU can part: a translation changes only where another token becomes the most
probable one, the perplexity also where the reference's token only comes closer to that.
"""

import argparse
import logging
import math
import sys
from pathlib import Path

from rdrop_tools.translation.folder import TranslationError


def main(argv=None):
    logging.disable(logging.INFO)  # fairseq's
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", type=Path, help="of a translation model")
    parser.add_argument("data", type=Path, help="the folder that fairseq-train was given")
    parser.add_argument("--split", default="valid", help="of the data (default: valid)")
    args = parser.parse_args(argv)
    try:
        scores = summary(*reference_scores(args.checkpoint, args.data, args.split))
    except (TranslationError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    for name, value in scores.items():
        print(f"{args.split} {name} {value}")


def reference_scores(checkpoint, data, split) -> tuple:
    """Return what the model gives to the tokens of the references, without dropout.

    Returns:
        Three of ``(N,)`` for the N tokens that are not padding: their negative log-likelihoods and
        the entropies of their distributions, both in nats, and whether they are the most probable.

    Raises:
        TranslationError: the checkpoint is none of a translation model, or cannot be loaded.
        FileNotFoundError: the data have no such split.
    """
    import torch

    from rdrop_tools.translation.engines.fairseq import load_checkpoint

    model, _, task = load_checkpoint(checkpoint, data)
    dataset = task.load_dataset(split) or task.dataset(split)
    batches = task.get_batch_iterator(dataset, max_sentences=8)
    found = []
    with torch.no_grad():
        for sample in batches.next_epoch_itr(shuffle=False):
            target = sample["target"]
            scores = model.get_normalized_probs(model(**sample["net_input"]), log_probs=True)
            is_token = target.ne(task.target_dictionary.pad())
            target, scores = target[is_token], scores[is_token].double()
            nll = -scores.gather(-1, target[:, None])[:, 0]
            found.append((nll, -(scores.exp() * scores).sum(-1), scores.argmax(-1) == target))
    return tuple(map(torch.cat, zip(*found)))


def summary(nll, entropies, is_correct) -> dict:
    """Return the scores of the tokens, by name and as text.

    Args:
        nll: ``(N,)`` negative log-likelihoods of the references' tokens, in nats.
        entropies: ``(N,)`` of the distributions that they are under, in nats.
        is_correct: ``(N,)`` whether such a token is the most probable one.

    Returns:
        The perplexity; the mean entropy in bits; the share of the tokens that are the most probable
        ones; the mean negative log-likelihood (NLL) in bits of these and of the others, ``nan``
        without any.
    """
    bits = nll / math.log(2)
    return {
        "ppl": f"{2 ** bits.mean().item():.2f}",
        "entropy (bits)": f"{entropies.mean().item() / math.log(2):.3f}",
        "token accuracy (%)": f"{100 * is_correct.double().mean().item():.2f}",
        "NLL of correct tokens (bits)": f"{bits[is_correct].mean().item():.3f}",
        "NLL of wrong tokens (bits)": f"{bits[~is_correct].mean().item():.3f}",
    }
