#!/usr/bin/env python3
"""Make the corpus of the quickstart: see --help."""

from rdrop_tools.corpus.home_assistant import main

if __name__ == "__main__":
    main()
