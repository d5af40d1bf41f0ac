"""All feeds and streams: where what is published goes, and what exists because somebody reads it."""

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import assert_never

import orjson

from realtime.hub.books import BookFeed, BookView
from realtime.hub.channels import (
    TOPICS,
    WHOLE,
    Channel,
    Kind,
    Studies,
    Topic,
    no_studies,
    parse,
)
from realtime.hub.logs import JournalFeed, LogFeed, Old
from realtime.hub.rows import NO_ROWS, Make, RowFeed
from realtime.hub.stream import Board, Counts, Data, Reason, Sizes, Stream, Written
from realtime.hub.values import ValueFeed
from realtime.model.errors import Code, Refused


AnyFeed = ValueFeed | RowFeed | BookFeed | LogFeed | JournalFeed
SECOND_TIER = 1000
"""The tier [ms] that always ticks: it also counts how long a stream has been without readers."""


def ignore_demand(_name: str, _wanted: bool) -> None:  # noqa: FBT001 - the shape of `on_demand`
    """Want nothing from anybody: until the desk is there."""


class Sources:
    """The producing half of the hub.

    Args:
        boot: Epoch of everything in memory, another one after every start.
        journal: Epoch of the journaled logs, for ever the same with one journal.
        now: Server time [wire ms].
        sizes: Bounds.

    Attributes:
        boot: As given.
        on_demand: Called with the base name of a market channel (`ticker:S`, `orderbook:S`, `trades:S`,
            `ohlcv:S?timeframe=T`, `indicators:S?…`, `ticker:*`) and True when it gets its first stream, False when it has
            lost its last one, which is `Sizes.linger` seconds after its last reader left.
        symbols: Those that channel names may name.
        studies: Reads the parameters of indicators that they name.
        ids: Other ids that they may name, by what they are ids of (`bot_id`, `backtest_id`).
        first: Id of the account whose channels have no `@`; empty while there is only one.
    """

    def __init__(
        self, *, boot: str, journal: str, now: Callable[[], int], sizes: Sizes | None = None
    ) -> None:
        self.on_demand: Callable[[str, bool], None] = ignore_demand
        self.symbols: Container[str] = ()
        self.studies: Studies = no_studies
        self.ids: dict[str, Container[str]] = {}
        self.first = ""
        # Of the other accounts by id: the symbols that their channels may name, and the epoch of their logs.
        self._symbols: dict[str, Container[str]] = {}
        self._epochs: dict[str, str] = {}
        self.boot = boot
        self._journal = journal
        self._board = Board(now, sizes or Sizes())
        self._values: dict[str, ValueFeed] = {}
        self._tables: dict[str, RowFeed] = {}
        self._books: dict[str, BookFeed] = {}
        self._logs: dict[str, LogFeed] = {}
        self._journals: dict[str, JournalFeed] = {}
        self._streams: dict[str, Stream] = {}
        # Streams without readers, and for how many seconds.
        self._idle: dict[Stream, int] = {}
        self._dropped = 0
        # Feeds that `ticker:*` also stands for, since the last flush.
        self._arrived: list[ValueFeed] = []
        for topic in TOPICS.values():
            if topic.kept:
                self._stream(parse(topic.name, ()))

    def add_account(self, account: str, journal: str) -> None:
        """Make the channels of one more account, each called `topic@account`, before anything is published there.

        Args:
            account: Its id.
            journal: Epoch of its journaled logs.
        """
        self._symbols[account] = ()
        self._epochs[account] = journal
        for topic in TOPICS.values():
            if topic.kept and topic.name not in WHOLE:
                self._stream(parse(f"{topic.name}@{account}", (), venues=(account,)))

    def name_symbols(self, symbols: Container[str], account: str = "") -> None:
        """Tell the symbols that channel names of an account may name; without an id, those of the first."""
        if account:
            self._symbols[account] = symbols
        else:
            self.symbols = symbols

    # --- facts for others -------------------------------------------------------------------------

    @property
    def wake(self) -> Callable[[], None]:
        """Called when something must be flushed, once until `flush`; it must only schedule that."""
        return self._board.wake

    @wake.setter
    def wake(self, wake: Callable[[], None]) -> None:
        self._board.wake = wake

    @property
    def counts(self) -> Counts:
        """What has been done since the start."""
        return self._board.counts

    @property
    def sizes(self) -> Sizes:
        """The bounds."""
        return self._board.sizes

    @property
    def streams(self) -> Collection[str]:
        """Canonical names of all streams that exist."""
        return self._streams.keys()

    @property
    def log_bytes(self) -> int:
        """Held by the rings of all public logs [bytes]."""
        return self._board.log_bytes

    def channel(self, name: str) -> Channel:
        """Read a name as a client wrote it, with the symbols and price steps known now.

        Raises:
            Refused: `unknown_channel`, `venue_unavailable` or `invalid`, see `channels.parse`.
        """
        account = account_of(name)
        return parse(
            name,
            self._symbols.get(account, self.symbols),
            groups=partial(self._groups, "markets" + name_mark(account, self._symbols)),
            studies=self.studies,
            venues=(self.first, *self._symbols) if self._symbols else (),
            first=self.first,
            ids=self.ids,
        )

    def _groups(self, markets: str, symbol: str) -> Collection[str]:
        row = self._tables[markets].rows.get(symbol)
        found: Collection[str] = orjson.loads(row.data).get("groups", ()) if row else ()
        return found

    def position(self, name: str) -> dict[str, object] | None:
        """Give `{"epoch", "seq"}` of a stream for the `at` of a reply; None if there is no such stream."""
        stream = self._streams.get(name)
        return None if stream is None else {"epoch": stream.epoch, "seq": stream.seq}

    def snapshot(self, channel: Channel) -> bytes:
        """Give the JSON of the snapshot message of a channel; its position is valid as `since`.

        Raises:
            Refused: `invalid` for all symbols at once, `venue_unavailable` before the first data came: an empty table
                whose source is stale is no table without rows, and this answer has nobody to be told so.
        """
        if channel.star:
            raise Refused(Code.INVALID, f"'{channel.name}' has no snapshot; ask for one symbol")
        stream = self._stream(channel)
        feed = stream.feed
        if not stream.ready or (isinstance(feed, RowFeed) and feed.source.stale and not feed.rows):
            message = f"nothing is known of '{channel.name}' yet"
            raise Refused(Code.VENUE_UNAVAILABLE, message, retry_after=1)
        return stream.snapshot(Reason.SUBSCRIBE).body

    # --- producing --------------------------------------------------------------------------------

    def value(self, name: str, data: Data | Callable[[], Data], *, asof: int | None = None) -> None:
        """Publish the newest value of a `value` channel.

        Args:
            name: Base name.
            data: The whole object, not changed afterwards, or a function that makes it when it is read.
            asof: Newest source time it reflects [wire ms].
        """
        feed = self._values.get(name)
        if feed is None:
            feed = self._value_feed(name)
        feed.put(data, asof)

    def table(
        self,
        name: str,
        *,
        rows: Sequence[Data] = (),
        later: Mapping[str, Make | Written] = NO_ROWS,
        gone: Sequence[str] = (),
        asof: int | None = None,
    ) -> None:
        """Publish rows that are new or have changed, and keys of rows that went.

        Args:
            name: Base name.
            rows: Whole rows; the table's key identifies them.
            later: By key, functions that make rows, each called once when somebody reads it, or rows that the journal has.
            gone: Keys; unknown ones are left out, and a key that is in both is gone.
            asof: Newest source time they reflect [wire ms].
        """
        table = self._tables[name]
        table.put({**table.keyed(rows), **later} if rows else later, gone, asof)

    def append(
        self, name: str, entry: Data | Callable[[], Data], *, asof: int | None = None
    ) -> None:
        """Publish an entry of a log; of a journaled one, after its commit.

        Args:
            name: Base name.
            entry: Not changed afterwards, or a function that makes it, for a public log when it is read.
            asof: Newest source time it reflects [wire ms].
        """
        feed = self._logs.get(name)
        if feed is None:
            journal = self._journals.get(name)
            if journal is not None:
                data = entry() if callable(entry) else entry
                journal.put(Written(data, self._board.encode(data)), asof)
                return
            feed = self._log_feed(name)
        feed.put(entry, asof)

    def enter(self, name: str, entry: Written, *, asof: int | None = None) -> None:
        """Publish an entry of a journaled log as its commit has it; arguments as for `append`."""
        self._journals[name].put(entry, asof)

    def book(self, name: str, book: BookView, *, asof: int, repaired: bool = False) -> None:
        """Take note that an order book has changed; it is read when a stream publishes.

        Args:
            name: Base name, `orderbook:S`.
            book: The live book. While it is crossed or locked nothing is published, and the next whole
                one goes out as a snapshot `upstream`.
            asof: Time of the change at the source [wire ms].
            repaired: Whether it was begun anew after a gap: a snapshot `upstream` goes out at once.
        """
        feed = self._books.get(name)
        if feed is None:
            feed = self._book_feed(name)
        feed.put(book, asof, repaired=repaired)

    def forget_book(self, name: str) -> None:
        """Let the book of a source go that nobody tells of any more; the next one told is another.

        Args:
            name: Base name, `orderbook:S`; one with streams keeps what they show.
        """
        feed = self._books.get(name)
        if feed is not None and not feed.streams:
            feed.book = None

    def seed(self, name: str, count: int, entries: Sequence[Old]) -> None:
        """Tell, at the start, what a journaled log has: before anything is appended.

        Args:
            name: Base name.
            count: Entries ever.
            entries: The newest of them, oldest first, the last with seq = `count`; as many as
                `Sizes.journaled` if there are.
        """
        self._journals[name].seed(count, entries)

    def count_filtered(self, name: str, entries: Iterable[Data]) -> None:
        """Count those entries of a journaled log that are older than the seeded ones.

        Filtered streams (`fills?symbol=S`) number their own messages, since the beginning of the journal.
        """
        self._journals[name].count(entries)

    def tick(self, rate: int) -> None:
        """Let a tier publish: 50, 100, 250 or 1000 [ms]; that of 1000 also ends streams without readers."""
        self._board.tiers.tick(rate)
        if rate == SECOND_TIER:
            for stream, seconds in list(self._idle.items()):
                if seconds >= self.sizes.linger:
                    self._drop(stream)
                else:
                    self._idle[stream] = seconds + 1

    # --- feeds and streams ------------------------------------------------------------------------

    def _value_feed(self, name: str) -> ValueFeed:
        topic = _topic(name, Kind.VALUE)
        feed = self._values[name] = ValueFeed(name, topic, self._board)
        if topic.star:
            self._arrived.append(feed)
            self._board.rouse()
        return feed

    def _book_feed(self, name: str) -> BookFeed:
        feed = self._books[name] = BookFeed(name, _topic(name, Kind.TABLE), self._board)
        return feed

    def _log_feed(self, name: str) -> LogFeed:
        feed = self._logs[name] = LogFeed(name, _topic(name, Kind.LOG), self._board)
        return feed

    def _feed(self, base: str) -> AnyFeed:
        topic = _topic(base)
        match topic.kind:
            case Kind.VALUE:
                return self._values.get(base) or self._value_feed(base)
            case Kind.TABLE if topic.market:
                return self._books.get(base) or self._book_feed(base)
            case Kind.TABLE:
                held = self._tables.get(base)
                if held is None:
                    held = self._tables[base] = RowFeed(base, topic, self._board)
                return held
            case Kind.LOG if topic.journaled:
                journal = self._journals.get(base)
                if journal is None:
                    journal = self._journals[base] = JournalFeed(base, topic, self._board)
                return journal
            case Kind.LOG:
                return self._logs.get(base) or self._log_feed(base)
            case _:
                assert_never(topic.kind)

    def _stream(self, channel: Channel) -> Stream:
        """Give the stream of a channel, made if need be."""
        stream = self._streams.get(channel.name)
        if stream is not None:
            return stream
        feed = self._feed(channel.base)
        if channel.journaled:
            epoch = self._epochs.get(channel.venue or "", self._journal)
        elif self._dropped:
            # A stream made again must not look like its predecessor: no two of one name share a count.
            epoch = f"{self.boot}.{self._dropped}"
        else:
            epoch = self.boot
        stream = feed.view(channel, epoch)
        self._streams[channel.name] = stream
        if feed.topic.market and len(feed.streams) == 1:
            self.on_demand(feed.name, True)
        if not permanent(channel):
            self._rest(stream)
        return stream

    def _rest(self, stream: Stream) -> None:
        """Keep a stream that nobody reads for a while, so that readers may resume it.

        Names are chosen by clients: without a bound one of them could fill the memory with names.
        """
        self._idle[stream] = 0
        if len(self._idle) > self.sizes.idle:
            self._drop(next(iter(self._idle)))

    def _drop(self, stream: Stream) -> None:
        """Forget a stream that nobody reads."""
        stream.close()
        del self._streams[stream.name], self._idle[stream]
        self._dropped += 1
        feed = self._feed(stream.channel.base)
        feed.forget(stream)
        if feed.topic.market and not feed.streams:
            self.on_demand(feed.name, False)


def _topic(base: str, kind: Kind | None = None) -> Topic:
    """The topic of a base name; the kind is what the caller is about to publish."""
    topic = TOPICS[base.partition("?")[0].partition(":")[0].partition("@")[0]]
    assert kind in {None, topic.kind}, f"{base} is a {topic.kind}"
    return topic


def account_of(name: str) -> str:
    """The id behind `@` in the name of a channel or a source; empty without one."""
    return name.partition("?")[0].partition("@")[2]


def name_mark(account: str, accounts: Container[str]) -> str:
    """What stands behind the topic in names of an account: nothing for the first."""
    return f"@{account}" if account in accounts else ""


def permanent(channel: Channel) -> bool:
    """Whether a stream exists without readers."""
    return channel.spec.kept and not channel.options
