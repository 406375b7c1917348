"""What a training has made of a model."""

import re

# Layers of fairseq 0.12.2 hold copies of weights that get no gradient, and buffers never set: their
# values are those of uninitialised memory.
NEVER_TRAINED = re.compile(r"(in_proj|out_proj|fc1|fc2)_(weight|bias)$|_float_tensor$")


def trained(state: dict) -> dict:
    """The parameters of a model's state that training sets, by name."""
    return {name: value for name, value in state.items() if not NEVER_TRAINED.search(name)}
