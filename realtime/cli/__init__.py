"""The command line.

Loads nothing by itself: whoever presses Ctrl-C while the program is still being read gets an exit code and no traceback.
"""

import gc
import os
import signal
import sys


def main() -> None:
    """Run the command line."""
    before = signal.signal(signal.SIGINT, _leave)
    _stand()
    # Imports make a hundred thousand objects and no cycle: looked at by sevens of hundreds they take a seventh longer.
    gc.set_threshold(50_000, 20, 100)
    from realtime.cli.commands import app  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, before)
    try:
        app()
    except OSError as error:
        # A full disk behind standard output: what commands know of, they tell better themselves.
        from realtime.cli.options import mute, refuse  # noqa: PLC0415 - see above

        mute()
        refuse(str(error))


def _stand() -> None:
    """Have all three standard files: where one was closed, the next file or socket would take its place."""
    while (here := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(here, True)
    os.close(here)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def _leave(number: int, _frame: object) -> None:
    """End at once: nothing is open yet, and an exception would be told by whichever import it hit."""
    os._exit(128 + number)
