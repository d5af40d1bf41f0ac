"""backtesting.py at the same work: a crossing of two exponential means, fees, stop and target.

Run as a script by any Python that has it: `python peer.py BARS SEED` prints the seconds of one run. This file needs
nothing of ours, so that the comparator can live in an environment of its own.
"""

import importlib
import random
import sys
import time
from typing import Any


Row = tuple[float, float, float, float]


def walk(bars: int, seed: int) -> list[Row]:
    """A seeded random walk of open, high, low, close, one minute each."""
    gauss = random.Random(seed).gauss  # noqa: S311 - a walk, no secret
    close = 100.0
    rows: list[Row] = []
    for _ in range(bars):
        first = close * (1 + gauss(0, 0.0001))
        close = first * (1 + gauss(0, 0.0005))
        high = max(first, close) * (1 + abs(gauss(0, 0.0002)))
        low = min(first, close) * (1 - abs(gauss(0, 0.0002)))
        rows.append((first, high, low, close))
    return rows


def measure(bars: int, seed: int) -> float:
    """Give the seconds of one run, statistics included.

    Raises:
        ImportError: backtesting.py is not installed.
    """
    backtesting: Any = importlib.import_module("backtesting")
    pandas: Any = importlib.import_module("pandas")
    names = ["Open", "High", "Low", "Close"]
    index = pandas.date_range("2024-01-01", periods=bars, freq="min")
    frame = pandas.DataFrame(walk(bars, seed), columns=names, index=index)

    class Crossing(backtesting.Strategy):  # type: ignore[misc]  # it may be absent
        """Always in the market after the first crossing, as our strategy is."""

        def init(self) -> None:
            closes = pandas.Series(self.data.Close)
            self.fast = self.I(lambda: closes.ewm(span=12, adjust=False).mean())
            self.slow = self.I(lambda: closes.ewm(span=26, adjust=False).mean())

        def next(self) -> None:
            up = self.fast[-1] > self.slow[-1]
            if up == (self.fast[-2] > self.slow[-2]):
                return
            price = self.data.Close[-1]
            self.position.close()
            if up:
                self.buy(size=0.1, sl=price * 0.98, tp=price * 1.04)
            else:
                self.sell(size=0.1, sl=price * 1.02, tp=price * 0.96)

    test = backtesting.Backtest(
        frame, Crossing, cash=10_000_000, commission=0.001, finalize_trades=True
    )
    before = time.perf_counter()
    test.run()
    return time.perf_counter() - before


if __name__ == "__main__":
    print(measure(int(sys.argv[1]), int(sys.argv[2])))
