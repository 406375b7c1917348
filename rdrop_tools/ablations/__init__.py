"""A table of trainings that differ in one thing each: what to run, its results, their report."""
