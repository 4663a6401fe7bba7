"""Runs the command line: ``python -m call_recorder_cli``."""

import sys

from call_recorder_cli.main import main

sys.exit(main())
