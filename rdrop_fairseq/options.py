"""Every option of the criteria, once, and which criterion has which.

The table in docs/options.md follows from it.
"""

import math
import re

from rdrop_fairseq.option import Option

REG_ALPHA = Option(
    "reg_alpha",
    float,
    5.0,
    "weight alpha of the R-Drop regularisation: loss = sum of the label-smoothed cross-entropies "
    "of both passes + alpha * 1/2 [KL(p||q) + KL(q||p)], normalised by the target tokens of one "
    "pass",
    "alpha",
    lambda value: 0 <= value < math.inf,
    "be 0 or more and finite",
)
LABEL_SMOOTHING = Option(
    "label_smoothing",
    float,
    0.0,
    "epsilon for label smoothing, 0 means no label smoothing",
    "label smoothing",
    lambda value: 0 <= value < 1,
    "lie in [0, 1)",
)
RDROP_LOSS = Option(
    "rdrop_loss",
    str,
    "auto",
    "fused: gradient in closed form, from the decoder's features where the model allows it, else "
    "from its logits; reference: plain PyTorch; auto: fused on CPU and CUDA",
    "implementation of the loss",
    choices=("auto", "fused", "reference"),
)
RDROP_CHUNK_SIZE = Option(
    "rdrop_chunk_size",
    int,
    None,
    "target tokens in a chunk of the fused loss (default: as many as --rdrop-chunk-memory allows)",
    "chunk size",
    lambda value: value >= 1,
    "be 1 target token or more",
)
RDROP_CHUNK_MEMORY = Option(
    "rdrop_chunk_memory",
    int,
    None,
    "MiB for the logits of a chunk of the fused loss (default: 64 on a CPU, 1024 on a GPU, there "
    "never more than a quarter of the free memory)",
    "the memory of a chunk",
    lambda value: value >= 1,
    "be 1 MiB or more",
)
RDROP_KERNEL = Option(
    "rdrop_kernel",
    str,
    "torch",
    "elementwise part of the fused loss: torch, plain PyTorch; triton, a Triton kernel for CUDA "
    "that has not run on a GPU yet",
    "kernel of the loss",
    choices=("torch", "triton"),
)
RDROP_START_UPDATE = Option(
    "rdrop_start_update",
    int,
    0,
    "train with the plain criterion, in one pass, before this update",
    "the first update with a second pass",
    lambda value: value >= 0,
    "be 0 or more",
)
RDROP_RAMP_UPDATES = Option(
    "rdrop_ramp_updates",
    int,
    0,
    "raise alpha linearly to its full value over this many updates, from --rdrop-start-update on",
    "updates of the ramp",
    lambda value: value >= 0,
    "be 0 or more",
)
RDROP_EVERY = Option(
    "rdrop_every",
    int,
    1,
    "have a second pass in every K-th update only, from the first one on; the others are plain",
    "the period of the second pass",
    lambda value: value >= 1,
    "be 1 or more",
)
RDROP_SHARE = Option(
    "rdrop_share",
    float,
    1.0,
    "share of the sentences of each batch that get a second pass: these count with alpha / share, "
    "and cross-entropies are weighted to make up for the passes that are left out, so that the "
    "expected gradient is that of R-Drop",
    "the share of sentences with a second pass",
    lambda value: 0 < value <= 1,
    "be above 0 and at most 1",
)
RDROP_VIEWS = Option(
    "rdrop_views",
    int,
    2,
    "passes over each sentence; the KL is the mean over all pairs",
    "the number of passes",
    lambda value: value >= 2,
    "be 2 or more",
)
RDROP_SECOND_DROPOUT = Option(
    "rdrop_second_dropout",
    float,
    None,
    "dropout rate of the second pass, for every dropout of the model that is not 0 (default: that "
    "of the first)",
    "the dropout rate of the second pass",
    lambda value: 0 <= value < 1,
    "lie in [0, 1)",
)
VIEW_CUTOFF = Option(
    "view_cutoff",
    float,
    0.0,
    "probability with which a token embedding is set to zero in every pass but the first (token "
    "cutoff); never the end of the source nor the first position of the decoder's input",
    "the probability of the cutoff",
    lambda value: 0 <= value < 1,
    "lie in [0, 1)",
)
RDROP_SECOND_VIEW = Option(
    "rdrop_second_view",
    str,
    "dropout",
    "how the second pass differs: dropout, by its dropout masks alone; addrop, AD-DROP also drops "
    "attention positions in it, which costs one more pass",
    "the second view",
    choices=("dropout", "addrop"),
)
ADDROP_P = Option(
    "addrop_p",
    float,
    0.3,
    "AD-DROP: share p of the keys of each query and head that may be dropped, those with the "
    "highest attribution (ceil(p L) of L keys)",
    "the share of candidates",
    lambda value: 0 <= value <= 1,
    "lie in [0, 1]",
)
ADDROP_Q = Option(
    "addrop_q",
    float,
    0.2,
    "AD-DROP: probability q with which each of these is dropped",
    "the probability of dropping a candidate",
    lambda value: 0 <= value <= 1,
    "lie in [0, 1]",
)
ADDROP_ATTRIBUTION = Option(
    "addrop_attribution",
    str,
    "gradient",
    "AD-DROP: what ranks the keys; gradient (GA); integrated (IGA), --addrop-steps passes for each "
    "layer; attention (AA), the attention itself; random (RA), nothing: each key is dropped with "
    "probability p q",
    "the attribution",
    choices=("gradient", "integrated", "attention", "random"),
)
ADDROP_LAYERS = Option(
    "addrop_layers",
    str,
    "all",
    "AD-DROP: the layers whose attention is dropped, all or numbers from 0 on, as in 0,1,5",
    "the layers",
    lambda value: re.fullmatch(r"all|\d+(,\d+)*", value),
    "be all, or numbers like 0,1,5",
)
ADDROP_ATTENTION = Option(
    "addrop_attention",
    str,
    "encoder",
    "AD-DROP: which attention is dropped: encoder or decoder, its self-attention; cross, the "
    "decoder's attention over the source",
    "the attention",
    choices=("encoder", "decoder", "cross"),
)
ADDROP_STEPS = Option(
    "addrop_steps",
    int,
    20,
    "AD-DROP: steps of the integrated gradient",
    "the steps of the integrated gradient",
    lambda value: value >= 1,
    "be 1 or more",
)
NO_CROSS_TUNING = Option(
    "no_cross_tuning",
    bool,
    False,
    "drop attention in every epoch; by default epochs alternate, and the first one is plain",
)

LOSS = (RDROP_LOSS, RDROP_CHUNK_SIZE, RDROP_CHUNK_MEMORY, RDROP_KERNEL)
"""How the loss is computed."""
SCHEDULE = (RDROP_START_UPDATE, RDROP_RAMP_UPDATES, RDROP_EVERY, RDROP_SHARE)
"""When there is a second pass, and for which sentences."""
ATTENTION_DROP = (
    ADDROP_P,
    ADDROP_Q,
    ADDROP_ATTRIBUTION,
    ADDROP_LAYERS,
    ADDROP_ATTENTION,
    ADDROP_STEPS,
)
"""Which attention positions AD-DROP drops."""
ADDROP = (*ATTENTION_DROP, NO_CROSS_TUNING)
"""What AD-DROP adds to the options of the fairseq criterion that it extends."""
SECOND_VIEW = (RDROP_SECOND_VIEW, *ATTENTION_DROP)
"""Whether R-Drop's second pass is one of AD-DROP."""
VIEWS = (RDROP_VIEWS, RDROP_SECOND_DROPOUT, VIEW_CUTOFF)
"""How many passes there are, and how they differ."""
RDROP = (REG_ALPHA, *SCHEDULE, *VIEWS, *SECOND_VIEW, *LOSS)
"""What R-Drop adds to the options of the fairseq criterion that it extends."""
ADAPTIVE_ALPHA = REG_ALPHA._replace(
    default=1.0,
    help="weight alpha of the KL: loss = sum over the clusters of the adaptive softmax of the "
    "cross-entropies of both passes + alpha * 1/2 [KL(p||q) + KL(q||p)] of the cluster's own "
    "distribution, normalised by the target tokens of one pass",
)
ADAPTIVE = (ADAPTIVE_ALPHA, *SCHEDULE, *VIEWS, *LOSS)
"""What R-Drop adds to the options of ``adaptive_loss``."""
SIMCUT = (
    REG_ALPHA._replace(
        default=3.0,
        help="weight alpha of the KL: loss = label-smoothed cross-entropy of the first pass + "
        "alpha * KL(p || q), q from the pass with the cutoff; normalised by its target tokens",
    ),
    VIEW_CUTOFF._replace(default=0.05),
    *(RDROP_START_UPDATE, RDROP_RAMP_UPDATES, RDROP_EVERY),
    RDROP_SHARE._replace(
        help="share of the sentences of each batch that get a second pass: these count with "
        "alpha / share, the others with their plain loss, so that the expected gradient is that "
        "of SimCut"
    ),
    *LOSS,
)
"""What SimCut adds to the options of ``label_smoothed_cross_entropy``."""
SENTENCES = (
    REG_ALPHA._replace(
        default=1.0,
        help="weight alpha of the R-Drop regularisation: loss = sum of the cross-entropies of both "
        "passes + alpha * 1/2 [KL(p||q) + KL(q||p)], with --regression-target sum of their squared "
        "errors + alpha * (f1 - f2)^2; normalised by sentences",
    ),
    *SCHEDULE,
    *VIEWS,
)
"""What R-Drop adds to the options of ``sentence_prediction``: its loss is small, and so has one
implementation."""
