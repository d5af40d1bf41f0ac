"""The tasks of a system: one group owns them all."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Crew:
    """Starts tasks in a group, and starts none in one that is ending."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None] | None:
        """Start a task; None when the group is ending, for then nobody would wait for it."""
        try:
            return self._group.create_task(work, name=name)
        except RuntimeError:
            # "is shutting down": what is still to be done is found by the next start.
            work.close()
            return None
