#!/usr/bin/env python3
"""Download the archives of a corpus: see --help."""

from rdrop_tools.corpus.download import main

if __name__ == "__main__":
    main()
