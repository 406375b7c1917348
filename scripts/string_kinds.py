#!/usr/bin/env python3
"""Make labelled sentences of interface strings: see --help."""

from rdrop_tools.corpus.string_kinds import main

if __name__ == "__main__":
    main()
