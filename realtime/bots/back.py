"""Where a worker process begins: it stands back behind the server before it does anything else.

Rules of this file: (1) only the standard library is imported before `stand_back`: what a worker imports takes a fifth of a
second of a core, and a server beside it would wait for its share of that; (2) it gives way altogether only once it has
imported, for on a machine without an idle moment it would come to its first task minutes later; (3) the worker is named in
`main` alone.
"""

import contextlib
import ctypes
import os
import signal
from typing import Final


NICE: Final = 10
"""How far it stands back behind the event loop."""
MEMORY: Final = 4 << 30
"""Address space it may take [bytes]."""
_DIE_WITH_PARENT: Final = 1


def stand_back() -> None:
    """Be nice, bounded, and dead when the parent is."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICE)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides


def give_way() -> None:
    """Run when nobody else wants to."""
    with contextlib.suppress(AttributeError, OSError):
        # Niceness alone gives way only at the end of a slice: beside two such workers the p99 of a fan-out was three
        # times its own (`realtime bench w2`). This class gives way at once, and else runs as before.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main() -> None:
    """Stand back, and only then become a worker."""
    stand_back()
    from realtime.bots import worker  # noqa: PLC0415 - rule 1

    give_way()
    worker.main()


if __name__ == "__main__":
    main()
