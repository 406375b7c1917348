#!/usr/bin/env python3
"""List the trainings of an ablation study, collect and show their results: see --help."""

from rdrop_tools.ablations.program import main

if __name__ == "__main__":
    main()
