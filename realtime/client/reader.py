"""What a program gets: replies, and events of channels as it can read them. Nothing here touches the network."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from realtime.client.state import State


Kind = Literal["snapshot", "update", "stale", "lag", "ended"]
At = Mapping[str, object]
Position = Mapping[str, object]
"""Where a stream is: `epoch` and `seq`."""


class Event(NamedTuple):
    """Something that happened on a channel.

    Attributes:
        channel: Its canonical name.
        kind: `snapshot`, `update`; `stale` (the source fell silent or came back); `lag` (this program was too slow,
            `message["missed"]` messages were not shown); `ended` (the server ended the subscription).
        message: The server's message, or ours for `lag`.
        state: All that is known of the channel now; it goes on changing, copy what you keep.
    """

    channel: str
    kind: Kind
    message: Mapping[str, Any]
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A command's answer; `reply["id"]` reads its result.

    Attributes:
        result: What the server says.
        at: Positions at which the effect is visible, for `Client.until`; empty when nothing changed.
        ts: Server time of the answer [ms].
    """

    result: Mapping[str, Any]
    at: At
    ts: int

    def __getitem__(self, name: str) -> Any:
        """Read a field of the result."""
        return self.result[name]


class Subscription:
    """Messages of some channels, in order, for `async for`."""

    def __init__(
        self,
        bound: int,
        state: Callable[[str], State],
        leave: Callable[["Subscription"], None],
    ) -> None:
        """Make a subscription; `Client.subscribe` does.

        Args:
            bound: Most events that wait.
            state: Gives the state of a channel.
            leave: Tells the client that nobody reads this any more.
        """
        self._state = state
        self._leave = leave
        self._bound = bound
        self._queue: deque[Event] = deque()
        self._ready = asyncio.Event()
        self._ended: Exception | None = None
        self._over = False
        self.channels: list[str] = []  # canonical names, as the server gave them
        self.asked: Sequence[str] = ()
        self.since: Mapping[str, Position] = {}

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._ended is not None:
                raise self._ended
            if self._over:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop; the server is told when nobody else here reads a channel."""
        if not self._over:
            self.finish(None)
            self._leave(self)

    @property
    def over(self) -> bool:
        """Whether no more events will come."""
        return self._over

    @property
    def waiting(self) -> int:
        """Events that are there already."""
        return len(self._queue)

    # -- the client's side ---------------------------------------------------------------------------

    def offer(self, event: Event) -> None:
        """Put an event in; when the program is too far behind, say so instead."""
        if len(self._queue) >= self._bound:
            missed: dict[str, int] = {}
            for old in self._queue:
                count = old.message["missed"] if old.kind == "lag" else 1
                missed[old.channel] = missed.get(old.channel, 0) + int(str(count))
            missed[event.channel] = missed.get(event.channel, 0) + 1
            self._queue.clear()
            for channel, count in missed.items():
                state = self._state(channel)
                self._queue.append(Event(channel, "lag", {"missed": count}, state))
        else:
            self._queue.append(event)
        self._ready.set()

    def finish(self, error: Exception | None) -> None:
        """No more events will come; what waits is still given out."""
        self._ended = error
        self._over = True
        self._ready.set()
