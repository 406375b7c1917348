"""The library behind the programs in scripts/: corpora, scores, trainings and what these share."""
