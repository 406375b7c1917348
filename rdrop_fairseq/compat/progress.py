"""What a criterion is told of the progress of its training."""

import functools


def tell_criterion_the_update(train_step):
    """fairseq tells the number of the update to the model only, never to the criterion.

    Every task passes here, also one with a ``train_step`` of its own. All batches of one update
    have the same number, and a resumed training goes on with it.
    """

    @functools.wraps(train_step)
    def train_step_with_number(trainer, samples, *args, **kwargs):
        criterion = trainer.get_criterion()
        if hasattr(criterion, "set_num_updates"):
            criterion.set_num_updates(trainer.get_num_updates())
        return train_step(trainer, samples, *args, **kwargs)

    return train_step_with_number


def tell_criterion_the_epoch(begin_epoch):
    """fairseq tells the number of the epoch to the task only, never to the criterion.

    It begins every epoch here, on every rank, and so the rest of one after a resume.
    """

    @functools.wraps(begin_epoch)
    def begin_epoch_with_number(trainer, epoch):
        criterion = trainer.get_criterion()
        if hasattr(criterion, "set_epoch"):
            criterion.set_epoch(epoch)
        return begin_epoch(trainer, epoch)

    return begin_epoch_with_number
