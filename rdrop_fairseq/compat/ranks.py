"""Training in several processes: empty batches and random numbers."""

import functools

from fairseq import utils


def leave_out_empty_batches(train_step):
    """Every fairseq forgets the tokens of a rank whose last batch of an update is empty.

    That is the end of an epoch with ``--update-freq`` above 1, when the ranks have unequally many
    batches. The gradient, divided by too few tokens, is then too large. A rank with nothing but
    empty batches is no problem. In fully sharded training every rank has to make each pass, since
    the others wait for it: there nothing is left out.
    """

    @functools.wraps(train_step)
    def train_step_of_batches(trainer, samples, *args, **kwargs):
        if not trainer.is_fsdp:
            samples = [sample for sample in samples if sample] or samples[:1]
        return train_step(trainer, samples, *args, **kwargs)

    return train_step_of_batches


def seed_ranks_apart(set_seed):
    """Every fairseq seeds all ranks alike before an update.

    Batches of one shape would then get the same dropout masks on every rank. The ranks' seeds lie
    2**24 apart, further than a training has updates; the first rank keeps fairseq's. In fully
    sharded training all ranks have to draw the same layers to drop, and fairseq's seeds stay.
    """

    @functools.wraps(set_seed)
    def set_seed_of_rank(trainer):
        set_seed(trainer)
        rank = trainer.data_parallel_rank
        if rank > 0 and not trainer.is_fsdp:
            seed = trainer.cfg.common.seed + trainer.get_num_updates()
            utils.set_torch_seed(seed + (rank << 24))

    return set_seed_of_rank
