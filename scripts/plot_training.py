#!/usr/bin/env python3
"""Draw the curves of trainings: see --help."""

from rdrop_tools.runs.plot import main

if __name__ == "__main__":
    main()
