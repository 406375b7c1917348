#!/usr/bin/env python3
"""Encode CNN/DailyMail with the subwords of GPT-2: see --help."""

from rdrop_tools.corpus.gpt2 import main

if __name__ == "__main__":
    main()
