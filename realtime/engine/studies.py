"""Indicators by name: parameters with their ranges, and how a bar goes in and numbers come out.

Rules of this file: (1) a name with parameters is the same study wherever it is asked for, so the parameters have one
canonical text; (2) what is wrong is refused by the name of the parameter or the place of the bar.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from realtime.engine.indicators import (
    ATR_LENGTH,
    Atr,
    Change,
    Direction,
    Donchian,
    Ema,
    FairValueGaps,
    Macd,
    Rsi,
    Sma,
    Stdev,
    Volatility,
    VolumeRatio,
    Zone,
)
from realtime.model.errors import Code, Refused, invalid
from realtime.model.market import MS, Bar
from realtime.model.signals import Ohlcv


Value = int | float | str
Values = tuple[float | None, ...]
Chosen = Mapping[str, Value]
"""Parameters that were read: all of them, by name."""
LONGEST: Final = 1_000
"""The longest window [bars]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter.

    Attributes:
        default: Its type is that of the parameter: int, float or str.
        low, high: Its range, where it is a number.
        choices: What it may be, where it is a word.
    """

    name: str
    about: str
    default: Value
    low: float = 0
    high: float = LONGEST
    choices: tuple[str, ...] = ()

    def read(self, value: object) -> Value:
        """Read a value as JSON has it, or its text as the name of a channel has it.

        Raises:
            Refused: `invalid`, naming it.
        """
        if isinstance(self.default, str):
            if value not in self.choices:
                raise invalid(self.name, f"must be one of {', '.join(self.choices)}")
            return str(value)
        number = self._number(value)
        if not self.low <= number <= self.high:
            raise invalid(self.name, f"must be from {self.low:g} to {self.high:g}; was {number:g}")
        return number

    def _number(self, value: object) -> int | float:
        whole = isinstance(self.default, int)
        noun = "an integer" if whole else "a number"
        if isinstance(value, str):
            text = value
            try:
                value = int(text) if whole else float(text)
            except ValueError:
                raise invalid(self.name, f"must be {noun}; was '{text[:16]}'") from None
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise invalid(self.name, f"must be {noun}")
        if not math.isfinite(value):
            raise invalid(self.name, "must be a finite number")
        return value if whole else float(value)

    def schema(self) -> dict[str, object]:
        """Make its JSON schema."""
        if isinstance(self.default, str):
            kind: dict[str, object] = {"type": "string", "enum": list(self.choices)}
        else:
            kind = {
                "type": "integer" if isinstance(self.default, int) else "number",
                "minimum": self.low,
                "maximum": self.high,
            }
        return kind | {"default": self.default, "description": self.about}


Update = Callable[[Ohlcv], Values]
"""Takes the next bar; a `partial`, so that a copy of it goes on by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One indicator.

    Attributes:
        outputs: Names of its numbers; empty for fair value gaps, which give zones.
        make: Begins it.
        warmup: Bars before its first number.
    """

    name: str
    about: str
    params: tuple[Param, ...] = ()
    outputs: tuple[str, ...] = ("value",)
    make: Callable[[Chosen], Update]
    warmup: Callable[[Chosen], int]

    def read(self, given: Mapping[str, object]) -> Chosen:
        """Read parameters; what is not given is its default.

        Raises:
            Refused: `invalid`, naming the parameter.
        """
        known = {param.name: param for param in self.params}
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"it has {_list(known)}"
                raise invalid(name[:64], f"'{self.name}' has no such parameter; {hint}")
        chosen = {
            name: param.read(given[name]) if name in given else param.default
            for name, param in known.items()
        }
        # What no range says, such as fast below slow, the indicator itself refuses.
        self.make(chosen)
        return chosen

    def schema(self) -> dict[str, object]:
        """Make the JSON schema of its parameters."""
        return {
            "type": "object",
            "properties": {param.name: param.schema() for param in self.params},
            "additionalProperties": False,
        }


# --- how a bar goes in ----------------------------------------------------------------------------


class _Closing(Protocol):
    def update(self, close: float, /) -> float | None: ...


def _close(indicator: _Closing, bar: Ohlcv) -> Values:
    return (indicator.update(bar.close),)


def _volume(indicator: _Closing, bar: Ohlcv) -> Values:
    return (indicator.update(bar.volume),)


def _range(indicator: Atr, bar: Ohlcv) -> Values:
    return (indicator.update(bar.high, bar.low, bar.close),)


def _macd(indicator: Macd, bar: Ohlcv) -> Values:
    return indicator.update(bar.close)


def _channel(indicator: Donchian, bar: Ohlcv) -> Values:
    return indicator.update(bar.high, bar.low) or (None, None, None)


def _zones(indicator: FairValueGaps, bar: Ohlcv) -> Values:
    indicator.update(bar)
    return ()


# --- the table ------------------------------------------------------------------------------------


def _length(default: int, low: int = 1) -> Param:
    return Param(name="length", about="window, bars", default=default, low=low)


def _int(chosen: Chosen, name: str) -> int:
    return int(chosen[name])


def _window(chosen: Chosen) -> int:
    return _int(chosen, "length")


def _changes(chosen: Chosen) -> int:
    return _int(chosen, "length") + 1


def _one(_chosen: Chosen) -> int:
    return 1


def gaps(chosen: Chosen, *, length: int = 0, most: int = 0) -> FairValueGaps:
    """Begin to look for fair value gaps.

    Args:
        chosen: Read parameters of `fvg`.
        length: Of a bar [ns]; 0 where it is not known.
        most: Zones kept; 0 for as many as there may be.
    """
    bounds = {"most": most} if most else {}
    return FairValueGaps(
        float(chosen["min_gap_size"]),
        float(chosen["min_gap_atr"]),
        Direction(str(chosen["direction"])),
        length=length,
        **bounds,
    )


FVG: Final = "fvg"

STUDIES: Final[Mapping[str, Study]] = {
    study.name: study
    for study in (
        Study(
            name="sma",
            about="mean of the last closes",
            params=(_length(20),),
            make=lambda p: partial(_close, Sma(_window(p))),
            warmup=_window,
        ),
        Study(
            name="stdev",
            about="sample standard deviation of the last closes",
            params=(_length(20, 2),),
            make=lambda p: partial(_close, Stdev(_window(p))),
            warmup=_window,
        ),
        Study(
            name="ema",
            about="exponential mean of closes, alpha = 2/(length + 1), from the first close on",
            params=(_length(20),),
            make=lambda p: partial(_close, Ema(_window(p))),
            warmup=_one,
        ),
        Study(
            name="rsi",
            about="relative strength of closes by Wilder, 0..100",
            params=(_length(14),),
            make=lambda p: partial(_close, Rsi(_window(p))),
            warmup=_changes,
        ),
        Study(
            name="macd",
            about="EMA(fast) - EMA(slow) of closes, its EMA(signal), and their difference",
            params=(
                Param(name="fast", about="fast mean, bars", default=12, low=1),
                Param(name="slow", about="slow mean, bars; above fast", default=26, low=2),
                Param(name="signal", about="mean of the difference, bars", default=9, low=1),
            ),
            outputs=("macd", "signal", "histogram"),
            make=lambda p: partial(
                _macd, Macd(_int(p, "fast"), _int(p, "slow"), _int(p, "signal"))
            ),
            warmup=_one,
        ),
        Study(
            name="atr",
            about="average true range by Wilder, quote currency",
            params=(_length(ATR_LENGTH),),
            make=lambda p: partial(_range, Atr(_window(p))),
            warmup=_changes,
        ),
        Study(
            name="volatility",
            about="sample deviation of the last returns from close to close, of one bar",
            params=(_length(20, 2),),
            make=lambda p: partial(_close, Volatility(_window(p))),
            warmup=_changes,
        ),
        Study(
            name="volume_ratio",
            about="volume by the mean of the last volumes",
            params=(_length(20),),
            make=lambda p: partial(_volume, VolumeRatio(_window(p))),
            warmup=_window,
        ),
        Study(
            name="change",
            about="return over some bars, a fraction",
            params=(_length(1),),
            make=lambda p: partial(_close, Change(_window(p))),
            warmup=_changes,
        ),
        Study(
            name="donchian",
            about="highest high and lowest low of the last bars, and their middle",
            params=(_length(20),),
            outputs=("upper", "middle", "lower"),
            make=lambda p: partial(_channel, Donchian(_window(p))),
            warmup=_window,
        ),
        Study(
            name=FVG,
            about="fair value gaps, and how far they are filled",
            params=(
                Param(
                    name="min_gap_size",
                    about="least height, quote currency",
                    default=0.0,
                    high=1e12,
                ),
                Param(name="min_gap_atr", about="least height in ATR(14)", default=0.0, high=100),
                Param(
                    name="direction",
                    about="gaps that are looked for",
                    default=str(Direction.BOTH),
                    choices=tuple(str(one) for one in Direction),
                ),
            ),
            outputs=(),
            make=lambda p: partial(_zones, gaps(p)),
            warmup=lambda _: 3,
        ),
    )
}
"""All of them, by name (functional specification, 3.1; `change` and `donchian` are the strategies')."""


def study(name: str) -> Study:
    """Find an indicator.

    Raises:
        Refused: `not_found`, with the nearest name as a hint.
    """
    found = STUDIES.get(name)
    if found is None:
        near = difflib.get_close_matches(name, STUDIES, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {_list(STUDIES)}"
        raise Refused(Code.NOT_FOUND, f"no indicator '{name[:64]}'; {hint}", {"what": "indicator"})
    return found


State = tuple[FairValueGaps | None, Update]
"""What a study remembers; gaps twice, once in what takes the bars."""


class Course:
    """A study under way: it is told bars, and shows where it is."""

    __slots__ = ("_state", "chosen", "study", "values")

    def __init__(self, study: Study, chosen: Chosen, state: State) -> None:
        self.study = study
        self.chosen = chosen
        self._state = state
        self.values: Values = (None,) * len(study.outputs)

    def update(self, bar: Ohlcv) -> Values:
        """Take the next bar; give its numbers in the order of the outputs."""
        self.values = self._state[1](bar)
        return self.values

    def peek(self, bar: Ohlcv) -> "Course":
        """Give what it would be after a bar that may still change, and stay as it is."""
        other = Course(self.study, self.chosen, deepcopy(self._state))
        other.update(bar)
        return other

    def shown(self) -> dict[str, object]:
        """Make what the channel shows: `value`, several by their names, or `zones`."""
        if self._state[0] is not None:
            return {"zones": self.zones()}
        if len(self.values) == 1:
            return {"value": self.values[0]}
        return {"value": dict(zip(self.study.outputs, self.values, strict=True))}

    def zones(self) -> list[dict[str, object]]:
        """Make the rows of the gaps, oldest first; none where it looks for none."""
        found = self._state[0]
        return [] if found is None else [zone_row(z, found.age(z)) for z in found.zones]


def begin(study: Study, chosen: Chosen, *, length: int = 0, most: int = 0) -> Course:
    """Begin a study.

    Args:
        study: Which.
        chosen: Its parameters, read.
        length: Of a bar [ns], for the times at which gaps are confirmed and filled.
        most: Gaps kept; 0 for as many as there may be.
    """
    if study.name != FVG:
        return Course(study, chosen, (None, study.make(chosen)))
    found = gaps(chosen, length=length, most=most)
    return Course(study, chosen, (found, partial(_zones, found)))


def zone_row(zone: Zone, age: int) -> dict[str, object]:
    """Make the wire row of a fair value gap; prices are numbers, because nothing is ordered at them."""
    return {
        "index": zone.index,
        "direction": zone.direction,
        "gap_high": zone.gap_high,
        "gap_low": zone.gap_low,
        "size": zone.size,
        "start_ts": zone.start_ts // MS,
        "confirmed_ts": zone.confirmed_ts // MS,
        "mid": zone.mid,
        "size_fraction": zone.size_fraction,
        "filled_fraction": zone.filled_fraction,
        "status": zone.status,
        "filled_ts": None if zone.filled_ts is None else zone.filled_ts // MS,
        "age": age,
    }


def canonical(name: str, given: Mapping[str, str]) -> Mapping[str, str]:
    """Give the options of a channel their one text: those that are not the default, as numbers are shown.

    Raises:
        Refused: `invalid`, naming the option.
    """
    try:
        found = study(name)
    except Refused as refused:
        raise invalid("name", refused.message) from None
    chosen = found.read(given)
    return {
        param.name: _text(chosen[param.name])
        for param in found.params
        if chosen[param.name] != param.default
    }


def _text(value: Value) -> str:
    return str(value).removesuffix(".0")


# --- bars -----------------------------------------------------------------------------------------


def ohlcv(bar: Bar) -> Ohlcv:
    """Turn a venue's bar into numbers."""
    return Ohlcv(
        bar.ts,
        float(bar.open),
        float(bar.high),
        float(bar.low),
        float(bar.close),
        float(bar.volume),
    )


def check(bars: Sequence[Ohlcv], *, timed: bool, length: int = 0, at: str = "data") -> None:
    """Refuse bars that no market made.

    Args:
        bars: Oldest first.
        timed: Whether `ts` are times; they rise then.
        length: Of a bar [ns], so that no bar may lack between two; 0 where it is not known.
        at: Name of the field, for what is said.

    Raises:
        Refused: `invalid`, naming field and index of the first wrong number.
    """
    before = None
    for index, bar in enumerate(bars):
        for name, price in zip(("open", "high", "low", "close"), bar[1:5], strict=True):
            if not 0 < price < math.inf:
                raise invalid(f"{at}.{index}.{name}", f"must be above 0; was {price:g}")
        if bar.high < max(bar.open, bar.close):
            raise invalid(f"{at}.{index}.high", "must not be below open or close")
        if bar.low > min(bar.open, bar.close):
            raise invalid(f"{at}.{index}.low", "must not be above open or close")
        if not 0 <= bar.volume < math.inf:
            raise invalid(f"{at}.{index}.volume", f"must not be below 0; was {bar.volume:g}")
        if timed and before is not None:
            step = bar.ts - before
            if step <= 0:
                raise invalid(f"{at}.{index}.ts", "must be after that of the bar before")
            if length and step != length:
                lack = f"{step / length - 1:g} bars are missing" if step > length else "too early"
                raise invalid(f"{at}.{index}.ts", f"{lack}; a bar is {length // 10**9} s")
        before = bar.ts


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(names) or "none"
