#!/usr/bin/env python3
"""Compare systems with a baseline: see --help."""

from rdrop_tools.scoring.comparison import main

if __name__ == "__main__":
    main()
