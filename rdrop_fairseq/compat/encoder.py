"""Translating with fairseq 0.12.2 on PyTorch 2."""

import functools

from fairseq.modules.transformer_layer import TransformerEncoderLayerBase


def disable_encoder_fast_path() -> None:
    """fairseq 0.12.2 calls a fused encoder layer that PyTorch 2 no longer has in that form.

    Translating a padded batch then stops with ``Mask Type should be defined``. Layers take that
    path once weights were loaded into them; the ordinary path gives the same output.
    """
    load_weights = TransformerEncoderLayerBase._load_from_state_dict

    @functools.wraps(load_weights)
    def load_weights_only(layer, *args, **kwargs):
        load_weights(layer, *args, **kwargs)
        layer.load_to_BT = False

    TransformerEncoderLayerBase._load_from_state_dict = load_weights_only
