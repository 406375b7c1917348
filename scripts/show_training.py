#!/usr/bin/env python3
"""Show the progress of a training: see --help."""

import signal

from rdrop_tools.runs.progress import main

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end of the training ends it
    main()
