"""The markets of an exchange, read without holding the event loop.

Rules of this file:
1 What ccxt makes of a listing is worked out in a thread, by an instance that is made for one reading and sends nothing;
  what it asks for is asked by the instance whose reading it is, on the loop, in its turn and heard by its hooks.
2 One reading serves every instance at the exchange: each takes the same tables over, all at once (`Reading.share`).
3 The thread gives way: the interpreter may switch at every object that it parses, and a reading that nobody waits for
  rests between short bursts, so that the loop does not have to fight for each of its steps.

Why so: ccxt turns 3,000 markets into its own in about a second, in one piece; cancels and the kill switch have 100 and
250 ms (promises O7, O8).
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from time import perf_counter, sleep
from typing import Any, Final

from realtime.venues.ccxt import markets as listing
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.exchange import Hooks, Sent, bare, make


LONG: Final = 20_000
"""Characters of an answer from which on it is parsed in pieces."""
BURST_S: Final = 0.001
"""How long a reading that nobody waits for works without a rest [s]."""
REST_S: Final = 0.002
"""How long it rests then [s]."""
SIBLINGS: Final = 12
"""Steps of a loop in which what follows from an answer reaches those who wait for it, or asks again."""
TABLES: Final = (
    "markets",
    "markets_by_id",
    "symbols",
    "ids",
    "currencies",
    "currencies_by_id",
    "baseCurrencies",
    "quoteCurrencies",
    "codes",
)
"""What ccxt keeps of a listing, but for its options."""
OWN: Final = frozenset({"timeDifference"})
"""Options that are an instance's own, though ccxt may set them while it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one reading has come to.

    Attributes:
        listed: Markets of the exchange, whether wanted or not.
        read: Ours.
        tables: ccxt's, by the name of its attribute.
        options: Options that ccxt has set while it read, because its module for this exchange looks there.
        mode: ccxt's `precisionMode`.
    """

    listed: int
    read: listing.Read
    tables: Mapping[str, Any]
    options: Mapping[str, Any]
    mode: int = listing.TICK_SIZE

    def share(self, exchange: Any) -> None:
        """Let an instance of the same exchange know these markets, and no others."""
        for name, table in self.tables.items():
            setattr(exchange, name, table)
        exchange.options.update(self.options)

    def keeping(self, rows: Mapping[str, Any]) -> "Reading":
        """Give this reading with ccxt's rows, by symbol, of markets that are listed no more."""
        kept = {symbol: row for symbol, row in rows.items() if symbol not in self.tables["markets"]}
        if not kept:
            return self
        by_id = dict(self.tables["markets_by_id"])
        for row in kept.values():
            # Behind what is listed: a perpetual may have the id of the spot market that is gone.
            by_id[row["id"]] = [*by_id.get(row["id"], ()), row]
        changed = {"markets": {**self.tables["markets"], **kept}, "markets_by_id": by_id}
        return replace(self, tables={**self.tables, **changed})


class Stopped(Exception):
    """Nobody wants the reading any more."""


class Pace:
    """How a thread works.

    Args:
        gentle: Whether it rests between bursts.
    """

    def __init__(self, *, gentle: bool) -> None:
        self._gentle = gentle
        self._since = perf_counter()
        self.stopped = False

    def step(self) -> None:
        """Give way, if it is time to.

        Raises:
            Stopped: It is of no use to go on.
        """
        if self.stopped:
            raise Stopped
        if self._gentle and perf_counter() - self._since > BURST_S:
            sleep(REST_S)
            self._since = perf_counter()


@dataclass(slots=True)
class Ask:
    """A request of the instance in the thread.

    Attributes:
        url, method, headers, body: As ccxt has signed it.
        path, api, cost: ccxt's names of the endpoint and its group, and what it costs.
        answered: Takes the answer, in the thread.
    """

    url: str
    method: str
    headers: Mapping[str, str] | None
    body: Any
    path: str
    api: Sequence[str]
    cost: float
    answered: asyncio.Future[Sent]


@dataclass(slots=True)
class _About:
    """What is known of a request before it is made."""

    path: str = ""
    api: Sequence[str] = ()
    cost: float = 1.0


_ABOUT: ContextVar[_About | None] = ContextVar("about", default=None)


class _Noting(Hooks):
    """Notes what the way out will ask about a request."""

    @contextmanager
    def asking(self, path: str, api: Sequence[str]) -> Iterator[None]:
        token = _ABOUT.set(_About(path, api))
        try:
            yield
        finally:
            _ABOUT.reset(token)

    async def turn(self, cost: float) -> None:
        about = _ABOUT.get()
        if about is not None:
            about.cost = cost


class _Away:
    """Put before the class of an exchange that has others ask for it."""

    pace: Pace
    asks: list[Ask]

    async def fetch(
        self, url: str, method: str = "GET", headers: Any = None, body: Any = None
    ) -> Any:
        about = _ABOUT.get() or _About()
        answered: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        self.asks.append(
            Ask(url, method, headers, body, about.path, about.api, about.cost, answered)
        )
        sent = await answered
        exchange: Any = self
        status, told = sent.status, dict(sent.headers)
        text = exchange.on_rest_response(
            status, sent.reason, url, method, told, sent.text or "", headers, body
        )
        parsed = self.parse_json(text)
        exchange.handle_errors(status, sent.reason, url, method, told, text, parsed, headers, body)
        exchange.handle_http_status_code(status, sent.reason, url, method, text)
        return text if parsed is None else parsed

    def parse_json(self, http_response: Any) -> Any:
        """As ccxt's; a long one with a hook in Python at each object, where the interpreter may switch."""
        if not isinstance(http_response, str) or len(http_response) < LONG:
            parent: Any = super()
            return parent.parse_json(http_response)
        if http_response[0] not in "{[":
            return None
        pace = self.pace

        def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            pace.step()
            return dict(pairs)

        with suppress(ValueError):
            return json.loads(http_response, object_pairs_hook=members)
        return None

    def deep_extend(self, *parts: Any) -> Any:
        """As ccxt's, which calls it for each market."""
        self.pace.step()
        parent: Any = super()
        return parent.deep_extend(*parts)

    def safe_currency_code(self, *given: Any) -> Any:
        """As ccxt's, which calls it for each side of a market."""
        self.pace.step()
        parent: Any = super()
        return parent.safe_currency_code(*given)


@dataclass(slots=True)
class Aside:
    """Reads the markets of an exchange.

    Attributes:
        exchange: Sends for it; as of `make`.
        account: Names exchange, types, symbols and endpoint.
        config: ccxt's, with which that instance was made.
        executor: Whose threads work; None is the loop's own.
    """

    exchange: Any
    account: Account
    config: Mapping[str, Any] = field(default_factory=dict)
    executor: Executor | None = None

    async def read(self, *, gentle: bool) -> Reading:
        """Read them.

        Args:
            gentle: Whether nobody waits for it.

        Raises:
            ccxt.BaseError: No answer, or a refusal.
        """
        loop = asyncio.get_running_loop()
        pace = Pace(gentle=gentle)
        thread = _Thread(pace)
        flying: dict[asyncio.Task[Sent], Ask] = {}
        step: Callable[[], list[Ask] | Reading] = partial(thread.begin, self.account, self.config)
        try:
            while True:
                working = loop.run_in_executor(self.executor, step)
                working.add_done_callback(_heard)
                found = await asyncio.shield(working)
                if isinstance(found, Reading):
                    return found
                for ask in found:
                    flying[loop.create_task(self._bring(ask), name=f"GET {ask.path}")] = ask
                done, _ = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                step = partial(thread.go_on, [(flying.pop(task), task) for task in done])
        finally:
            pace.stopped = True
            for task in flying:
                task.cancel()
            # Behind the step that is at work, if there is one.
            ending = loop.run_in_executor(self.executor, thread.end)
            ending.add_done_callback(_heard)

    async def _bring(self, ask: Ask) -> Sent:
        exchange = self.exchange
        with exchange.hooks.asking(ask.path, ask.api):
            await exchange.throttle(ask.cost)
            return await bare(exchange, ask.url, ask.method, ask.headers, ask.body)


def _heard(working: "asyncio.Future[Any]") -> None:
    """Take note of an error that nobody waits for any more."""
    if not working.cancelled():
        working.exception()


class _Thread:
    """The side of a reading that works: a loop of its own, which runs from one request to the next.

    Args:
        pace: How it works.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading: asyncio.Task[Reading] | None = None
        self._asks: list[Ask] = []
        # How many were asked and have no answer yet.
        self._open = 0
        self._lock = Lock()

    def begin(self, account: Account, config: Mapping[str, Any]) -> list[Ask] | Reading:
        """Work up to the first requests."""
        with self._lock:
            self._loop = asyncio.new_event_loop()
            self._reading = self._loop.create_task(self._read(account, config))
            return self._work()

    def go_on(self, answers: Sequence[tuple[Ask, "asyncio.Task[Sent]"]]) -> list[Ask] | Reading:
        """Take answers, and work up to the next requests or to the end."""
        with self._lock:
            self._open -= len(answers)
            for ask, task in answers:
                if ask.answered.done():
                    continue  # one that was made beside it has failed
                error = task.exception()
                if error is not None:
                    ask.answered.set_exception(error)
                else:
                    ask.answered.set_result(task.result())
            return self._work()

    def end(self) -> None:
        """Let nothing of it stay."""
        with self._lock:
            if self._loop is None or self._reading is None:
                return
            # The reading, and what it has asked beside a request that failed.
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.close()
            self._loop = self._reading = None

    def _work(self) -> list[Ask] | Reading:
        assert self._loop is not None
        assert self._reading is not None
        self._loop.run_until_complete(self._until_asked(self._reading))
        if self._reading.done():
            return self._reading.result()
        asks, self._asks[:] = list(self._asks), ()
        self._open += len(asks)
        return asks

    async def _until_asked(self, reading: "asyncio.Task[Reading]") -> None:
        """Let it go on until it waits for answers alone, or is done."""
        for _ in range(SIBLINGS):
            await asyncio.sleep(0)
        # What it waits for otherwise, such as a pause of its own, nobody tells.
        while not (self._asks or self._open or reading.done()):  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def _read(self, account: Account, config: Mapping[str, Any]) -> Reading:
        exchange = make(
            account.exchange,
            hooks=_Noting(),
            config=config,
            endpoint=account.endpoint,
            sandbox=account.sandbox,
        )
        base: Any = type(exchange)
        exchange.__class__ = type(
            base.__name__, (_Away, base), {"pace": self._pace, "asks": self._asks}
        )
        before = deepcopy(exchange.options)
        rows = await exchange.load_markets(True)
        prices: dict[str, float] | None = None
        digits = exchange.precisionMode == listing.SIGNIFICANT_DIGITS
        if digits and exchange.has.get("fetchTickers") in {True, "emulated"}:
            answer = await exchange.fetch_tickers()
            lasts = {symbol: row.get("last") for symbol, row in answer.items()}
            prices = {symbol: last for symbol, last in lasts.items() if isinstance(last, float)}
        found = listing.read(
            rows if isinstance(rows, Mapping) else {},
            mode=exchange.precisionMode,
            types=account.types,
            symbols=account.symbols,
            prices=prices,
            step=self._pace.step,
        )
        return Reading(
            listed=len(rows or ()),
            read=found,
            tables={name: getattr(exchange, name) for name in TABLES},
            options={
                name: value
                for name, value in exchange.options.items()
                if name not in OWN and (name not in before or before[name] != value)
            },
            mode=exchange.precisionMode,
        )
