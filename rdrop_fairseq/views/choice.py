"""The views that the options of R-Drop ask for."""

from typing import Callable, Optional

from rdrop_fairseq.options import ATTENTION_DROP
from rdrop_fairseq.views.addrop import AttentionDrop, AttributedViews
from rdrop_fairseq.views.rates import TwoRates
from rdrop_fairseq.views.repeat import RepeatedViews


def choose_views(cfg, scores: Optional[Callable] = None) -> RepeatedViews:
    """The views that a criterion's options ask for.

    Args:
        cfg: the options of the criterion.
        scores: what AD-DROP attributes, for a criterion with ``--rdrop-second-view``.

    Raises:
        ValueError: options that do not go together.
    """
    asked = []
    if cfg.rdrop_second_dropout is not None:
        asked.append(TwoRates(cfg.rdrop_second_dropout, cfg.view_cutoff))
    if scores is not None and cfg.rdrop_second_view == "addrop":
        asked.append(AttributedViews(AttentionDrop(cfg), scores, cfg.view_cutoff))
    elif scores is not None:
        refuse_idle(cfg)
    if len(asked) > 1:
        options = " or ".join(views.option for views in asked)
        raise ValueError(f"the second pass differs in one way: give {options}")
    if asked and cfg.rdrop_views != 2:
        raise ValueError(
            f"{asked[0].option} is for two passes, not for --rdrop-views {cfg.rdrop_views}"
        )
    return asked[0] if asked else RepeatedViews(cfg.rdrop_views, cfg.view_cutoff)


def refuse_idle(cfg) -> None:
    """Raise ``ValueError`` if an option of AD-DROP is given where nothing asks for it."""
    for option in ATTENTION_DROP:
        if getattr(cfg, option.name) != option.default:
            raise ValueError(
                f"{option.flag} does nothing alone: give {AttributedViews.option}, too, or "
                "train without it"
            )
