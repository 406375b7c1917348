#!/usr/bin/env python3
"""Score the tokens of a set after the reference's words: see --help."""

from rdrop_tools.scoring.tokens import main

if __name__ == "__main__":
    main()
