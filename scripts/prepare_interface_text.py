#!/usr/bin/env python3
"""Make the corpus of a small language model, or of headlines: see --help."""

from rdrop_tools.corpus.interface_text import main

if __name__ == "__main__":
    main()
