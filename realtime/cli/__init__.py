"""The command line.

Loads nothing by itself: whoever presses Ctrl-C while the program is still being read gets an exit code and no traceback.
"""

import gc
import os
import signal


def main() -> None:
    """Run the command line."""
    before = signal.signal(signal.SIGINT, _leave)
    # Imports make a hundred thousand objects and no cycle: looked at by sevens of hundreds they take a seventh longer.
    gc.set_threshold(50_000, 20, 100)
    from realtime.cli.commands import app  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, before)
    app()


def _leave(number: int, _frame: object) -> None:
    """End at once: nothing is open yet, and an exception would be told by whichever import it hit."""
    os._exit(128 + number)
