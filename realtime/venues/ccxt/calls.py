"""What every request to an exchange passes on its way: turn, right to sign, number, and what its answer says.

Rules of this file: (1) first the turn, then the right to sign, then the signature, so that a number never grows old in a
queue; (2) a request that left and got no answer counts as a failure of the exchange, however it ended; (3) limits, unit
of the numbers and receive window are what ccxt says of the exchange, but for `COUNTERS`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from realtime.model.durations import Durations
from realtime.model.errors import VenueUnknown
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.clock import Offset, has_window
from realtime.venues.ccxt.exchange import Hooks
from realtime.venues.ccxt.keys import fingerprint
from realtime.venues.ccxt.kin import kin
from realtime.venues.ccxt.nonces import Ledger, Nonces, unit_of, wants_rising
from realtime.venues.ccxt.way import Lane, Tell, Way, lane, limit_of


T = TypeVar("T")


COUNTERS: Final[Mapping[str, float]] = {"kraken": 45_000}
"""Length of the window of signed requests where ccxt's is shorter than the exchange's counter is deep [ms].

Kraken: a counter of 15 that loses a third a second, so 45 of ccxt's units that lose one; with ccxt's window of 10 s
what a start asks for would take 12 s. The sustained rate is the same. Source: Kraken's guide to spot rate limits.
"""
PATIENCE_S: Final = 2.0
"""So long a request without an answer keeps others from signing [s].

Requests of one key must arrive in the order of their numbers. One that is lost would stop cancels until it times out; one
that still arrives behind another is refused for its number, and that is certain.
"""
TOO_MANY: Final = {"RateLimitExceeded", "DDoSProtection"}
"""Classes of ccxt for "too many requests"; Kraken and Bybit say it with status 200, Bybit with 403, too."""
UNREADABLE: Final = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError)
"""What ccxt's parsers raise at an answer of another shape."""


@dataclass(slots=True)
class Call:
    """One request.

    Attributes:
        private: Whether it is signed.
        signing: Whether it has the right to sign.
        sent: Whether it left.
        left: When it left [s of the loop].
        answered: Whether anything came back.
        status: HTTP status of the answer; 0 before.
        patience: Ends the right to sign of a request that gets no answer.
    """

    private: bool
    signing: bool = False
    sent: bool = False
    left: float = 0.0
    answered: bool = False
    status: int = 0
    patience: asyncio.TimerHandle | None = None


_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


class Asking:
    """One request, from before its turn to its end."""

    def __init__(self, calls: "Calls", call: Call) -> None:
        self._calls = calls
        self._call = call

    def __enter__(self) -> None:
        """Begin it."""
        self._token = _CALL.set(self._call)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End it: somebody else may sign, and what it says of the exchange counts."""
        _CALL.reset(self._token)
        calls, call = self._calls, self._call
        if call.sent and not call.answered:
            calls.way.failed()
        classes = {known.__name__ for known in kind.__mro__} if kind is not None else set()
        calls.way.judged(call.status, too_many=bool(classes & TOO_MANY))
        if calls.nonces is None:
            return
        if "InvalidNonce" in classes:
            calls.nonces.refused()
        calls.pass_on(call)


class Calls(Hooks):
    """Hooks that let an exchange of ccxt send when it may.

    Example:
        `calls = Calls(account, …)`, `exchange = make(account.exchange, hooks=calls, …)`; then
        `with lane(Lane.CANCEL): await exchange.cancel_order(…)`.

    Args:
        account: Whose calls.
        now: Our time [ns UTC].
        loop: Its clock and timers.
        chance: Gives a number 0..1, for jitter.
        ledger: Keeps the largest number of each key.
        tell: Takes alerts: level, code, text, data.

    Attributes:
        way: Turns of requests; known once the exchange is made. So the others.
        sockets: Turns of messages to sockets.
        nonces: Numbers of the key; None without one.
        offset: The exchange's clock; None where it does not tell its time.
        answers: How long the exchange took to answer requests, from the last byte out to the whole answer.
    """

    way: Way
    sockets: Way
    nonces: Nonces | None
    offset: Offset | None

    def __init__(
        self,
        account: Account,
        *,
        now: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
        chance: Callable[[], float],
        ledger: Ledger,
        tell: Tell,
    ) -> None:
        self._account = account
        self._now = now
        self._loop = loop
        self._chance = chance
        self._ledger = ledger
        self._tell = tell
        self._made = False
        self.answers = Durations()

    def made(self, exchange: Any) -> None:
        """Read limits, unit and window off the exchange that these hooks were given to; it has sent nothing yet."""
        account = self._account
        window_ms = float(exchange.rollingWindowSize or 0)
        if account.has_keys:
            window_ms = max(window_ms, COUNTERS.get(kin(exchange.id), 0.0))
        self.way = Way(
            account.id,
            limit_of(rate_limit_ms=float(exchange.rateLimit), window_ms=window_ms),
            loop=self._loop,
            chance=self._chance,
            backoff_max_s=account.backoff_max_s,
            tell=self._tell,
        )
        # Exchanges count what a socket is sent apart from requests; ccxt gives it the pace of one token after the other.
        self.sockets = Way(
            account.id,
            limit_of(rate_limit_ms=float(exchange.rateLimit), window_ms=0),
            loop=self._loop,
            chance=self._chance,
        )
        self.offset = None
        if exchange.has.get("fetchTime"):
            self.offset = Offset(
                account.id,
                fetch_time=lambda: fetch_time(exchange, account.id),
                now=self._now,
                window=has_window(exchange),
                tell=self._tell,
            )
        self.nonces = None
        if account.has_keys:
            self.nonces = Nonces(
                account.key,
                fingerprint(account),
                unit=unit_of(exchange.nonce()),
                rising=wants_rising(exchange),
                now=self._now,
                ledger=self._ledger,
                loop=self._loop,
                offset_ms=lambda: None if self.offset is None else self.offset.ms,
                resync=None if self.offset is None else self.offset.measure,
            )
        self._made = True

    @property
    def ready(self) -> bool:
        """Whether the exchange is made."""
        return self._made

    def check_clock(self) -> None:
        """Refuse a placement while the clock is too wrong to sign one.

        Raises:
            Refused: `venue_unavailable`, with what to do.
        """
        if self._made and self.offset is not None:
            self.offset.check()

    async def read(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Read something, and again where the exchange refused the number it was signed with; never for what acts."""
        if not self._made or self.nonces is None:
            return await ask()
        from ccxt import InvalidNonce  # noqa: PLC0415 - loaded by whoever made the exchange

        return await self.nonces.reading(ask, InvalidNonce)

    def asking(self, path: str, api: Sequence[str]) -> "Asking":  # noqa: ARG002 - the hook's shape
        """Accompany one request from before its turn to its answer."""
        return Asking(self, Call(is_private(api)))

    async def turn(self, cost: float) -> None:
        """Wait for the turn, and for the right to sign where it is needed."""
        call = _CALL.get()
        if call is None:
            await self.sockets.turn(cost)
            return
        await self.way.turn(cost)
        if call.private and self.nonces is not None:
            await self.nonces.enter()
            call.signing = True

    def nonce(self) -> int | None:
        """Give the next number of the key."""
        return self.nonces.next() if self._made and self.nonces is not None else None

    def request(self, method: str, url: str) -> None:  # noqa: ARG002 - the hook's shape
        """Note that it leaves."""
        call = _CALL.get()
        if call is not None:
            call.sent = True
            call.left = self._loop.time()
            if call.signing:
                call.patience = self._loop.call_later(PATIENCE_S, self.pass_on, call)

    def pass_on(self, call: Call) -> None:
        """Give the right to sign to the next."""
        if call.patience is not None:
            call.patience.cancel()
        if call.signing and self.nonces is not None:
            call.signing = False
            self.nonces.leave()

    def response(
        self,
        method: str,  # noqa: ARG002 - the hook's shape
        url: str,  # noqa: ARG002 - the hook's shape
        status: int,
        headers: Mapping[str, str],
        text: str,  # noqa: ARG002 - the hook's shape
    ) -> None:
        """Note its answer."""
        call = _CALL.get()
        if call is not None:
            call.answered = True
            call.status = status
            if call.sent:
                self.answers.add(self._loop.time() - call.left)
        self.way.answered(status, headers)


def is_private(api: Sequence[str]) -> bool:
    """Tell a signed group of endpoints by ccxt's name of it, such as `private` or `["v5", "private"]`."""
    parts = [api] if isinstance(api, str) else api
    return any("private" in part.lower() for part in parts)


async def reading(
    ask: Callable[[], Awaitable[T]], name: str, redact: Callable[[str], str] = str
) -> T:
    """Read something once.

    Args:
        ask: Calls ccxt.
        name: The account, for people.
        redact: Takes secrets out of what ccxt says.

    Raises:
        VenueUnknown: It failed; `details.classes` names ccxt's class of error and its parents.
    """
    from ccxt import BaseError  # noqa: PLC0415 - loaded by whoever made the exchange

    try:
        with lane(Lane.RECONCILE):
            return await ask()
    except UNREADABLE as error:
        raise VenueUnknown(
            f"{name} answered with something unreadable ({type(error).__name__})",
            {"classes": ["BadResponse"]},
        ) from error
    except BaseError as error:
        classes = [kind.__name__ for kind in type(error).__mro__]
        raise VenueUnknown(
            f"{name}: {classes[0]}: {redact(str(error))[:300]}", {"classes": classes}
        ) from error


async def fetch_time(exchange: Any, name: str) -> int | None:
    """Ask an exchange for its time [ms].

    Args:
        exchange: An instance of ccxt's.
        name: The account, for people.

    Raises:
        VenueUnknown: It did not tell.
    """
    told = await reading(exchange.fetch_time, name)
    return int(told) if isinstance(told, int | float) and told > 0 else None


def nonce_row(accounts: Sequence[Calls]) -> dict[str, object]:
    """Make the result of `monitoring.nonce` without its uptime (functional specification, F15).

    Args:
        accounts: The calls of every account; those without a key are left out.
    """
    keyed = [calls for calls in accounts if calls.ready and calls.nonces is not None]
    keys = [calls.nonces for calls in keyed if calls.nonces is not None]
    recent = sorted(
        (row for nonces in keys for row in nonces.recent), key=lambda row: str(row["ts"])
    )
    return {
        "total_nonces_issued": sum(nonces.issued for nonces in keys),
        "keys": [nonces.row() for nonces in keys],
        "recent": recent[-10:],
        "rate_limiting_active": any(calls.way.limited for calls in keyed),
    }
