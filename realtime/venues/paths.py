"""The efficient price of the embedded market: a function of (seed, symbol, time), with random access.

The logarithm of the price is pinned at day boundaries; inside a day it is a Brownian bridge, found by
halving the interval again and again, each middle displaced by a number that belongs to that middle alone.
So history, a restart and the running market agree, and nobody stores anything. Floats: private to the
generator (trading document, M1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

from realtime.engine.bars import DAY, HOUR, MINUTE
from realtime.venues.chance import bell, key_of, mix


OCTAVES = 9
"""Waves of 1 to 256 days make the level wander and come back."""
HALVINGS = 20
"""A day halved 20 times leaves 82 ms."""
ENDS = 17
"""Halvings at which history ends its bars: 0.7 s, a hundredth of a per cent of the price."""
KEPT = 2_000
"""Days whose levels are kept."""
REGIME_HOURS = 6
CALM, WILD = 0.7, 1.8
JUMPS_PER_HOUR = 1 / 48


def lattice(key: int, octave: int, index: int) -> float:
    """The pinned number of one point of one wave."""
    return bell(mix(key ^ mix((octave << 48) ^ (index & 0xFFFFFFFFFFFF))))


def wave(key: int, octave: int, at: float) -> float:
    """A wave between its pinned points."""
    index = int(at // 1)
    share = at - index
    return lattice(key, octave, index) * (1 - share) + lattice(key, octave, index + 1) * share


class Walk:
    """One log-price without a base, e.g. what all symbols have in common."""

    __slots__ = (
        "_bits",
        "_days",
        "_key",
        "_newest",
        "_pins",
        "_regime",
        "_sigma",
        "_stack",
        "_wild",
    )

    def __init__(self, sigma: float, *names: object) -> None:
        """Make the walk.

        Args:
            sigma: Deviation of a day's move, as a logarithm.
            names: Seed and names.
        """
        self._key = key_of(*names)
        self._sigma = sigma
        # What was asked for last, and the answer: all symbols ask for the common walk at the same times.
        self._newest = (-1, 0, 0.0)
        # The intervals down to the newest time asked for: the next one shares most of them.
        self._stack: list[tuple[int, float, float]] = []
        # Days share the points of their waves, and history asks for each day from both its sides.
        self._pins: dict[tuple[int, int], float] = {}
        self._days: dict[int, float] = {}
        # The hour last asked for: whether it is a wild one, and the bits of its jump.
        self._wild = (-1, False)
        self._bits = (-1, 0)
        # The pins between which the regime was last asked for.
        self._regime = (-1, 0.0, 0.0)

    def level(self, day: int) -> float:
        """The pinned value at the start of a day since 1970."""
        found = self._days.get(day)
        if found is None:
            if len(self._days) >= KEPT:
                self._days.clear()
                self._pins.clear()
            waves = (self._wave(octave, day) * sqrt(1 << octave) for octave in range(OCTAVES))
            found = self._days[day] = self._sigma / 2 * sum(waves)
        return found

    def _wave(self, octave: int, day: int) -> float:
        index = day >> octave
        share = day / (1 << octave) - index
        return self._pin(octave, index) * (1 - share) + self._pin(octave, index + 1) * share

    def _pin(self, octave: int, index: int) -> float:
        found = self._pins.get((octave, index))
        if found is None:
            found = self._pins[octave, index] = lattice(self._key, octave, index)
        return found

    def wild(self, ts: int) -> bool:
        """Whether `ts` [ns] lies in a time of high volatility; such times last hours."""
        at = ts / (REGIME_HOURS * HOUR)
        index = int(at // 1)
        if self._regime[0] != index:
            pins = lattice(self._key, 40, index), lattice(self._key, 40, index + 1)
            self._regime = (index, *pins)
        _, left, right = self._regime
        share = at - index
        return left * (1 - share) + right * share > 0.5

    def at(self, ts: int, halvings: int = HALVINGS) -> float:
        """The value at `ts` [ns]; with fewer `halvings` a straight line between coarser points."""
        newest = self._newest
        if newest[0] != ts or newest[1] != halvings:
            newest = self._newest = (ts, halvings, self._find(ts, halvings))
        return newest[2]

    def _find(self, ts: int, halvings: int) -> float:
        day, inside = divmod(ts, DAY)
        if not inside:
            return self.level(day) + self._jump(ts)
        stack = self._stack
        if not stack or stack[0][0] != day:
            stack[:] = [(day, self.level(day), self.level(day + 1))]
        # From below: an interval that is still the right one lies in all those above it.
        known = min(len(stack) - 1, halvings)
        while known and stack[known][0] != (inside << known) // DAY:
            known -= 1
        if known < halvings:
            del stack[known + 1 :]
        for depth in range(known + 1, halvings + 1):
            index, beyond = divmod(inside << depth, DAY)
            _, left, right = stack[depth - 1]
            middle = (left + right) / 2 + self._displacement(day, depth, index | 1, ts)
            stack.append((index, middle, right) if index & 1 else (index, left, middle))
            if not beyond:
                return stack[depth][1] + self._jump(ts)
        _, left, right = stack[halvings]
        share = (inside << halvings) % DAY / DAY
        return left + (right - left) * share + self._jump(ts)

    def _wild_hour(self, hour: int) -> bool:
        if self._wild[0] != hour:
            self._wild = (hour, self.wild(hour * HOUR))
        return self._wild[1]

    def _displacement(self, day: int, depth: int, index: int, ts: int) -> float:
        # Deviation of a bridge's middle: half the root of its length.
        size = self._sigma / 2 / sqrt(1 << (depth - 1))
        # Intervals longer than an hour know no regime: it would tear the path at the hour.
        if depth > 5:
            size *= WILD if self._wild_hour(ts // HOUR) else CALM
        return size * bell(mix(self._key ^ mix((day << 26) ^ (depth << 20) ^ (index << 40))))

    def _jump(self, ts: int) -> float:
        hour, inside = divmod(ts, HOUR)
        if self._bits[0] != hour:
            self._bits = (hour, mix(self._key ^ mix(hour ^ 0x6A756D70)))
        bits = self._bits[1]
        if (bits & 0xFFFF) / 65536 >= JUMPS_PER_HOUR:
            return 0.0
        share = inside / HOUR
        size = self._sigma / 3 * bell(mix(bits))
        # It comes at once and goes with the hour, so the pins at both ends hold.
        return size * ((1.0 if share >= (bits >> 16 & 0xFFFF) / 65536 else 0.0) - share)


@dataclass(frozen=True, slots=True)
class Candle:
    """A bar in floats."""

    open: float
    high: float
    low: float
    close: float
    volume: float


class Path:
    """The price of one symbol.

    Args:
        base: Price it wanders about [quote].
        beta: How much of the common walk it follows.
        sigma: Deviation of its own day's move.
        turnover: Mean volume a second [base].
        common: The walk all symbols share.
        names: Seed and symbol.
    """

    __slots__ = ("_base", "_beta", "_common", "_key", "_own", "_turnover")

    def __init__(
        self,
        *,
        base: float,
        beta: float,
        sigma: float,
        turnover: float,
        common: Walk,
        names: Sequence[object],
    ) -> None:
        self._base = log(base)
        self._beta = beta
        self._common = common
        self._own = Walk(sigma, *names, "own")
        self._key = key_of(*names, "volume")
        self._turnover = turnover

    def price(self, ts: int, halvings: int = HALVINGS) -> float:
        """The efficient price at `ts` [ns]."""
        common, own = self._common.at(ts, halvings), self._own.at(ts, halvings)
        return exp(self._base + self._beta * common + own)

    def wild(self, ts: int) -> bool:
        """Whether the market is nervous at `ts` [ns]."""
        return self._common.wild(ts) or self._own.wild(ts)

    def traded(self, ts: int) -> float:
        """Volume from 1970 to `ts` [ns] that history shows; rises, and adds up over any intervals."""
        minutes = ts / MINUTE
        # Each wave is steeper than -1/4 nowhere (a bell is below 3.47), so together they never fall.
        waves = sum(
            wave(self._key, octave, minutes / (1 << octave)) * (1 << octave) * 0.06
            for octave in (0, 4, 8)
        )
        return self._turnover * 60.0 * (minutes + waves / 2)

    def candle(self, start: int, end: int, points: int) -> Candle:
        """The bar from `start` to `end` [ns], its extremes looked for at `points` times inside."""
        length = max(end - start, 1)
        # As fine as the points are apart; the ends are finer, so that bars of all lengths meet.
        halvings = min((DAY * points // length).bit_length() + 1, ENDS)
        first, last = self.price(start, ENDS), self.price(end, ENDS)
        inside = [self.price(start + length * i // points, halvings) for i in range(1, points)]
        volume = self.traded(end) - self.traded(start)
        return Candle(first, max(first, last, *inside), min(first, last, *inside), last, volume)
