#!/usr/bin/env python3
"""Export a trained model for CTranslate2: see --help."""

from rdrop_tools.translation.export import main

if __name__ == "__main__":
    main()
