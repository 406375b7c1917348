#!/usr/bin/env python3
"""Score the output of a system: see --help."""

from rdrop_tools.scoring.bleu import main

if __name__ == "__main__":
    main()
