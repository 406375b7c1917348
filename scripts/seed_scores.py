#!/usr/bin/env python3
"""Collect scores of several seeds and print their mean and spread: see --help."""

from rdrop_tools.runs.seed_scores import main

if __name__ == "__main__":
    main()
