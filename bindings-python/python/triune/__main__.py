"""The command line: `triune`, or `python -m triune`."""

from __future__ import annotations

import signal
import sys

from . import _native


def main() -> int:
    """Runs the command line on the arguments of the process; its exit code."""
    # The command waits in native code: there, Python's own handler of Ctrl-C would never have its turn.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.cli([sys.executable, "-m", "triune"], ["triune", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
