#!/usr/bin/env python3
"""Average the last checkpoints of a training: see --help."""

from rdrop_tools.runs.averaging import main

if __name__ == "__main__":
    main()
