#!/usr/bin/env python3
"""Draw what AD-DROP drops in one sentence: see --help."""

from rdrop_tools.runs.attention import main

if __name__ == "__main__":
    main()
