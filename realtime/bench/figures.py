"""Figures, their bounds, and the table that is printed."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure, beside what it was compared with.

    A bound holds `ours` itself, or its ratio to a comparator, from below or from above.
    """

    workload: str
    name: str
    ours: float
    unit: str
    comparators: tuple[tuple[str, float], ...] = ()
    ratios: tuple[tuple[str, float], ...] = ()
    """Ratios to comparators where they were measured in pairs; the others are those of the figures."""
    least: float | None = None
    most: float | None = None
    of: str | None = None
    """Name of the comparator that the bound is a multiple of; None = `ours` itself."""
    full: bool = True
    """False in a small run, whose figures prove nothing."""

    @property
    def value(self) -> float:
        """What the bound is about."""
        return self.ours if self.of is None else self.ratio(self.of)

    def ratio(self, name: str) -> float:
        """Ours as a multiple of a comparator."""
        paired = dict(self.ratios)
        return paired[name] if name in paired else self.ours / dict(self.comparators)[name]

    @property
    def bound(self) -> str:
        """The bound in words; empty without one."""
        times = f" x {self.of}" if self.of is not None else f" {self.unit}"
        if self.least is not None:
            return f">= {number(self.least)}{times}"
        if self.most is not None:
            return f"<= {number(self.most)}{times}"
        return ""

    @property
    def holds(self) -> bool:
        """Whether the bound holds; True without one."""
        if math.isnan(self.value):
            return False
        if self.least is not None:
            return self.value >= self.least
        return self.most is None or self.value <= self.most

    @property
    def verdict(self) -> str:
        """Word for the table."""
        if self.least is None and self.most is None:
            return ""
        if not self.full:
            return "small run"
        return "holds" if self.holds else "MISSED"


def number(value: float) -> str:
    """A figure for people: three significant digits, thousands separated."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """The table: figure, ours, comparators, ratios, bound, verdict."""
    names = list(dict.fromkeys(name for figure in figures for name, _ in figure.comparators))
    head = ["", "figure", "ours", *names, *[f"/ {name}" for name in names], "bound", "verdict"]
    rows = [head]
    for figure in figures:
        others = dict(figure.comparators)
        rows.append(
            [
                figure.workload,
                figure.name,
                f"{number(figure.ours)} {figure.unit}",
                *[number(others[name]) if name in others else "" for name in names],
                *[f"{figure.ratio(name):.2f}" if name in others else "" for name in names],
                figure.bound,
                figure.verdict,
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)
