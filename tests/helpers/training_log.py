"""Lines as fairseq-train logs them."""

PREFIX = "2026-11-21 05:18:30 | INFO | {} | "
INNER = {"epoch": 1, "update": 0.5, "nll_loss": "7.5", "loss": "19.25"}
