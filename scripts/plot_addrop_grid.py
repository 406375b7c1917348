#!/usr/bin/env python3
"""Draw a heat map of AD-DROP's p and q: see --help."""

from rdrop_tools.runs.addrop_grid import main

if __name__ == "__main__":
    main()
