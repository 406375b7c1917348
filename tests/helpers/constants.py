"""Places in the checkout, and arguments of fairseq-train that several tests give."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGIN = REPOSITORY / "rdrop_fairseq"
EXAMPLES = REPOSITORY / "examples" / "translation"

USER_DIR = f"--user-dir={PLUGIN}"
TINY_TRANSFORMER = (
    *("--arch=transformer", "--encoder-layers=1", "--decoder-layers=1"),
    *("--encoder-embed-dim=16", "--encoder-ffn-embed-dim=32", "--encoder-attention-heads=2"),
    *("--decoder-embed-dim=16", "--decoder-ffn-embed-dim=32", "--decoder-attention-heads=2"),
)
SIZES_OF_TWO_LAYERS = ("--encoder-layers=2", "--decoder-layers=2")
TIED = "--share-all-embeddings"
NO_DROPOUT = ("--dropout=0", "--attention-dropout=0", "--activation-dropout=0")
PLAIN = ("--criterion=label_smoothed_cross_entropy", "--label-smoothing=0.1")
RDROP = ("--criterion=rdrop_label_smoothed_cross_entropy", "--label-smoothing=0.1")
TRAINING = (
    *("--cpu", "--optimizer=adam", "--lr=0.005", "--max-tokens=200", "--seed=1"),
    *("--no-progress-bar", "--log-interval=1", "--num-workers=0"),
)

PAD = 1  # the number of the padding symbol in fairseq's dictionaries
