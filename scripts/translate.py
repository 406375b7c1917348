#!/usr/bin/env python3
"""Translate raw text: what translate.sh runs."""

import signal
import sys

try:
    from rdrop_tools.translation.program import main
except ImportError as error:
    sys.exit(f"translate.sh: {error}: run bash scripts/install.sh, or pip install '.[corpus]'")

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the end of who reads the output ends it
    main()
