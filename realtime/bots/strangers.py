"""Threads for code of the operator's files: one a call, taken from nobody, and left behind at the end.

The loop's own pool is shared by all that reads and writes files, and its threads are waited for when the process ends: a
strategy that does not come back would use the one up and hold the other.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final


class Quit(Exception):
    """The code wanted to end the process; its cause is what it raised, e.g. the `SystemExit` of `sys.exit`."""


class Strangers(Executor):
    """Runs each call on a thread of its own that does not keep the process, and does not end it either."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run it; the future tells what came of it."""
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - it goes to whoever waits, as of any pool
                future.set_exception(error)
            except BaseException as error:  # noqa: BLE001 - where it is waited for it would end the loop
                told = Quit(f"{type(error).__name__}: {error}")
                told.__cause__ = error
                future.set_exception(told)
            else:
                future.set_result(result)

        threading.Thread(target=run, name="strategy", daemon=True).start()
        return future


STRANGERS: Final = Strangers()
