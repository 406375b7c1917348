#!/usr/bin/env python3
"""Translate raw text: what translate.sh runs."""

import os
import signal
import sys

from rdrop_tools.translation.program import main

if __name__ == "__main__":
    sys.argv[0] = os.environ.get("RDROP_PROGRAM", sys.argv[0])  # translate.sh says its own name
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the end of who reads the output ends it
    main()
