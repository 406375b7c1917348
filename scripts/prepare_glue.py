#!/usr/bin/env python3
"""Prepare a task of GLUE: see --help."""

from rdrop_tools.corpus.glue import main

if __name__ == "__main__":
    main()
