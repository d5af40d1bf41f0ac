"""The efficient price of the embedded market: a function of (seed, symbol, time), with random access.

The logarithm of the price is pinned at day boundaries; inside a day it is a Brownian bridge, found by
halving the interval again and again, each middle displaced by a number that belongs to that middle alone.
So history, a restart and the running market agree, and nobody stores anything. Floats: private to the
generator (trading document, M1).

A long bar is looked at in few places, and its minutes in others, which may lie above its high. So the high and low of a
long bar bound all that is finer inside it: what would go beyond is thrown back (`LEVELS`), and bars of all lengths agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import NamedTuple

from realtime.engine.bars import DAY, HOUR, MINUTE
from realtime.venues.chance import bell, key_of, mix


OCTAVES = 9
"""Waves of 1 to 256 days make the level wander and come back."""
HALVINGS = 20
"""A day halved 20 times leaves 82 ms."""
SAMPLED = 17
"""Halvings at which history looks: 0.7 s, a hundredth of a per cent of the price."""
LEVELS = (
    (DAY, HOUR),
    (DAY // 2, HOUR),
    (2 * HOUR, HOUR // 2),
    (HOUR, 10 * MINUTE),
    (HOUR // 4, 5 * MINUTE),
    (5 * MINUTE, MINUTE),
    (MINUTE, MINUTE // 4),
)
"""Bars that are looked at, and how far apart [ns]; each lies in one of the level before, and has its places, too."""
RANGES_KEPT = 2_048
"""Bars of each level whose extremes are kept."""
KEPT = 2_000
"""Days whose levels are kept, and times of history whose values are."""
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
        "_sampled",
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
        # Bars of all lengths and of all symbols look at the same times of history.
        self._sampled: dict[int, float] = {}
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
        if halvings == SAMPLED:
            found = self._sampled.get(ts)
            if found is None:
                if len(self._sampled) >= KEPT:
                    self._sampled.clear()
                found = self._sampled[ts] = self._find(ts, halvings)
            return found
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
            middle = (left + right) / 2 + self._displacement(day, depth, index | 1)
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

    def _displacement(self, day: int, depth: int, index: int) -> float:
        # Deviation of a bridge's middle: half the root of its length.
        size = self._sigma / 2 / sqrt(1 << (depth - 1))
        # Intervals longer than an hour know no regime: it would tear the path at the hour.
        if depth > 5:
            # The middle's hour, whoever asks: its interval may reach over the end of one.
            hour = 24 * day + (24 * index >> depth)
            size *= WILD if self._wild_hour(hour) else CALM
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
    """A bar in floats.

    Attributes:
        before, until: Volume from 1970 to its start and to its end [base]: on a grid those of short bars add up.
    """

    open: float
    high: float
    low: float
    close: float
    before: float
    until: float


class Logs(NamedTuple):
    """A bar of logarithms."""

    open: float
    high: float
    low: float
    close: float


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

    __slots__ = ("_base", "_beta", "_common", "_key", "_own", "_ranges", "_turnover", "looked")

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
        self._ranges: tuple[dict[int, Logs], ...] = tuple({} for _ in LEVELS)
        self.looked = 0
        """Places of history looked at so far: what a bar costs."""

    def price(self, ts: int) -> float:
        """The efficient price at `ts` [ns]."""
        return exp(self._log(ts, HALVINGS, len(LEVELS) - 1))

    def _log(self, ts: int, halvings: int, levels: int) -> float:
        """The logarithm of the price, within the bars of the first `levels` in which `ts` [ns] lies."""
        value = self._base + self._beta * self._common.at(ts, halvings) + self._own.at(ts, halvings)
        for level in range(levels):
            index, inside = divmod(ts, LEVELS[level][0])
            if not inside:
                break  # where a bar ends all finer ones do, and it is one of the places looked at
            bar = self._ranges[level].get(index) or self._look(level, index)
            if not bar.low <= value <= bar.high:
                value = thrown_back(value, bar.low, bar.high)
        return value

    def _look(self, level: int, index: int) -> Logs:
        """A bar of a level, from the places where it is looked at."""
        known = self._ranges[level]
        length, step = LEVELS[level]
        start = index * length
        values = [self._log(at, SAMPLED, level) for at in range(start, start + length + step, step)]
        self.looked += len(values)
        if len(known) >= RANGES_KEPT:
            known.clear()
        bar = known[index] = Logs(values[0], max(values), min(values), values[-1])
        return bar

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

    def candle(self, start: int, end: int) -> Candle:
        """The bar from `start` to `end` [ns]; bars that follow each other fold to the bar over all of them."""
        bars, at = [], start
        while at < end:
            for level, (length, _) in enumerate(LEVELS):
                if not at % length and at + length <= end:
                    bars.append(
                        self._ranges[level].get(at // length) or self._look(level, at // length)
                    )
                    at += length
                    break
            else:
                step = LEVELS[-1][1]
                stop = min((at // step + 1) * step, end)
                one, other = (self._log(ts, SAMPLED, len(LEVELS) - 1) for ts in (at, stop))
                bars.append(Logs(one, max(one, other), min(one, other), other))
                at = stop
        high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
        volumes = self.traded(start), self.traded(end)
        return Candle(exp(bars[0].open), exp(high), exp(low), exp(bars[-1].close), *volumes)


def thrown_back(value: float, low: float, high: float) -> float:
    """Mirror a value at two bounds, as often as it takes."""
    width = high - low
    if width <= 0:
        return low
    beyond = (value - low) % (2 * width)
    return min(low + beyond, high) if beyond <= width else max(high - (beyond - width), low)
