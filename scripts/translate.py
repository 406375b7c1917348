#!/usr/bin/env python3
"""Translate raw text: what translate.sh runs."""

import signal

from rdrop_tools.translation.program import main

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the end of who reads the output ends it
    main()
