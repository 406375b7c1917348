"""From the output of a system to its score, and from scores to a comparison."""
