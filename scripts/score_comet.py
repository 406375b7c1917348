#!/usr/bin/env python3
"""Score the output of a system with COMET: see --help."""

from rdrop_tools.scoring.comet import main

if __name__ == "__main__":
    main()
