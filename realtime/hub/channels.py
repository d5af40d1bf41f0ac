"""Channel names: parse, canonical form, class, scope, and what options mean.

`topic[:key][@venue][?option=value&...]`. The canonical name (options sorted, values rounded up to what
is offered, left out where the table says so) is the text that every message carries; it is one stream.
"""

import difflib
import re
from collections.abc import Callable, Collection, Container, Mapping, Sized
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import assert_never

from realtime.model.errors import Code, Refused, invalid
from realtime.model.principal import ADMIN, READ


class Kind(StrEnum):
    """The class of a channel: what an update means and what a slow reader gets."""

    VALUE = "value"
    TABLE = "table"
    LOG = "log"


DEPTHS = (5, 25, 100)
"""Levels a side that an order book is offered with."""
RATES = (0, 100, 250, 1000)
"""Least intervals between messages [ms]."""
TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d")
LEVELS = ("debug", "info", "warning", "error", "critical")
"""Severities, mildest first; `level=` means this one and all above."""
ALL = "*"
"""The key of `ticker:*`: every symbol, present and future."""


class Form(StrEnum):
    """How the value of an option is written."""

    RATE = "rate"
    DEPTH = "depth"
    GROUP = "group"
    TIMEFRAME = "timeframe"
    LEVEL = "level"
    SYMBOL = "symbol"
    WORD = "word"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a topic.

    Attributes:
        default: Taken when it is not given; None = none.
        shown: Whether the default stands in the canonical name.
        feed: Whether the option chooses another source, not another view of the same (`timeframe`).
        filters: Whether it selects rows or entries by the field of its name.
    """

    name: str
    form: Form
    about: str
    default: str | None = None
    shown: bool = False
    feed: bool = False
    filters: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One row of the table of channels.

    Attributes:
        key: What stands behind the colon (`symbol`, `bot_id`, `backtest_id`), or None.
        row_key: Field that identifies a row of a table; `price` for order books.
        star: Whether the key may be `*`.
        market: Whether it is fed by a market stream on demand (`Hub.on_demand`).
        kept: Whether the stream without options exists without readers.
        tier: Interval at which the hub sends it at most [ms], where no `rate` option says so; 0 = at once.
        urgent: Field of a value whose change is sent at once in spite of `tier`.
        newest: Entries in a snapshot of a log.
        studied: Whether it takes the parameters of the indicator that its option `name` names.
        open_field: Of a log whose snapshot has only entries in which this field is empty, however many.
        dated: Field of a journaled entry with its time at the source [ms]: the `asof` it was published with.
        pace, snapshot, about, example: For people (`help`, documentation).
    """

    name: str
    kind: Kind
    about: str
    example: str
    pace: str
    snapshot: str
    key: str | None = None
    row_key: str | None = None
    star: bool = False
    journaled: bool = False
    market: bool = False
    kept: bool = False
    scope: str = READ
    options: tuple[Option, ...] = ()
    tier: int = 0
    urgent: str | None = None
    newest: int = 50
    studied: bool = False
    open_field: str | None = None
    dated: str | None = None

    @property
    def filters(self) -> tuple[str, ...]:
        """Names of the options that select rows or entries, sorted."""
        return tuple(sorted(o.name for o in self.options if o.filters))


_RATE = Option(
    name="rate", form=Form.RATE, default="100", about="least interval between messages, ms"
)
_SYMBOL = Option(name="symbol", form=Form.SYMBOL, filters=True, about="only this symbol")
_BOT = Option(name="bot_id", form=Form.WORD, filters=True, about="only of this bot")
_LEVEL = Option(
    name="level", form=Form.LEVEL, default="info", filters=True, about="this level and above"
)

TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(
            name="ticker",
            kind=Kind.VALUE,
            key="symbol",
            star=True,
            market=True,
            options=(_RATE,),
            snapshot="latest",
            pace="conflated to rate",
            about="top of book and 24 h figures",
            example="ticker:BTC/USDT",
        ),
        Topic(
            name="orderbook",
            kind=Kind.TABLE,
            key="symbol",
            row_key="price",
            market=True,
            options=(
                Option(
                    name="depth",
                    form=Form.DEPTH,
                    default="25",
                    shown=True,
                    about="levels a side: 5, 25 or 100",
                ),
                Option(
                    name="rate",
                    form=Form.RATE,
                    default="100",
                    shown=True,
                    about="least interval between messages, ms",
                ),
                Option(
                    name="group",
                    form=Form.GROUP,
                    about="sum levels into steps of this price, of `groups` in the market's row",
                ),
            ),
            snapshot="whole depth",
            pace="rate",
            about="bids and asks, best first",
            example="orderbook:BTC/USDT?depth=25&rate=100",
        ),
        Topic(
            name="trades",
            kind=Kind.LOG,
            key="symbol",
            market=True,
            tier=50,
            snapshot="last 50",
            pace="batched 50 ms",
            about="public trades",
            example="trades:BTC/USDT",
        ),
        Topic(
            name="ohlcv",
            kind=Kind.VALUE,
            key="symbol",
            market=True,
            tier=250,
            urgent="closed_through_ts",
            options=(
                Option(
                    name="timeframe",
                    form=Form.TIMEFRAME,
                    default="1m",
                    shown=True,
                    feed=True,
                    about="length of a bar",
                ),
            ),
            snapshot="last closed and forming bar",
            pace="at most 4/s; a close at once",
            about="last closed and forming bar",
            example="ohlcv:BTC/USDT?timeframe=1m",
        ),
        Topic(
            name="indicators",
            kind=Kind.VALUE,
            key="symbol",
            market=True,
            studied=True,
            options=(
                Option(
                    name="name",
                    form=Form.WORD,
                    default="ema",
                    shown=True,
                    feed=True,
                    about="which, of indicator.list; its parameters are options, too",
                ),
                Option(
                    name="timeframe",
                    form=Form.TIMEFRAME,
                    default="1m",
                    shown=True,
                    feed=True,
                    about="length of a bar",
                ),
            ),
            snapshot="latest",
            pace="a close at once; the forming bar at most 1/s",
            about="an indicator of the bars, its parameters as further options; `closed` tells whether its bar may change",
            example="indicators:BTC/USDT?length=50&name=ema&timeframe=1m",
        ),
        Topic(
            name="markets",
            kind=Kind.TABLE,
            row_key="symbol",
            kept=True,
            snapshot="all",
            pace="on change",
            about="markets with their grids, minima and fees",
            example="markets",
        ),
        Topic(
            name="signals",
            kind=Kind.LOG,
            kept=True,
            options=(
                _SYMBOL,
                Option(name="strategy", form=Form.WORD, filters=True, about="only of this one"),
                _BOT,
            ),
            snapshot="last 50",
            pace="per decision",
            about="what strategies say, and what became of it",
            example="signals?symbol=BTC/USDT",
        ),
        Topic(
            name="orders",
            kind=Kind.TABLE,
            row_key="id",
            kept=True,
            options=(_SYMBOL, _BOT),
            snapshot="not ended, or ended in the last 5 min (of these the newest: 640 KiB in all, at least 256)",
            pace="at once",
            about="orders of the account",
            example="orders?symbol=BTC/USDT",
        ),
        Topic(
            name="fills",
            kind=Kind.LOG,
            journaled=True,
            kept=True,
            options=(_SYMBOL,),
            dated="ts",
            snapshot="last 50",
            pace="at once",
            about="executions, each exactly once, resumable for ever",
            example="fills",
        ),
        Topic(
            name="positions",
            kind=Kind.TABLE,
            row_key="id",
            kept=True,
            snapshot="all",
            pace="on change, marks at most 4/s",
            about="what is held",
            example="positions",
        ),
        Topic(
            name="balances",
            kind=Kind.TABLE,
            row_key="id",
            kept=True,
            snapshot="all",
            pace="on change, values at most 1/s",
            about="money by currency and wallet",
            example="balances",
        ),
        Topic(
            name="risk",
            kind=Kind.VALUE,
            kept=True,
            snapshot="latest",
            pace="at most 1/s, a breach at once",
            about="limits, use and headroom",
            example="risk",
        ),
        Topic(
            name="portfolio",
            kind=Kind.VALUE,
            kept=True,
            snapshot="latest",
            pace="1/s",
            about="equity and its parts",
            example="portfolio",
        ),
        Topic(
            name="bots",
            kind=Kind.TABLE,
            row_key="id",
            kept=True,
            snapshot="all",
            pace="transitions, 5 s",
            about="bots with state, counters and last decision",
            example="bots",
        ),
        Topic(
            name="bot",
            kind=Kind.VALUE,
            key="bot_id",
            snapshot="latest",
            pace="transitions, 5 s",
            about="one bot, whole",
            example="bot:b1",
        ),
        Topic(
            name="backtest",
            kind=Kind.VALUE,
            key="backtest_id",
            tier=1000,
            urgent="status",
            snapshot="latest",
            pace="at most 1/s; an end at once",
            about="progress and result of a backtest or an optimisation",
            example="backtest:bt1",
        ),
        Topic(
            name="config",
            kind=Kind.VALUE,
            kept=True,
            snapshot="latest",
            pace="on change",
            about="the configuration in force and its version",
            example="config",
        ),
        Topic(
            name="monitoring",
            kind=Kind.VALUE,
            kept=True,
            scope=ADMIN,
            snapshot="latest",
            pace="5 s",
            about="caches, connections, latencies and counts of the server",
            example="monitoring",
        ),
        Topic(
            name="events",
            kind=Kind.LOG,
            journaled=True,
            kept=True,
            options=(
                Option(name="type", form=Form.WORD, filters=True, about="only of this type"),
                _BOT,
            ),
            snapshot="last 50 (the newest, 768 KiB in all)",
            pace="at once",
            about="audit: who did what, with the outcome",
            example="events?type=halt",
        ),
        Topic(
            name="alerts",
            kind=Kind.LOG,
            journaled=True,
            kept=True,
            options=(_LEVEL,),
            newest=1000,
            open_field="acked_by",
            snapshot="not acknowledged (the newest 1,000, 768 KiB in all)",
            pace="at once",
            about="what a person should look at; an acknowledged one is sent again with `acked_by`",
            example="alerts?level=error",
        ),
        Topic(
            name="logs",
            kind=Kind.LOG,
            scope=ADMIN,
            tier=100,
            options=(
                _LEVEL,
                Option(name="component", form=Form.WORD, filters=True, about="only of this part"),
            ),
            newest=100,
            snapshot="last 100",
            pace="batched 100 ms",
            about="structured lines of the server",
            example="logs?level=warning",
        ),
        Topic(
            name="status",
            kind=Kind.VALUE,
            kept=True,
            snapshot="latest",
            pace="transitions",
            about="health, venues, trading state",
            example="status",
        ),
    )
}
"""All topics by name (functional specification, section 6)."""

WHOLE = frozenset({"signals", "bots", "bot", "backtest", "config", "monitoring", "logs", "status"})
"""Topics of the whole server; all others have one stream per account."""

Options = tuple[tuple[str, str], ...]
"""Options as they stand in a canonical name: sorted by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A parsed name.

    Attributes:
        options: Those of the canonical name, sorted.
        rate: Tier [ms] at which it is sent at most; 0 = at once.
        depth: Levels a side; 0 where there is none.
        name: The canonical text.
        base: Name of what feeds it, without the options that are only another view of the same,
            e.g. `ticker:BTC/USDT`, `ohlcv:BTC/USDT?timeframe=5m`, `fills`.
    """

    topic: str
    key: str | None = None
    venue: str | None = None
    options: Options = ()
    rate: int = 0
    depth: int = 0
    name: str
    base: str

    @property
    def spec(self) -> Topic:
        """The row of the table."""
        return TOPICS[self.topic]

    @property
    def kind(self) -> Kind:
        """The class."""
        return self.spec.kind

    @property
    def row_key(self) -> str | None:
        """Field that identifies a row; None unless it is a table."""
        return self.spec.row_key

    @property
    def journaled(self) -> bool:
        """Whether it is a log that survives a restart."""
        return self.spec.journaled

    @property
    def scope(self) -> str:
        """`read` or `admin`."""
        return self.spec.scope

    @property
    def star(self) -> bool:
        """Whether it stands for all symbols."""
        return self.key == ALL

    @property
    def group(self) -> Decimal | None:
        """Price step of a grouped order book."""
        text = dict(self.options).get("group")
        return None if text is None else Decimal(text)


NO_IDS: Mapping[str, Container[str]] = {}
_WHERE = {"symbol": "market.list", "bot_id": "bot.list", "backtest_id": "backtest.list"}
Groups = Callable[[str], Collection[str]]
"""Gives the price steps offered for a symbol."""

Studies = Callable[[str, Mapping[str, str]], Mapping[str, str]]
"""Gives the parameters of an indicator their canonical text, without those that are the default."""

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_STEP = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
LONGEST = 200
"""Characters of a name at most."""


def no_groups(_symbol: str) -> Collection[str]:
    """Offer no price steps: what `parse` assumes when it is not told."""
    return ()


def no_studies(name: str, _given: Mapping[str, str]) -> Mapping[str, str]:
    """Offer no indicators: what `parse` assumes when it is not told."""
    raise invalid("name", f"no indicator '{name}'")


def parse(
    name: str,
    symbols: Container[str],
    *,
    groups: Groups = no_groups,
    studies: Studies = no_studies,
    venues: Container[str] = (),
    first: str = "",
    timeframes: Collection[str] = TIMEFRAMES,
    ids: Mapping[str, Container[str]] = NO_IDS,
) -> Channel:
    """Read a channel's name as a client wrote it.

    Args:
        name: At most `LONGEST` characters.
        symbols: Known symbols.
        groups: Price steps offered for a symbol, as strings.
        studies: Reads the parameters of an indicator.
        venues: Ids that may stand behind `@`: empty unless several accounts are configured.
        first: The one of them that is meant without `@`; the canonical name leaves it out.
        timeframes: Those offered by the venue.
        ids: Known ids by what they are ids of, e.g. `bot_id`.

    Raises:
        Refused: `unknown_channel` for an unknown topic, symbol, id or venue; `venue_unavailable` for a symbol while
            none is known; `invalid` for anything else, with `details.fields`.
    """
    if len(name) > LONGEST:
        raise invalid("channel", f"longer than {LONGEST} characters")
    front, mark, query = name.partition("?")
    front, at, venue = front.partition("@")
    head, colon, key = front.partition(":")
    topic = TOPICS.get(head)
    if topic is None:
        near = difflib.get_close_matches(head, TOPICS, 1)
        hint = f"did you mean '{near[0]}'?" if near else 'try {"op":"help","about":"channels"}'
        raise Refused(Code.UNKNOWN_CHANNEL, f"no topic '{head}'; {hint}")
    if at and venue not in venues:
        raise Refused(Code.UNKNOWN_CHANNEL, f"no venue '{venue}' to choose; leave '@{venue}' out")
    if at and head in WHOLE:
        raise Refused(
            Code.UNKNOWN_CHANNEL, f"'{head}' is of the whole server; leave '@{venue}' out"
        )
    if venue == first:
        at = venue = ""
    _check_key(topic, key if colon else None, {"symbol": symbols, **ids})
    given = _split(topic, query) if mark else {}
    values: dict[str, str] = {}
    for option in topic.options:
        text = given.get(option.name, option.default)
        if text is not None:
            values[option.name] = _value(option, text, key, symbols, groups, timeframes)
    shown = {
        o.name: values[o.name] for o in topic.options if o.name in values and _shown(o, values)
    }
    feeds = {o.name for o in topic.options if o.feed}
    if topic.studied:
        own = {name: text for name, text in given.items() if name not in values}
        parameters = studies(values["name"], own)
        shown.update(parameters)
        feeds.update(parameters)
    options = tuple(sorted(shown.items()))
    return Channel(
        topic=head,
        key=key if colon else None,
        venue=venue if at else None,
        options=options,
        rate=int(values["rate"]) if "rate" in values else topic.tier,
        depth=int(values.get("depth", 0)),
        name=front + at + venue + _query(options),
        base=front + at + venue + _query(tuple(pair for pair in options if pair[0] in feeds)),
    )


def _shown(option: Option, values: Mapping[str, str]) -> bool:
    return option.shown or values[option.name] != option.default


def _query(options: Options) -> str:
    return "?" + "&".join(f"{name}={value}" for name, value in options) if options else ""


def _check_key(topic: Topic, key: str | None, known: Mapping[str, Container[str]]) -> None:
    if topic.key is None:
        if key is not None:
            raise invalid("channel", f"'{topic.name}' takes nothing behind ':'")
    elif not key:
        raise invalid("channel", f"'{topic.name}' needs a {topic.key}, e.g. '{topic.example}'")
    elif key == ALL and topic.star:
        return
    elif key not in known.get(topic.key, ()):
        if topic.key == "symbol":
            _check_open(known["symbol"])
        noun = "market" if topic.key == "symbol" else topic.name
        raise Refused(
            Code.UNKNOWN_CHANNEL, f'no {noun} \'{key}\'; try {{"op":"{_WHERE[topic.key]}"}}'
        )


def _check_open(symbols: Container[str]) -> None:
    """Refuse to judge a symbol while none is known: who is told that there is no such channel would not come back."""
    if isinstance(symbols, Sized) and not len(symbols):
        raise Refused(
            Code.VENUE_UNAVAILABLE, "the account is not open: no market is known yet", retry_after=5
        )


def _split(topic: Topic, query: str) -> dict[str, str]:
    known = [option.name for option in topic.options]
    given: dict[str, str] = {}
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if not name:
            raise invalid("channel", f"an option without a name in '?{query}'")
        if name not in known and not topic.studied:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known) or 'none'}"
            raise invalid(name, f"'{topic.name}' has no such option; {hint}")
        if not equals or not value:
            raise invalid(name, "needs a value, as in 'option=value'")
        if name in given:
            raise invalid(name, "given twice")
        given[name] = value
    return given


def _value(
    option: Option,
    text: str,
    key: str,
    symbols: Container[str],
    groups: Groups,
    timeframes: Collection[str],
) -> str:
    """Check the value of an option and round it up to what is offered."""
    match option.form:
        case Form.RATE:
            return _round_up(option.name, text, RATES, "ms")
        case Form.DEPTH:
            return _round_up(option.name, text, DEPTHS, "levels")
        case Form.GROUP:
            return _step(option.name, text, groups(key))
        case Form.TIMEFRAME:
            return _one_of(option.name, text, timeframes)
        case Form.LEVEL:
            return _one_of(option.name, text, LEVELS)
        case Form.SYMBOL:
            if text not in symbols:
                _check_open(symbols)
                raise invalid(option.name, f"no market '{text}'")
            return text
        case Form.WORD:
            if not _WORD.fullmatch(text):
                raise invalid(option.name, "1 to 64 characters of A-Z a-z 0-9 . _ - are allowed")
            return text
        case _:
            assert_never(option.form)


def _round_up(name: str, text: str, offered: tuple[int, ...], unit: str) -> str:
    lowest = min(offered)
    number = int(text) if _NUMBER.fullmatch(text) else -1
    if number < min(lowest, 1):
        raise invalid(name, f"'{text}' is not a number of {unit}")
    for value in offered:
        if number <= value:
            return str(value)
    raise invalid(name, f"{number} {unit} is above the largest offered, {max(offered)} {unit}")


def _step(name: str, text: str, offered: Collection[str]) -> str:
    if _STEP.fullmatch(text):
        for step in offered:
            if Decimal(step) == Decimal(text):
                return step
    raise invalid(name, f"'{text}' is not one of the steps offered: {', '.join(offered) or 'none'}")


def _one_of(name: str, text: str, offered: Collection[str]) -> str:
    if text not in offered:
        raise invalid(name, f"'{text}' is not one of {', '.join(offered)}")
    return text
