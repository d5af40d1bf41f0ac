"""Other backtest engines at the same work: a crossing of two exponential means, both ways, fees, stop and target.

Run as a script by any Python that has one: `python peer.py ENGINE BARS SEED` prints the seconds of one run, its
statistics included. This file needs nothing of ours, so that a comparator can live in an environment of its own.

Rules of this file: (1) each engine does the work as its own documents show it, and does all of it; (2) what it needs
before the first bar (indicators, orders, statistics) is counted, what it needs once per process (imports, compiling) is not.
"""

import importlib
import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final


Row = tuple[float, float, float, float]
FAST, SLOW = 12, 26
SIZE, CASH, FEE = 0.1, 10_000_000, 0.001
STOP, TARGET = 0.02, 0.04


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


def frame(bars: int, seed: int) -> Any:
    """The walk as the table that all of them read."""
    pandas: Any = importlib.import_module("pandas")
    names = ["Open", "High", "Low", "Close"]
    index = pandas.date_range("2024-01-01", periods=bars, freq="min")
    return pandas.DataFrame(walk(bars, seed), columns=names, index=index)


def backtesting_py(bars: int, seed: int) -> float:
    """Give the seconds of one run of backtesting.py."""
    backtesting: Any = importlib.import_module("backtesting")
    pandas: Any = importlib.import_module("pandas")
    data = frame(bars, seed)

    class Crossing(backtesting.Strategy):  # type: ignore[misc]  # it may be absent
        """Always in the market after the first crossing, as our strategy is."""

        def init(self) -> None:
            closes = pandas.Series(self.data.Close)
            self.fast = self.I(lambda: closes.ewm(span=FAST, adjust=False).mean())
            self.slow = self.I(lambda: closes.ewm(span=SLOW, adjust=False).mean())

        def next(self) -> None:
            up = self.fast[-1] > self.slow[-1]
            if up == (self.fast[-2] > self.slow[-2]):
                return
            price = self.data.Close[-1]
            self.position.close()
            if up:
                self.buy(size=SIZE, sl=price * (1 - STOP), tp=price * (1 + TARGET))
            else:
                self.sell(size=SIZE, sl=price * (1 + STOP), tp=price * (1 - TARGET))

    test = backtesting.Backtest(data, Crossing, cash=CASH, commission=FEE, finalize_trades=True)
    before = time.perf_counter()
    test.run()
    return time.perf_counter() - before


def backtrader(bars: int, seed: int) -> float:
    """Give the seconds of one run of backtrader, with three of its analyzers for the statistics."""
    bt: Any = importlib.import_module("backtrader")
    data = frame(bars, seed)
    # It reads volume and open interest, too.
    data[["Volume", "OpenInterest"]] = 0.0

    class Crossing(bt.Strategy):  # type: ignore[misc]  # it may be absent
        """The same, its stop and target as a bracket."""

        def __init__(self) -> None:
            fast = bt.indicators.EMA(self.data.close, period=FAST)
            slow = bt.indicators.EMA(self.data.close, period=SLOW)
            self.turn = bt.indicators.CrossOver(fast, slow)
            self.bracket: list[Any] = []

        def next(self) -> None:
            turn = self.turn[0]
            if not turn:
                return
            for order in self.bracket:
                self.cancel(order)
            self.close()
            price, sign = self.data.close[0], 1 if turn > 0 else -1
            open_ = self.buy_bracket if sign > 0 else self.sell_bracket
            self.bracket = open_(
                size=SIZE * CASH / price,
                exectype=bt.Order.Market,
                stopprice=price * (1 - sign * STOP),
                limitprice=price * (1 + sign * TARGET),
            )

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=data))
    cerebro.addstrategy(Crossing)
    cerebro.broker.setcash(CASH)
    cerebro.broker.setcommission(FEE)
    for name in ("SharpeRatio", "DrawDown", "TradeAnalyzer"):
        cerebro.addanalyzer(getattr(bt.analyzers, name))
    before = time.perf_counter()
    cerebro.run()
    return time.perf_counter() - before


def vectorbt(bars: int, seed: int) -> float:
    """Give the seconds of one run of vectorbt: whole columns in compiled loops, no strategy per bar."""
    vbt: Any = importlib.import_module("vectorbt")

    def run(data: Any) -> None:
        closes = data["Close"]
        fast = closes.ewm(span=FAST, adjust=False).mean()
        up = fast > closes.ewm(span=SLOW, adjust=False).mean()
        turned = up != up.shift(1, fill_value=bool(up.iloc[0]))
        vbt.Portfolio.from_signals(
            closes,
            # Decided on the close, filled at the next open.
            entries=(turned & up).shift(1, fill_value=False),
            short_entries=(turned & ~up).shift(1, fill_value=False),
            price=data["Open"],
            open=data["Open"],
            high=data["High"],
            low=data["Low"],
            size=SIZE * CASH / closes,
            upon_opposite_entry="reverse",
            init_cash=CASH,
            fees=FEE,
            sl_stop=STOP,
            tp_stop=TARGET,
            freq="1min",
        ).stats()

    run(frame(1_000, seed))  # compiles
    data = frame(bars, seed)
    before = time.perf_counter()
    run(data)
    return time.perf_counter() - before


ENGINES: Final[Mapping[str, tuple[str, Callable[[int, int], float]]]] = {
    "backtesting.py": ("backtesting", backtesting_py),
    "backtrader": ("backtrader", backtrader),
    "vectorbt": ("vectorbt", vectorbt),
}
"""Name, its module, and what runs it."""


if __name__ == "__main__":
    print(ENGINES[sys.argv[1]][1](int(sys.argv[2]), int(sys.argv[3])))
