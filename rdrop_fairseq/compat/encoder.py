"""Translating with fairseq 0.12.2 on PyTorch 2."""

import functools


def disable_fast_path(load_weights):
    """fairseq 0.12.2 calls a fused encoder layer that PyTorch 2 no longer has in that form.

    Translating a padded batch then stops with ``Mask Type should be defined``. Layers take that
    path once weights were loaded into them; the ordinary path gives the same output.
    """

    @functools.wraps(load_weights)
    def load_weights_only(layer, *args, **kwargs):
        load_weights(layer, *args, **kwargs)
        layer.load_to_BT = False

    return load_weights_only
