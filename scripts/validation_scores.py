#!/usr/bin/env python3
"""Print the scores in a log of fairseq-validate: see --help."""

from rdrop_tools.runs.validation_scores import main

if __name__ == "__main__":
    main()
