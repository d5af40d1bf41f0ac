"""The search for parameters: which combinations, on which parts of the bars, and what the results are worth.

Rules of this file: (1) in-sample and out-of-sample always stand side by side; (2) the same request gives the same
combinations in the same order; (3) what a constraint or the strategy itself refuses is counted, never run.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Final, NamedTuple

from realtime.bots.metrics import Value
from realtime.model.errors import Code, Refused, invalid
from realtime.venues.chance import Chance


MOST: Final = 10_000
"""Combinations of one search."""
OVERFIT: Final = 0.5
"""Share of the in-sample objective below which an out-of-sample one is called overfit."""
LEAST: Final = 2
"""Bars of a part."""

Parameters = Mapping[str, object]


# --- combinations ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Values from `low` to `high`, both included; integers where both are, else on `step` where there is one."""

    low: float
    high: float
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether only integers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """Give the value at a share 0..1 (1 excluded) of the range."""
        if self.step is None and not self.whole:
            return self.low + (self.high - self.low) * share
        step = self.step or 1
        places = math.floor((self.high - self.low) / step + 1e-9) + 1
        value = self.low + step * int(share * places)
        return int(value) if self.whole and float(step).is_integer() else round(value, 12)


def grid(values: Mapping[str, Sequence[object]], most: int, seed: int) -> list[dict[str, object]]:
    """Make the combinations of a grid, in the order of its product; of more than `most` a drawn part.

    Raises:
        Refused: `invalid`, for no values or more than `MOST` combinations.
    """
    for name, choices in values.items():
        if not choices:
            raise invalid(f"param_grid.{name}", "has no values")
    size = math.prod(map(len, values.values()))
    if size > MOST:
        raise invalid("param_grid", f"has {size} combinations, the most is {MOST}")
    made = (dict(zip(values, chosen, strict=True)) for chosen in product(*values.values()))
    if size <= most:
        return list(made)
    chance = Chance(seed, "grid")
    # Selection sampling keeps the grid's order. Source: Knuth, TAOCP 2, 3.4.2, algorithm S.
    chosen: list[dict[str, object]] = []
    for place, one in enumerate(made):
        if (size - place) * chance.random() < most - len(chosen):
            chosen.append(one)
    return chosen


def draws(ranges: Mapping[str, Range], most: int, seed: int) -> list[dict[str, object]]:
    """Draw combinations without repeating one; fewer than `most` where there are no more.

    Raises:
        Refused: `invalid`, for an empty range, or a step too small to be counted.
    """
    for name, span in ranges.items():
        if span.low > span.high:
            raise invalid(f"ranges.{name}", f"{span.low:g} is above {span.high:g}")
        if span.step is not None and math.isinf((span.high - span.low) / span.step):
            raise invalid(f"ranges.{name}", f"step {span.step:g} is too small")
    chance, found = Chance(seed, "ranges"), dict[tuple[float, ...], dict[str, object]]()
    for _ in range(20 * most):
        if len(found) == most:
            break
        values = tuple(span.at(chance.random()) for span in ranges.values())
        found.setdefault(values, dict(zip(ranges, values, strict=True)))
    return list(found.values())


class Constraint(NamedTuple):
    """`left op right`, each a parameter or a number."""

    left: str
    op: str
    right: str

    def holds(self, parameters: Parameters) -> bool:
        """Tell whether parameters satisfy it; those it names and that are no numbers do not."""
        one, two = (_value(side, parameters) for side in (self.left, self.right))
        if one is None or two is None:
            return False
        return {
            "<": one < two,
            "<=": one <= two,
            ">": one > two,
            ">=": one >= two,
            "==": one == two,
            "!=": one != two,
        }[self.op]


_CONSTRAINT: Final = re.compile(
    r"\s*([A-Za-z0-9_.-]{1,64})\s*(<=|>=|==|!=|<|>)\s*([A-Za-z0-9_.-]{1,64})\s*"
)


def constraint(text: str, known: Iterable[str], at: int = 0) -> Constraint:
    """Read a constraint such as `fast_period < slow_period`.

    Args:
        text: What was asked.
        known: Names of parameters.
        at: Its index, for messages.

    Raises:
        Refused: `invalid`, naming the constraint.
    """
    found = _CONSTRAINT.fullmatch(text)
    if found is None:
        raise invalid(f"constraints.{at}", "must be like fast_period < slow_period")
    made = Constraint(*found.groups())
    names = set(known)
    for side in (made.left, made.right):
        if side not in names and _number(side) is None:
            raise invalid(f"constraints.{at}", f"{side} is neither a parameter nor a number")
    return made


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _value(side: str, parameters: Parameters) -> float | None:
    told = parameters.get(side)
    if isinstance(told, int | float):
        return told
    return _number(side)


# --- parts of the bars ----------------------------------------------------------------------------


class Window(NamedTuple):
    """In-sample from `first` up to `split`, out-of-sample from there up to `end` [bar numbers]."""

    first: int
    split: int
    end: int


def windows(bars: int, train_fraction: float, folds: int) -> list[Window]:
    """Cut the bars: one window, or `folds` of the same length that follow one another (walk-forward).

    With folds the windows overlap so that their out-of-sample parts join without a hole: each is as long as its
    in-sample part and one out-of-sample part, and the next begins one out-of-sample part later.

    Raises:
        Refused: `invalid`, where a part has fewer than two bars.
    """
    parts = max(folds, 1)
    # n = train + parts * test, with train / (train + test) = train_fraction.
    share = (1 - train_fraction) / train_fraction
    train = bars / (1 + parts * share)
    found = [
        Window(
            round(part * train * share),
            round(train + part * train * share),
            bars if part == parts - 1 else round(train + (part + 1) * train * share),
        )
        for part in range(parts)
    ]
    if any(w.split - w.first < LEAST or w.end - w.split < LEAST for w in found):
        raise Refused(
            Code.INVALID,
            f"{bars} bars are too few for {parts} windows with in-sample and out-of-sample parts",
            {"fields": [{"field": "folds", "message": f"{bars} bars are too few"}]},
        )
    return found


# --- results --------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """The metrics of one window."""

    inside: Mapping[str, Value]
    outside: Mapping[str, Value]


def average(values: Iterable[Value]) -> float | None:
    """Mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def overfit(inside: float | None, outside: float | None) -> bool:
    """Tell whether out-of-sample is less than half of in-sample; what made nothing in-sample is not judged."""
    if inside is None or inside <= 0:
        return False
    return outside is None or outside < OVERFIT * inside


def summarise(
    tried: Sequence[tuple[Parameters, Sequence[Sample]]], objective: str, top: int
) -> dict[str, object]:
    """Rank by the in-sample objective, averaged over the windows.

    Args:
        tried: Combinations with the metrics of every window.
        objective: Name of a metric.
        top: How many to give.

    Returns:
        `ranking` of `{parameters, in_sample, out_of_sample, in_sample_objective, out_of_sample_objective, overfit}`
        and, of several windows, `folds`: per window its own best and what that made out-of-sample.
    """

    def scores(samples: Sequence[Sample]) -> tuple[float | None, float | None]:
        return (
            average(sample.inside[objective] for sample in samples),
            average(sample.outside[objective] for sample in samples),
        )

    scored = [(parameters, samples, *scores(samples)) for parameters, samples in tried]
    # A stable sort: equals stay in the order in which they were made.
    ranked = sorted(scored, key=lambda row: -math.inf if row[2] is None else row[2], reverse=True)
    found: dict[str, object] = {
        "objective": objective,
        "ranking": [
            {
                "parameters": parameters,
                "in_sample": _mean(sample.inside for sample in samples),
                "out_of_sample": _mean(sample.outside for sample in samples),
                "in_sample_objective": inside,
                "out_of_sample_objective": outside,
                "overfit": overfit(inside, outside) and not _unbeaten(samples, objective),
            }
            for parameters, samples, inside, outside in islice(ranked, top)
        ],
    }
    count = len(tried[0][1]) if tried else 0
    if count > 1:
        found["folds"] = list(_folds(tried, objective, count))
    return found


def _unbeaten(samples: Iterable[Sample], objective: str) -> bool:
    """Tell whether out-of-sample trades have no profit factor because none of them lost."""
    outside = [sample.outside for sample in samples]
    return (
        objective == "profit_factor"
        and any(one["winning_trades"] for one in outside)
        and all(one[objective] is None for one in outside)
    )


def _mean(samples: Iterable[Mapping[str, Value]]) -> Mapping[str, Value]:
    """Metrics of one window as they are, of several their means."""
    known = list(samples)
    if len(known) == 1:
        return known[0]
    return {name: average(sample[name] for sample in known) for name in known[0]}


def _folds(
    tried: Sequence[tuple[Parameters, Sequence[Sample]]], objective: str, count: int
) -> Iterator[dict[str, object]]:
    """What choosing by each window's own in-sample part would have made behind it."""
    for fold in range(count):

        def score(row: tuple[Parameters, Sequence[Sample]], fold: int = fold) -> float:
            value = row[1][fold].inside[objective]
            return -math.inf if value is None else value

        parameters, samples = max(tried, key=score)
        inside, outside = samples[fold].inside[objective], samples[fold].outside[objective]
        yield {
            "fold": fold,
            "parameters": parameters,
            "in_sample": samples[fold].inside,
            "out_of_sample": samples[fold].outside,
            "in_sample_objective": inside,
            "out_of_sample_objective": outside,
            "overfit": overfit(inside, outside)
            and not _unbeaten(samples[fold : fold + 1], objective),
        }
