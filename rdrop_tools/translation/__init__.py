"""From a trained run to a translator: raw text in, raw text out, a line for a line."""
