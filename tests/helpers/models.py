"""Arguments that make a tiny model of every architecture that the criterion is tried on."""

from helpers.constants import TINY_TRANSFORMER

SIZES = TINY_TRANSFORMER[1:]
ONE_KERNEL = ("--encoder-kernel-size-list=[3]", "--decoder-kernel-size-list=[3]")
CONVOLUTIONS = ("--encoder-layers=[(16,3)]", "--decoder-layers=[(16,3)]")
TRANSLATION = {
    "transformer": TINY_TRANSFORMER,
    "transformer_shared_embeddings": (*TINY_TRANSFORMER, "--share-all-embeddings"),
    "transformer_align": ("--arch=transformer_align", *SIZES, "--alignment-layer=0"),
    "lightconv": (
        *("--arch=lightconv", *SIZES, *ONE_KERNEL),
        *("--encoder-conv-type=lightweight", "--decoder-conv-type=lightweight"),
        *("--encoder-conv-dim=16", "--decoder-conv-dim=16", "--weight-dropout=0.1"),
    ),
    "fconv": ("--arch=fconv", *CONVOLUTIONS, "--encoder-embed-dim=16", "--decoder-embed-dim=16"),
    "lstm": (
        *("--arch=lstm", "--encoder-embed-dim=16", "--encoder-hidden-size=16"),
        *("--decoder-embed-dim=16", "--decoder-hidden-size=16", "--decoder-out-embed-dim=16"),
    ),
    "bart": ("--arch=bart_base", *SIZES),
}
LANGUAGE_MODEL = (
    *("--task=language_modeling", "--arch=transformer_lm", "--decoder-layers=1"),
    *("--decoder-embed-dim=16", "--decoder-ffn-embed-dim=32", "--decoder-attention-heads=2"),
)
