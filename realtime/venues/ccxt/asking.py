"""Asking a venue by REST: what comes back, or a coded error.

Rules of this file: (1) reading changes nothing there, so a failure is never in doubt about an effect; (2) an answer
without its shape is no answer (S1): a list that ccxt made of HTML is not "there is nothing".
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from realtime.engine.bars import TIMEFRAMES, resample
from realtime.model.errors import Code, Failure, Refused, VenueRejected, invalid
from realtime.model.market import MS, Bar, Funding, Market, Ticker, Trade
from realtime.model.orders import TriggerBy
from realtime.venues.base import Now
from realtime.venues.ccxt import markets as listing, rows
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.exchange import faults, sending
from realtime.venues.ccxt.reading import Aside, Reading


DEPTH: Final = 100
"""Levels of a side taken from ccxt's books and asked for by REST."""
ANSWER_S: Final = 15.0
"""Time for one REST answer."""
RETRY_S: Final = 5.0
"""When coming back makes sense, where the venue does not say."""
PAGES: Final = 10
"""Requests for one question about bars: venues give 200 to 10,000 at once."""
RATES: Final = 100
"""Fundings asked for at once."""
SETTLED: Final = 10 * TIMEFRAMES["1m"]
"""A venue tells a funding at most so long after it fell due [ns]."""
LONGEST: Final = 200
"""Characters of a foreign error that are told."""

NO_PARAMS: Final[Mapping[str, str]] = {}

OURS: ContextVar[bool] = ContextVar("ours", default=False)
"""Whether a request is one of this file, and not one of ccxt's own for a stream."""


class Rest:
    """Questions to one exchange.

    Args:
        exchange: ccxt's.
        account: Names it.
        markets: Known markets, kept up by their owner.
        now: The time [ns].
    """

    def __init__(
        self, exchange: Any, account: Account, markets: Mapping[str, Market], now: Now
    ) -> None:
        self._exchange = exchange
        self._account = account
        self._markets = markets
        self._now = now
        self._digits = rows.Digits()

    def can(self, name: str) -> bool:
        """Whether ccxt has a call, by its name in `has`."""
        return self._exchange.has.get(name) in {True, "emulated"}

    async def read(self, aside: Aside, *, gentle: bool = False) -> Reading:
        """Read the markets that the account wants.

        Args:
            aside: Reads them.
            gentle: Whether nobody waits for it.

        Raises:
            Refused: `invalid`, the venue answered and has none of them.
            VenueRejected: No answer, or one without any market.
        """
        account = self._account
        reading: Reading = await self.ask(aside.read(gentle=gentle), seconds=4 * ANSWER_S)
        found, listed = reading.read, reading.listed
        if not found.markets:
            if listed and account.symbols:
                raise invalid(
                    "symbols", f"{account.exchange} has none of {', '.join(account.symbols)}"
                )
            if listed:
                raise invalid(
                    "types", f"{account.exchange} has no {', '.join(account.types)} market"
                )
            raise VenueRejected(
                Code.VENUE_UNAVAILABLE,
                f"{account.exchange} answered without any market",
                {"venue": account.id, "cause": "malformed"},
                retry_after=RETRY_S,
            )
        return reading

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Give bars, oldest first, as in `Venue`.

        Raises:
            Refused: `not_supported`, the venue has neither this timeframe nor a finer one.
            VenueRejected: No answer, or one that is not a list of bars.
        """
        if symbol not in self._markets:
            return ()
        own = self._exchange.timeframes or {}
        length = TIMEFRAMES[timeframe]
        if not self.can("fetchOHLCV"):
            raise Refused(Code.NOT_SUPPORTED, f"{self._account.exchange} has no bars")
        if timeframe in own:
            return await self._bars(symbol, timeframe, since, limit)
        finer = [
            name
            for name in own
            if name in TIMEFRAMES and length % TIMEFRAMES[name] == 0 and TIMEFRAMES[name] < length
        ]
        if not finer:
            raise Refused(
                Code.NOT_SUPPORTED, f"{self._account.exchange} has no bars of {timeframe}"
            )
        best = max(finer, key=TIMEFRAMES.__getitem__)
        pieces = min((limit + 1) * (length // TIMEFRAMES[best]), 5000)
        made = resample(await self._bars(symbol, best, since, pieces), timeframe)
        return made[-limit:] if since is None else made[:limit]

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar]:
        """Give the bars of a minute of a trigger price from `since` [ns] on, oldest first.

        A mark price may have been elsewhere than the last one: where the venue tells no bars of it there are none, and
        bids and asks have none anywhere.

        Raises:
            Refused: `not_supported`, the venue has no such bars.
            VenueRejected: No answer, or one that is not a list of bars.
        """
        venue, market = self._account.exchange, self._markets.get(symbol)
        params: dict[str, str] = {}
        if by is TriggerBy.MARK and market is not None and market.contract:
            params["price"] = "mark"
        elif by is not TriggerBy.LAST:
            raise Refused(Code.NOT_SUPPORTED, f"{venue} has no bars of the {by} price of {symbol}")
        can = self.can("fetchMarkOHLCV" if params else "fetchOHLCV")
        if market is None or not can or "1m" not in (self._exchange.timeframes or {}):
            raise Refused(Code.NOT_SUPPORTED, f"{venue} has no bars of a minute of {symbol}")
        limit = (self._now() - since) // TIMEFRAMES["1m"] + 2
        return await self._bars(symbol, "1m", since, limit, params)

    async def fundings(self, symbol: str, since: int) -> tuple[Sequence[Funding], int]:
        """Give what a perpetual has paid behind `since` [ns], as in `Fundings`.

        At its mark price of that time; where the venue tells no bars of it, at the last one, which differs little.

        Raises:
            Refused: `not_supported`, the venue does not tell.
            VenueRejected: No answer, or one that is not a list of rates, or no price of such a time.
        """
        if not self.can("fetchFundingRateHistory"):
            raise Refused(Code.NOT_SUPPORTED, f"{self._account.exchange} tells no past fundings")
        through, rates = self._now() - SETTLED, await self._rates(symbol, since)
        if not rates:
            return (), through
        minute, hour = TIMEFRAMES["1m"], TIMEFRAMES["1h"]
        times = sorted(rates)
        timeframe, length = ("1m", minute) if any(ts % hour for ts in times) else ("1h", hour)
        params = {"price": "mark"} if self.can("fetchMarkOHLCV") else {}
        limit = (times[-1] - times[0]) // length + 2
        bars = await self._bars(symbol, timeframe, times[0], limit, params)
        prices = {bar.ts: bar.open for bar in bars}
        if any(ts not in prices for ts in times):
            raise self._malformed("no price of a time at which funding fell due")
        return [Funding(ts=ts, mark=prices[ts], rate=rates[ts]) for ts in times], through

    async def _rates(self, symbol: str, since: int) -> dict[int, str]:
        """Give rates by time, which some venues tell some milliseconds late."""
        minute, start = TIMEFRAMES["1m"], since
        found: dict[int, str] = {}
        for _ in range(PAGES):
            answer = await self.ask(
                self._exchange.fetch_funding_rate_history(symbol, start // MS, RATES)
            )
            with self._shaped():
                page = rows.rates(answer)
            fresh = {ts // minute * minute: rate for ts, rate in page.items()}
            fresh = {ts: rate for ts, rate in fresh.items() if ts > since and ts not in found}
            found |= fresh
            if not fresh:
                break
            start = max(fresh) + minute
        return {ts: rate for ts, rate in found.items() if ts <= self._now()}

    async def _bars(
        self,
        symbol: str,
        timeframe: str,
        since: int | None,
        limit: int,
        params: Mapping[str, str] = NO_PARAMS,
    ) -> list[Bar]:
        length = TIMEFRAMES[timeframe]
        first = self._now() - limit * length if since is None else since
        found: dict[int, Bar] = {}
        start = first
        for _ in range(PAGES):
            ms = start // MS
            want = limit - len(found) + 1
            answer = await self.ask(
                self._exchange.fetch_ohlcv(symbol, timeframe, ms, want, dict(params))
            )
            with self._shaped():
                page = [bar for bar in rows.bars(answer) if bar.ts >= first - length]
            fresh = [bar for bar in page if bar.ts not in found]
            found.update((bar.ts, bar) for bar in fresh)
            if not fresh or len(found) >= limit or fresh[-1].ts + length > self._now():
                break
            start = fresh[-1].ts + length
        bars = [found[ts] for ts in sorted(found)]
        if since is None:
            return bars[-limit:]
        return [bar for bar in bars if bar.ts >= since][:limit]

    async def recent(self, symbol: str, limit: int) -> list[Trade]:
        """Give the newest public trades, oldest first, numbered as the stream numbers them; raises as `ask`."""
        params = listing.trade_params(self._account.exchange, self._markets[symbol])
        answer = await self.ask(self._exchange.fetch_trades(symbol, None, limit, dict(params)))
        with self._shaped():
            return rows.trades(answer, self._now(), self._digits)

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """Give the newest public trades, oldest first, as in `Venue`.

        Raises:
            Refused: `not_supported`.
            VenueRejected: No answer, or one that is not a list of trades.
        """
        if symbol not in self._markets:
            return ()
        if not self.can("fetchTrades"):
            raise Refused(Code.NOT_SUPPORTED, f"{self._account.exchange} tells no past trades")
        return (await self.recent(symbol, limit))[-limit:]

    async def ticker(self, symbol: str) -> Ticker:
        """Give the ticker; raises as `ask`."""
        row = await self.ask(self._exchange.fetch_ticker(symbol))
        ticker = rows.ticker(row, symbol, self._now(), self._digits, source="poll")
        if ticker is None:
            raise self._malformed("the answer is not a ticker")
        return ticker

    async def book(self, symbol: str) -> tuple[rows.Side, rows.Side]:
        """Give bids and asks, best first, about 100 levels each; raises as `ask`."""
        answer = await self.ask(self._exchange.fetch_order_book(symbol, DEPTH))
        with self._shaped():
            return rows.sides(answer, DEPTH)

    async def ask(self, call: Coroutine[Any, Any, Any], *, seconds: float = ANSWER_S) -> Any:
        """Ask ccxt for something by REST.

        Raises:
            VenueRejected: Without an answer. Reading changes nothing, so there is no doubt about an effect.
        """
        token = OURS.set(True)
        try:
            async with asyncio.timeout(seconds):
                with sending() as sent:
                    answer = await call
        except TimeoutError as error:
            raise self._unavailable("unreachable", "no answer in time") from error
        except faults() as error:
            raise self._translated(error) from error
        finally:
            OURS.reset(token)
        # HTML with status 200 becomes an empty list in ccxt, which would read as "there is nothing" (S1).
        last = (sent.text or "{").lstrip()[:1]
        if sent.unread or last not in {"{", "["}:
            raise self._malformed("the answer is not JSON")
        return answer

    def _translated(self, error: BaseException) -> Failure:
        names = {kind.__name__ for kind in type(error).__mro__}
        words = f"{type(error).__name__}: {str(error)[:LONGEST]}"
        if "NotSupported" in names:
            return Refused(Code.NOT_SUPPORTED, words)
        if "BadSymbol" in names:
            return VenueRejected(Code.NOT_FOUND, words)
        if "OnMaintenance" in names:
            return self._unavailable("maintenance", words)
        if names & {"RateLimitExceeded", "DDoSProtection"}:
            return VenueRejected(Code.RATE_LIMITED, words, retry_after=RETRY_S)
        if "NetworkError" in names or "OSError" in names:
            return self._unavailable("unreachable", words)
        return self._unavailable("malformed", words)

    def _unavailable(self, cause: str, words: str) -> VenueRejected:
        account = self._account
        return VenueRejected(
            Code.VENUE_UNAVAILABLE,
            f"{account.exchange} is {'under maintenance' if cause == 'maintenance' else cause}: {words}"
            if cause != "malformed"
            else f"{account.exchange} gave no usable answer: {words}",
            {"venue": account.id, "cause": cause},
            retry_after=RETRY_S,
        )

    def _malformed(self, words: str) -> VenueRejected:
        return self._unavailable("malformed", words)

    @contextmanager
    def _shaped(self) -> Iterator[None]:
        try:
            yield
        except rows.Shapeless as error:
            raise self._malformed(str(error)) from error
