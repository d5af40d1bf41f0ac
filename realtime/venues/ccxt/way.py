"""The way out to an exchange: who may send next, within the exchange's limits, and whether anybody should.

Rules of this file: (1) turns are given by lane, the most urgent first, and in order of arrival within a lane; of the four
that wait with patience, the one that waits longest goes after four that passed it; (2) a fifth of every window, and with
single tokens one token, is kept for cancels and protection; (3) a cancel is never dropped and never refused; (4) what
decides is pure and told the time, `Way` alone knows a loop.

Why not ccxt's own queue: it is first in, first out, and a cancel behind 30 polls was answered after 3.10 s (trading
document, V2).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Protocol

from realtime.model.durations import Durations
from realtime.model.errors import Code, Refused


class Lane(IntEnum):
    """How urgent a call is, the most urgent first."""

    CANCEL = 0
    PROTECT = 1
    EXIT = 2
    ENTRY = 3
    RECONCILE = 4
    POLL = 5


LANE: ContextVar[Lane] = ContextVar("lane", default=Lane.POLL)
"""The lane of the calls of this task; whoever calls the exchange sets it."""


@contextmanager
def lane(taken: Lane) -> Iterator[None]:
    """Put the calls made inside into a lane.

    Example: `with lane(Lane.CANCEL): await exchange.cancel_order(id, symbol)`.
    """
    token = LANE.set(taken)
    try:
        yield
    finally:
        LANE.reset(token)


RESERVED: Final = 0.2
"""Share of a window that plain lanes may not use."""
SPARE: Final = 1.0
"""Tokens that plain lanes leave in the bucket."""
PASSED: Final = 4
"""So many may pass one who waits longer."""
FAILURES: Final = 5
"""Transport failures within `FAILURES_S` that open the breaker."""
FAILURES_S: Final = 30.0
PROBE_S: Final = 5.0
"""First pause before a read may try an open breaker [s]; it doubles with every failure."""
PROBE_LOST_S: Final = 30.0
"""A probe that has not ended by then counts as lost [s]."""
BACKOFF_S: Final = 1.0
"""First pause after "too many requests" that names no time [s]."""
TOO_MANY: Final = frozenset({429, 418})
EPSILON: Final = 1e-9


# --- limits ---------------------------------------------------------------------------------------


class Limit(Protocol):
    """What the exchange stands; told the time [s]."""

    def wait(self, cost: float, now: float, *, urgent: bool) -> float:
        """Tell how long a call of this cost has to wait; 0 when it may go [s]."""

    def take(self, cost: float, now: float) -> None:
        """Note that it goes."""


class Window:
    """At most so much cost in any stretch of time.

    Args:
        seconds: Length of the stretch [s].
        most: Cost that fits into it. A call that costs more than its lane may use goes when nothing else is in it.
    """

    def __init__(self, seconds: float, most: float) -> None:
        self._seconds = seconds
        self._most = most
        self._used = 0.0
        self._gone: deque[tuple[float, float]] = deque()

    def wait(self, cost: float, now: float, *, urgent: bool) -> float:
        """Tell how long a call has to wait: until enough has left the window [s]."""
        self._forget(now)
        share = self._most if urgent else self._most * (1 - RESERVED)
        over = self._used + min(cost, share) - share
        if over <= EPSILON:
            return 0.0
        for at, paid in self._gone:
            over -= paid
            if over <= EPSILON:
                return at + self._seconds - now
        return 0.0  # rounding alone: the window is empty

    def take(self, cost: float, now: float) -> None:
        """Note that it goes."""
        paid = min(cost, self._most)
        self._gone.append((now, paid))
        self._used += paid

    def _forget(self, now: float) -> None:
        while self._gone and self._gone[0][0] + self._seconds <= now:
            self._used -= self._gone.popleft()[1]
        if not self._gone:
            self._used = 0.0


class Bucket:
    """One token every so many seconds; a call pays its cost in tokens.

    Plain calls pay before they go and leave `SPARE` behind, so that a cancel finds a token; an urgent call that costs
    more than one goes with one and owes the rest.

    Args:
        seconds: Time that makes one token [s].
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._room = self._tokens = 1.0 + SPARE
        self._at: float | None = None

    def wait(self, cost: float, now: float, *, urgent: bool) -> float:
        """Tell how long a call has to wait: until its tokens are there [s]."""
        self._fill(now)
        needed = min(cost, 1.0) if urgent else cost + SPARE
        # Room for what a dear call needs is made while it waits, and no sooner.
        self._room = max(self._room, needed)
        return (
            max(0.0, (needed - self._tokens) * self._seconds)
            if needed > self._tokens + EPSILON
            else 0.0
        )

    def take(self, cost: float, now: float) -> None:
        """Note that it goes."""
        self._fill(now)
        self._tokens -= cost
        self._room = 1.0 + SPARE

    def _fill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = max(
                self._tokens, min(self._room, self._tokens + (now - self._at) / self._seconds)
            )
        self._at = now


def limit_of(*, rate_limit_ms: float, window_ms: float) -> Limit:
    """Make the limit that ccxt describes.

    Args:
        rate_limit_ms: ccxt's `rateLimit`: time per unit of cost [ms].
        window_ms: ccxt's `rollingWindowSize`; 0 when the exchange counts no window [ms].
    """
    rate_limit_ms = max(rate_limit_ms, 0.001)
    if window_ms > 0:
        return Window(window_ms / 1000, max(1.0, window_ms / rate_limit_ms))
    return Bucket(rate_limit_ms / 1000)


# --- turns ----------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Turn:
    """One who waits; `number` is the order of arrival, `answer` belongs to who waits."""

    lane: Lane
    cost: float
    asked: float
    number: int
    answer: Any = None


class Turns:
    """Who goes next; pure, told the time [s].

    Args:
        limit: What the exchange stands.
        chance: Gives a number 0..1, for jitter.
        backoff_max_s: Longest pause of our own making [s].
    """

    def __init__(self, limit: Limit, *, chance: Callable[[], float], backoff_max_s: float) -> None:
        self._limit = limit
        self._chance = chance
        self._most_s = backoff_max_s
        self._lanes: tuple[deque[Turn], ...] = tuple(deque() for _ in Lane)
        self._number = 0
        self._passed = 0
        self._refusals = 0
        self._told_until = self._guessed_until = 0.0

    def waiting(self, lane: Lane) -> int:
        """How many wait in a lane."""
        return len(self._lanes[lane])

    def limited(self, now: float) -> bool:
        """Whether the exchange has said "too many", and the pause after it lasts."""
        return now < max(self._told_until, self._guessed_until)

    def ask(self, lane: Lane, cost: float, now: float) -> Turn:
        """Take one in who wants to send."""
        self._number += 1
        turn = Turn(lane, max(0.0, cost), now, self._number)
        self._lanes[lane].append(turn)
        return turn

    def drop(self, turn: Turn) -> None:
        """Let one go who waits no longer; one who was given a turn in the same step has used it up."""
        if turn in self._lanes[turn.lane]:
            self._lanes[turn.lane].remove(turn)

    def dismiss(self, lane: Lane) -> list[Turn]:
        """Let all of a lane go, and give them."""
        gone = list(self._lanes[lane])
        self._lanes[lane].clear()
        return gone

    def give(self, now: float) -> tuple[list[Turn], float | None]:
        """Give turns.

        Returns:
            Who may send now, in this order, and when to ask again; None when nobody waits.
        """
        given: list[Turn] = []
        while (turn := self._next()) is not None:
            urgent = turn.lane <= Lane.PROTECT
            wait = self._limit.wait(turn.cost, now, urgent=urgent)
            until = self._told_until if urgent else max(self._told_until, self._guessed_until)
            at = max(now + wait, until)
            if at > now:
                return given, at
            self._limit.take(turn.cost, now)
            self._count(turn)
            self._lanes[turn.lane].remove(turn)
            given.append(turn)
        return given, None

    def refused(self, now: float, retry_after: float | None, *, banned: bool) -> float:
        """Take the exchange's "too many requests": what it says holds for all, our guess for plain lanes.

        Args:
            now: The time [s].
            retry_after: The pause it names [s]; None when it names none.
            banned: Whether it has shut us out, so that even a cancel would prolong it.

        Returns:
            How long it pauses [s].
        """
        self._refusals += 1
        guess = min(BACKOFF_S * float(1 << min(self._refusals - 1, 16)), self._most_s)
        pause = guess * (0.5 + 0.5 * self._chance())
        self._guessed_until = max(self._guessed_until, now + pause)
        told = retry_after if retry_after is not None else pause if banned else 0.0
        self._told_until = max(self._told_until, now + told)
        return max(pause, told)

    def taken(self) -> None:
        """Take that the exchange took a call: the next pause begins small again."""
        self._refusals = 0

    def _next(self) -> Turn | None:
        for lane in (Lane.CANCEL, Lane.PROTECT):
            if self._lanes[lane]:
                return self._lanes[lane][0]
        plain = [waiting[0] for waiting in self._lanes[Lane.EXIT :] if waiting]
        if not plain:
            return None
        # One takes nothing from anybody: at Kraken, reads cost and orders do not.
        free = next((turn for turn in plain if not turn.cost), None)
        if free is not None:
            return free
        return _oldest(plain) if self._passed >= PASSED else plain[0]

    def _count(self, turn: Turn) -> None:
        if turn.lane <= Lane.PROTECT or not turn.cost:
            return
        oldest = _oldest([waiting[0] for waiting in self._lanes[Lane.EXIT :] if waiting])
        self._passed = 0 if turn is oldest else self._passed + 1


def _oldest(turns: list[Turn]) -> Turn:
    return min(turns, key=lambda turn: turn.number)


# --- breaker --------------------------------------------------------------------------------------


class Breaker:
    """Whether an exchange answers at all; pure, told the time [s].

    Open it refuses entries and reads but for one read at a time that probes; a cancel, a protective order and an exit
    always pass, and their answer closes it.

    Args:
        name: The account, for people.
        backoff_max_s: Longest pause between probes [s].
    """

    def __init__(self, name: str, *, backoff_max_s: float) -> None:
        self._name = name
        self._most_s = backoff_max_s
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._pause_s = PROBE_S
        self._probe_at = 0.0
        self._probing_since: float | None = None
        self.open = False

    def ask(self, lane: Lane, now: float) -> None:
        """Let a call pass, or not.

        Raises:
            Refused: `venue_unavailable`, with the time to try again.
        """
        if not self.open or lane <= Lane.EXIT:
            return
        probing = self._probing_since is not None and now < self._probing_since + PROBE_LOST_S
        if lane is not Lane.ENTRY and not probing and now >= self._probe_at:
            self._probing_since = now
            return
        raise Refused(
            Code.VENUE_UNAVAILABLE,
            f"{self._name} does not answer: {FAILURES} calls failed within {FAILURES_S:g} s; "
            "exits and cancels are still sent",
            {"venue": self._name},
            retry_after=round(max(1.0, self._probe_at - now), 3),
        )

    def failed(self, now: float) -> bool:
        """Take that a call got no answer; tells whether that opened it."""
        self._failures.append(now)
        if self.open:
            self._probing_since = None
            self._pause_s = min(self._pause_s * 2, max(PROBE_S, self._most_s))
            self._probe_at = now + self._pause_s
            return False
        self.open = len(self._failures) == FAILURES and now - self._failures[0] <= FAILURES_S
        if self.open:
            self._pause_s = PROBE_S
            self._probe_at = now + PROBE_S
        return self.open

    def answered(self) -> bool:
        """Take that a call was answered; tells whether that closed it."""
        was = self.open
        self.open = False
        self._failures.clear()
        self._probing_since = None
        return was


# --- the way --------------------------------------------------------------------------------------


Tell = Callable[[str, str, str, Mapping[str, object]], None]
"""Takes an alert: level, code, text, data."""


class Way:
    """Turns to send at one exchange with one key.

    Args:
        name: The account, for people.
        limit: What the exchange stands.
        loop: Its clock and timers.
        chance: Gives a number 0..1, for jitter.
        backoff_max_s: Longest pause of our own making [s].
        tell: Takes alerts.
    """

    def __init__(
        self,
        name: str,
        limit: Limit,
        *,
        loop: asyncio.AbstractEventLoop,
        chance: Callable[[], float],
        backoff_max_s: float = 30.0,
        tell: Tell = lambda _level, _code, _text, _data: None,
    ) -> None:
        self.name = name
        self._loop = loop
        self._tell = tell
        self._turns = Turns(limit, chance=chance, backoff_max_s=backoff_max_s)
        self._breaker = Breaker(name, backoff_max_s=backoff_max_s)
        self._timer: asyncio.TimerHandle | None = None
        self._waits = {lane: Durations() for lane in Lane}
        self._given = dict.fromkeys(Lane, 0)
        self._refusals = 0
        self._failures = 0

    @property
    def unavailable(self) -> bool:
        """Whether the breaker is open: entries are refused."""
        return self._breaker.open

    @property
    def limited(self) -> bool:
        """Whether a pause after "too many requests" lasts."""
        return self._turns.limited(self._loop.time())

    async def turn(self, cost: float) -> None:
        """Wait until a call of this cost may be sent; its lane is that of `LANE`.

        Raises:
            Refused: `venue_unavailable`: the exchange does not answer.
        """
        lane, now = LANE.get(), self._loop.time()
        if lane is Lane.ENTRY:
            self._breaker.ask(lane, now)  # an entry does not even wait
        turn = self._turns.ask(lane, cost, now)
        turn.answer = self._loop.create_future()
        self._give()
        try:
            await turn.answer
        except asyncio.CancelledError:
            if turn.answer.cancelled():
                self._turns.drop(turn)
            self._give()
            raise
        now = self._loop.time()
        self._breaker.ask(lane, now)
        self._given[lane] += 1
        self._waits[lane].add(now - turn.asked)

    def answered(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """Take an answer: its HTTP status says whether the exchange is there, and whether we ask too much."""
        if status in TOO_MANY:
            self._refuse(status, retry_after(headers or {}))
        elif status >= 500:
            self.failed()
            return
        if self._breaker.answered():
            self._tell("info", "venue_answers", f"{self.name} answers again", {"venue": self.name})

    def judged(self, status: int, *, too_many: bool) -> None:
        """Take what the body of an answer says, unless its status has said in `answered` what counts; 0 for no answer."""
        if not 0 < status < 500 or status in TOO_MANY:
            return
        if too_many:
            self._refuse(status, None)
        else:
            self._turns.taken()

    def failed(self) -> None:
        """Take that a call was sent and never answered."""
        self._failures += 1
        now = self._loop.time()
        if self._breaker.failed(now):
            self._dismiss_entries(now)
            self._tell(
                "error",
                "venue_unavailable",
                f"{self.name} does not answer: {FAILURES} calls failed within {FAILURES_S:g} s; "
                "entries are refused until it does",
                {"venue": self.name},
            )

    def row(self) -> dict[str, object]:
        """Show it: counts since the start, and waits of the newest turns [ms]."""
        return {
            "venue": self.name,
            "available": not self._breaker.open,
            "rate_limited": self.limited,
            "refused": self._refusals,
            "failed": self._failures,
            "lanes": {
                lane.name.lower(): {
                    "sent": self._given[lane],
                    "waiting": self._turns.waiting(lane),
                    "wait_p50_ms": waits["p50_ms"],
                    "wait_p99_ms": waits["p99_ms"],
                }
                for lane, waits in ((lane, self._waits[lane].row()) for lane in Lane)
            },
        }

    def _dismiss_entries(self, now: float) -> None:
        """Refuse those that wait: an entry of a minute ago is not what anybody wants then."""
        for turn in self._turns.dismiss(Lane.ENTRY):
            if not turn.answer.done():
                try:
                    self._breaker.ask(Lane.ENTRY, now)
                except Refused as refusal:
                    turn.answer.set_exception(refusal)

    def _refuse(self, status: int, after_s: float | None) -> None:
        self._refusals += 1
        was = self.limited
        pause = self._turns.refused(self._loop.time(), after_s, banned=status == 418)
        if not was:
            self._tell(
                "warning",
                "venue_rate_limited",
                f"{self.name} says too many requests ({status}); calls pause {pause:.1f} s, cancels go first",
                {"venue": self.name, "status": status, "pause_s": round(pause, 3)},
            )
        self._give()

    def _give(self) -> None:
        given, at = self._turns.give(self._loop.time())
        for turn in given:
            # One who was cancelled in this very step has used the turn up: nothing is sent, the limit holds.
            if not turn.answer.done():
                turn.answer.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._give()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` [s]; None when it is missing or no number of seconds."""
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                seconds = float(value)
            except ValueError:
                return None
            return seconds if 0 <= seconds < 86_400 else None
    return None
