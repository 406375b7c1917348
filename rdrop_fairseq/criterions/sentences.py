"""What the criteria that extend ``sentence_prediction`` refuse: labels, numbers, heads."""

import torch
from torch import Tensor

NO_LABEL = "<pad>"
"""The word of the label file that stands for a sentence without a label."""


def can_be_summed(criterion) -> bool:
    """Whether ranks may add up their logs: not where predictions are listed, as for F1.

    fairseq says that they always may.
    """
    return not getattr(criterion, "keep_pred_and_targ", False)


def check_classes(task) -> None:
    """Refuse a number of classes that is not the number of labels.

    fairseq-preprocess fills ``dict.txt`` up with words that have a count of 0, and the task adds
    ``<mask>``: these are no labels.

    Raises:
        ValueError: there are more or fewer classes, so that one would be empty or missing.
    """
    dictionary = task.label_dictionary
    known = zip(dictionary.symbols[dictionary.nspecial :], dictionary.count[dictionary.nspecial :])
    labels = [label for label, count in known if count > 0 and label != "<mask>"]
    if len(labels) != task.cfg.num_classes:
        raise ValueError(
            f"--num-classes is {task.cfg.num_classes} and label/dict.txt has {len(labels)} labels "
            f"({' '.join(labels[:9])}{' ...' if len(labels) > 9 else ''}): a class would be empty "
            f"or missing, give --num-classes {len(labels)}"
        )


def check_batch(criterion, model, sample: dict, may_lack: bool = False) -> None:
    """Refuse a model without the classification head, and invalid targets.

    Args:
        may_lack: whether sentences may be without a label.

    Raises:
        ValueError: with what to do.
    """
    check_head(model, criterion.classification_head_name)
    if criterion.regression_target:
        check_numbers(sample)
    else:
        check_labels(sample, criterion.task, may_lack)


def check_head(model, name: str) -> None:
    """Refuse a model without the classification head.

    Raises:
        ValueError: with the heads that there are.
    """
    heads = list(getattr(model, "classification_heads", {}))
    if name not in heads:
        raise ValueError(
            f"this model has no classification head {name!r} (it has: {' '.join(heads) or 'none'}"
            "): give the name of one with --classification-head-name, and an architecture that has "
            "such heads, for example roberta or bart"
        )


def labelled(target: Tensor, task) -> Tensor:
    """``(B,)`` of bool: the sentences that have a label, of ``(B,)`` classes."""
    dictionary = task.label_dictionary
    return target.ne(dictionary.index(NO_LABEL) - dictionary.nspecial)


def check_labels(sample: dict, task, may_lack: bool) -> None:
    """Refuse labels that are no class, and sentences without a label unless they may lack it.

    Raises:
        ValueError: with the number of the first such sentence in its data.
    """
    target = sample["target"].flatten()
    is_labelled, classes = labelled(target, task), task.cfg.num_classes
    wrong = is_labelled & ((target < 0) | (target >= classes))
    if wrong.any():
        raise ValueError(
            f"the label of sentence {first(wrong, sample)} (counted from 0) is not one of the "
            f"{classes} in label/dict.txt: correct the label file and prepare the data again; a "
            f"sentence without a label has {NO_LABEL}"
        )
    if not may_lack and not is_labelled.all():
        raise ValueError(
            f"sentence {first(~is_labelled, sample)} (counted from 0) has no label, and only the "
            "training with rdrop_sentence_prediction can do without: leave such sentences out"
        )


def check_numbers(sample: dict) -> None:
    """Refuse targets of a regression that are not finite.

    Raises:
        ValueError: with the number of the first such sentence in its data.
    """
    wrong = ~sample["target"].isfinite().flatten(1).all(1)
    if wrong.any():
        number = sample["target"][wrong][0].tolist()
        raise ValueError(
            f"the target of sentence {first(wrong, sample)} (counted from 0) is {number}, and a "
            "regression needs finite numbers: correct the label file, or leave the sentence out"
        )


def first(is_one: Tensor, sample: dict) -> int:
    """The number, in its data, of the first sentence of a batch where the mask is true."""
    return int(torch.as_tensor(sample["id"]).flatten()[is_one.nonzero()[0, 0].item()])
