"""AD-DROP's two passes of a fairseq model: attribute the attention in the first, mask the second.

fairseq is imported where it is needed, since importing it registers the criteria, which need this.
"""

import contextlib
from functools import partial
from typing import Callable, NamedTuple

import torch
from torch import Tensor

from rdrop_fairseq.views.attention import mask_attention, record_attention, unfused_attention
from rdrop_fairseq.views.attribution import gradients, integrated_gradient, kept_positions
from rdrop_fairseq.views.passes import TwoPasses
from rdrop_fairseq.wrappers import whole_model


class LayerMask(NamedTuple):
    """What one layer loses in a pass; each broadcasts to ``(B, H, T, S)``."""

    attributions: Tensor
    is_key: Tensor
    """Where a query can attend to."""
    dropped: Tensor


class AttentionDrop:
    """Attention dropout driven by attribution (Yang et al., NeurIPS 2022).

    Args:
        cfg: what has the options of AD-DROP, ``rdrop_fairseq.options.ATTENTION_DROP``.
    """

    def __init__(self, cfg):
        self.p, self.q, self.steps = cfg.addrop_p, cfg.addrop_q, cfg.addrop_steps
        self.attribution = cfg.addrop_attribution
        if self.attribution == "random":  # no ranking: every key is a candidate
            self.p, self.q = 1.0, self.p * self.q
        self.attention = cfg.addrop_attention
        self.numbers = None
        if cfg.addrop_layers != "all":
            self.numbers = list(dict.fromkeys(map(int, cfg.addrop_layers.split(","))))

    @contextlib.contextmanager
    def dropped(self, model: torch.nn.Module, scores: Callable[[], Tensor]):
        """Passes of the model inside have the attributed positions masked.

        Args:
            model: the fairseq model, in training and without a wrapper.
            scores: makes a pass of this model and returns ``(N, C)``, a row for each prediction;
                the highest of a row is its pseudo-label.

        Yields:
            A list that grows by the :class:`LayerMask` of each layer in such a pass.
        """
        layers = self.layers(model)
        attributions = self.attributions(layers, scores)
        masks = []
        with unfused_attention(layers), contextlib.ExitStack() as restore:
            for layer in layers:
                if layer in attributions or self.attribution == "random":
                    mask = partial(self._mask, attributions.get(layer), masks)
                    restore.enter_context(mask_attention(layer, mask))
            yield masks

    def _mask(self, attributions, masks, shape, is_key, device):
        if attributions is None:
            attributions = torch.rand(shape, device=device)
        attributions = attributions.view(shape)
        kept = kept_positions(attributions, self.p, self.q, is_key)
        masks.append(LayerMask(attributions, is_key, ~kept))
        return kept

    def attributions(self, layers: list, scores: Callable[[], Tensor]) -> dict:
        """``{layer: (B * H, T, S)}``, for those layers that the first pass does not skip."""
        from fairseq import utils

        if self.attribution == "random":
            return {}
        if self.attribution == "attention":
            with torch.no_grad(), record_attention(layers) as seen:
                scores()
            # older versions of PyTorch would use weights that were cast without a gradient again
            torch.clear_autocast_cache()
            return seen
        state = utils.get_rng_state()
        with torch.enable_grad(), record_attention(layers) as seen:
            rows = scores()
        labels = rows.detach().argmax(-1, keepdim=True)
        if self.attribution == "gradient":
            found = gradients(rows.gather(-1, labels).float().sum(), list(seen.values()))
            return dict(zip(seen, found))
        attentions = {layer: attention.detach() for layer, attention in seen.items()}
        del rows, seen  # and with them the graph of the first pass
        at = partial(self._gradient_at, scores, labels, state)
        # unfused as in the first pass, or other layers would draw other masks
        with unfused_attention(layers):
            return {
                layer: integrated_gradient(attention, partial(at, layer), self.steps)
                for layer, attention in attentions.items()
            }

    def _gradient_at(self, scores, labels, state, layer, scale) -> Tensor:
        """``dt/dA`` of one layer at ``scale * A``, with the dropout masks of the first pass."""
        from fairseq import utils

        later = utils.get_rng_state()
        utils.set_rng_state(state)
        try:
            with torch.enable_grad(), record_attention([layer], scale) as seen:
                target = scores().gather(-1, labels).float().sum()
        finally:
            utils.set_rng_state(later)
        return gradients(target, [seen[layer]])[0]

    def layers(self, model: torch.nn.Module) -> list:
        """The attention modules that are dropped.

        Raises:
            NotImplementedError: the model has none, lacks a layer, or hides its attention.
        """
        from fairseq.modules import MultiheadAttention

        side = "encoder" if self.attention == "encoder" else "decoder"
        inside = getattr(model, side, None)
        kind = "encoder_decoder_attention" if self.attention == "cross" else "self_attention"
        found = [
            module
            for module in (inside.modules() if inside is not None else ())
            if isinstance(module, MultiheadAttention) and getattr(module, kind)
        ]
        if not found:
            raise NotImplementedError(
                f"AD-DROP drops fairseq's MultiheadAttention, and this {type(model).__name__} has "
                f"none of the kind --addrop-attention {self.attention}: choose another kind, or "
                "train without AD-DROP"
            )
        if any(layer.use_xformers for layer in found):
            raise NotImplementedError(
                "AD-DROP cannot see the attention of xformers: train without "
                f"--{side}-xformers-att-config"
            )
        if any(hasattr(module, "precheckpoint_forward") for module in model.modules()):
            raise NotImplementedError(
                "AD-DROP does not go with --checkpoint-activations, which computes the second pass "
                "again without its masks: train without one of them"
            )
        numbers = range(len(found)) if self.numbers is None else self.numbers
        if max(numbers) >= len(found):
            raise NotImplementedError(
                f"--addrop-layers names layer {max(numbers)}, and this model has the layers 0 to "
                f"{len(found) - 1}"
            )
        return [found[number] for number in numbers]


class AttributedViews(TwoPasses):
    """R-Drop whose second pass has the positions dropped that AD-DROP chooses.

    Args:
        drop: chooses them.
        scores: makes a pass of the model over a sample, as :meth:`AttentionDrop.dropped` needs it.
        cutoff: of the second pass.
    """

    option = "--rdrop-second-view addrop"

    def __init__(self, drop: AttentionDrop, scores: Callable, cutoff: float):
        super().__init__(cutoff)
        self.drop, self.scores = drop, scores

    def can_differ(self, model) -> bool:
        """Always, since attention is dropped in the second pass alone."""
        return True

    def check(self, model, share) -> None:
        """As that of the parent class, and of the attention."""
        super().check(model, share)
        self.drop.layers(whole_model(model))

    def in_second_pass(self, model, sample):
        """A pass finds the positions, and the pass inside has them masked."""
        return self.drop.dropped(model, partial(self.scores, model, sample))
