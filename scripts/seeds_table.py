#!/usr/bin/env python3
"""Print mean and spread of results over seeds: see --help."""

from rdrop_tools.runs.seeds import main

if __name__ == "__main__":
    main()
