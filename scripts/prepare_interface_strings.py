#!/usr/bin/env python3
"""Make labelled sentences of interface strings: see --help."""

from rdrop_tools.corpus.interface_strings import main

if __name__ == "__main__":
    main()
