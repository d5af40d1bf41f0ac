"""Class `value`: the latest wins, and nothing is encoded before somebody reads it."""

from collections.abc import Callable, Sequence

from realtime.hub.channels import Channel, Topic
from realtime.hub.stream import Board, Data, Message, Reason, Stream, Viewed, tail


class ValueFeed(Viewed["ValueStream"]):
    """The newest object of one source."""

    __slots__ = ("_bytes", "_data", "_mark")

    def __init__(self, name: str, topic: Topic, board: Board) -> None:
        super().__init__(name, topic, board)
        self._data: Data | Callable[[], Data] | None = None
        self._bytes = b""
        self._mark: object = None

    @property
    def ready(self) -> bool:
        """Whether there ever was a value."""
        return self._data is not None

    def put(self, data: Data | Callable[[], Data], asof: int | None) -> None:
        """Take a new value; a function is called when somebody reads it."""
        self._data = data
        self.asof = asof
        if self.streams:
            self._bytes = b""
            if self.topic.urgent is None:
                for stream in self.streams:
                    stream.touch()
            else:
                self._put_urgent(data, self.topic.urgent)

    def _put_urgent(self, data: Data | Callable[[], Data], field: str) -> None:
        """Send at once when the field changes, else at the tick."""
        self._data = data = data() if callable(data) else data
        mark = data.get(field)
        changed, self._mark = mark != self._mark, mark
        for stream in self.streams:
            if changed:
                stream.emit()
            else:
                stream.touch()

    def encoded(self) -> bytes:
        """The newest value, encoded once for the streams of all rates."""
        if not self._bytes:
            data = self._data
            self._bytes = self.board.encode(data() if callable(data) else data)
        return self._bytes

    def view(self, channel: Channel, epoch: str) -> "ValueStream":
        """Make a stream; it starts with the newest value, if there is one."""
        self._bytes = b"" if not self.streams else self._bytes
        stream = ValueStream(channel, self, epoch)
        self.streams.append(stream)
        return stream


class ValueStream(Stream):
    """One rate of a value."""

    __slots__ = ("_newest", "_settled", "_taken", "_values")
    conflates = True

    def __init__(self, channel: Channel, feed: ValueFeed, epoch: str) -> None:
        super().__init__(channel, feed, epoch)
        self._values = feed
        self._newest: Message | None = None
        self._taken = b""
        self._settled = 0
        self.seq = 1 if feed.ready else 0

    @property
    def ready(self) -> bool:
        """Whether there ever was a value."""
        return self.seq > 0

    def emit(self) -> None:
        """Take the newest value of the feed as the next."""
        self.close()
        self.advance()

    def holds(self, cursor: int) -> bool:
        """Tell that whoever had a value can go on: the newest stands for all before it."""
        return cursor > 0 or not self.ready

    def owed(self, cursor: int, *, slow: bool) -> Sequence[Message]:  # noqa: ARG002 - as above
        """Give the newest value; as a snapshot to those who have none yet."""
        seq = self.seq
        if cursor == 0:
            return (self.snapshot(Reason.SUBSCRIBE),)
        newest = self._newest
        if newest is None or newest.seq != seq:
            rest = tail(self.board.now(), self.feed.asof, self.state())
            newest = self._newest = self.update(seq, rest)
        return (newest,)

    def state(self) -> bytes:
        """Encode the `data` of a snapshot at `seq`; whatever comes later, this `seq` keeps it."""
        if self._settled != self.seq:
            self._taken = self._values.encoded()
            self._settled = self.seq
        return self._taken
