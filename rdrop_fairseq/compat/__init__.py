"""What fairseq, which is archived, needs on today's Python, PyTorch and NumPy."""
