#!/usr/bin/env python3
"""Make the sets of a benchmark: see --help."""

from rdrop_tools.corpus.prepare import main

if __name__ == "__main__":
    main()
