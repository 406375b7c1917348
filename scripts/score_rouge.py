#!/usr/bin/env python3
"""Score summaries: see --help."""

from rdrop_tools.scoring.rouge import main

if __name__ == "__main__":
    main()
