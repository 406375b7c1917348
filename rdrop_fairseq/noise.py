"""The noise of a model in training: what differs between two passes, and what both share.

fairseq is imported where it is needed, since importing it registers the criteria, which need this.
"""

import torch


def dropouts(model: torch.nn.Module) -> list:
    """``[(module, attribute)]`` of the dropout rates that are not 0: they make passes differ."""
    from fairseq.modules import FairseqDropout

    kinds = (FairseqDropout, torch.nn.modules.dropout._DropoutNd)
    found = [(module, "p") for module in model.modules() if isinstance(module, kinds)]
    found += [(m, "dropout") for m in model.modules() if isinstance(m, torch.nn.RNNBase)]
    return [(module, name) for module, name in found if getattr(module, name) > 0]


def has_noise_per_pass(model: torch.nn.Module) -> bool:
    """Whether layers or weights are dropped once for a pass, and so for all views in it alike."""
    from fairseq.modules.quant_noise import quant_noise

    hooks = (hook for module in model.modules() for hook in module._forward_pre_hooks.values())
    return drops_layers(model) or any(hook.__module__ == quant_noise.__module__ for hook in hooks)


def drops_layers(model: torch.nn.Module) -> bool:
    """Whether it has LayerDrop."""
    from fairseq.modules import LayerDropModuleList

    return any(isinstance(module, LayerDropModuleList) for module in model.modules())
