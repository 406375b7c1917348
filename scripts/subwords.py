#!/usr/bin/env python3
"""Learn subwords and encode a corpus with them: see --help."""

from rdrop_tools.corpus.subwords import main

if __name__ == "__main__":
    main()
