"""The reference of the backtest's tests: series, a strategy, and what other engines make of them.

Run as a script in an environment that has backtesting.py, it prints what stands in `PEER`, in `TURNS` and in the tables of
trading document 8.3; the suite itself needs no other engine:

    python tests/bots/reference.py

`PEER` and `TURNS` were printed with backtesting.py 0.6.6.
"""

import importlib
import random
from collections import deque
from pathlib import Path
from typing import Any, ClassVar, Final

from realtime.bots.series import Series, of_csv
from realtime.bots.strategy import Strategy, StrategyParams
from realtime.model.market import SECOND
from realtime.model.signals import Ohlcv


MINUTE: Final = 60 * SECOND
CANDLES: Final = (
    Path(__file__).parents[2].parent / "shared/data/btc-perp-1m-20211231-20220201.csv.gz"
)
CAPITAL: Final = 1_000_000.0
COMMISSION: Final = 0.001


def synthetic(seed: int = 42, bars: int = 20_011) -> Series:
    """A seeded random walk of one-minute bars (trading document, 8.3)."""
    rng = random.Random(seed)
    c = 100.0
    rows = []
    for _ in range(bars):
        o = round(c * (1 + rng.gauss(0, 0.0002)), 4)
        c = round(o * (1 + rng.gauss(0, 0.001)), 4)
        h = round(max(o, c) * (1 + abs(rng.gauss(0, 0.0004))), 4)
        low = round(min(o, c) * (1 - abs(rng.gauss(0, 0.0004))), 4)
        rows.append((o, h, low, c, 1.0))
    return Series(MINUTE, [i * MINUTE for i in range(bars)], *zip(*rows, strict=True))


def candles() -> Series:
    """The recorded candles."""
    return of_csv(CANDLES, MINUTE)


class Means(Strategy):
    """SMA 20 against SMA 50 from the 50th close on: 1 where it turns above, -1 where it no longer is."""

    id: ClassVar[str] = "means"
    summary: ClassVar[str] = "reference"

    def __init__(
        self, params: StrategyParams | None = None, fast: int = 20, slow: int = 50
    ) -> None:
        super().__init__(params or StrategyParams())
        self.fast, self.slow = fast, slow
        self.closes: deque[float] = deque(maxlen=slow)
        self.above: bool | None = None

    @property
    def warmup(self) -> int:
        return self.slow

    def on_ohlcv(self, bar: Ohlcv) -> float:
        self.closes.append(bar.close)
        if len(self.closes) < self.slow:
            return 0.0
        known = list(self.closes)
        before, self.above = (
            self.above,
            sum(known[-self.fast :]) / self.fast > sum(known) / self.slow,
        )
        if self.above and before is False:
            return 1.0
        return -1.0 if before and not self.above else 0.0


class Turns(Means):
    """The same, and short where it no longer is above: always in the market, both ways."""

    id: ClassVar[str] = "turns"


SEEDS: Final = (1, 7, 42)
NEAR: Final = (0.004, 0.006)
WIDE: Final = (0.01, 0.015)
"""Stop and target of `peer_turns`, from the entry's fill: so far that no entry of the series reaches one in its first bar."""


def frame_of(series: Series) -> Any:
    """Give bars as backtesting.py reads them."""
    pd: Any = importlib.import_module("pandas")
    columns = {
        "Open": list(series.open),
        "High": list(series.high),
        "Low": list(series.low),
        "Close": list(series.close),
    }
    return pd.DataFrame(columns, index=pd.to_datetime(list(series.ts)))


def peer(series: Series, amount: float, fill: str) -> dict[str, Any]:
    """Run backtesting.py: final equity, fills, drawdown."""
    backtesting: Any = importlib.import_module("backtesting")
    mind = Means()

    class Reference(backtesting.Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self._tell(0)  # the first bar that `next` is told is the second

        def _tell(self, index: int) -> float:
            bar = Ohlcv(0, 0.0, 0.0, 0.0, float(series.close[index]), 0.0)
            return mind.on_ohlcv(bar)

        def next(self) -> None:
            told = self._tell(len(self.data) - 1)
            if told > 0 and not self.position:
                self.buy(size=int(amount))
            elif told < 0 and self.position:
                self.position.close()

    test = backtesting.Backtest(
        frame_of(series),
        Reference,
        cash=CAPITAL,
        commission=COMMISSION,
        trade_on_close=fill == "close",
        finalize_trades=False,
    )
    stats = test.run()
    closed, left = stats["_trades"], stats._strategy.trades
    return {
        "equity": float(stats["Equity Final [$]"]),
        "fills": 2 * len(closed) + len(left),
        "drawdown": -float(stats["Max. Drawdown [%]"]) / 100,
    }


def peer_turns(series: Series, amount: float, bounds: tuple[float, float]) -> dict[str, Any]:
    """Run backtesting.py both ways with a stop and a target: final equity, fills, drawdown."""
    backtesting: Any = importlib.import_module("backtesting")
    mind, (stop, target) = Turns(), bounds

    class Reference(backtesting.Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self._tell(0)

        def _tell(self, index: int) -> float:
            bar = Ohlcv(0, 0.0, 0.0, 0.0, float(series.close[index]), 0.0)
            return mind.on_ohlcv(bar)

        def next(self) -> None:
            for trade in self.trades:
                if trade.sl is None:  # ours lie around the fill, which it knows one bar later
                    sign = 1 if trade.is_long else -1
                    trade.sl = trade.entry_price * (1 - sign * stop)
                    trade.tp = trade.entry_price * (1 + sign * target)
            told = self._tell(len(self.data) - 1)
            if told > 0 and not self.position.is_long:
                self.position.close()
                self.buy(size=int(amount))
            elif told < 0 and not self.position.is_short:
                self.position.close()
                self.sell(size=int(amount))

    stats = backtesting.Backtest(
        frame_of(series), Reference, cash=CAPITAL, commission=COMMISSION, finalize_trades=False
    ).run()
    closed, left = stats["_trades"], stats._strategy.trades
    return {
        "equity": float(stats["Equity Final [$]"]),
        "fills": 2 * len(closed) + len(left),
        "drawdown": -float(stats["Max. Drawdown [%]"]) / 100,
    }


PEER: Final[dict[tuple[int | str, str], tuple[float, int, float]]] = {
    (1, "next_open"): (994095.11343, 468, 0.006010415101358024),
    (1, "close"): (994130.1723, 468, 0.005972628828199378),
    (7, "next_open"): (995533.18717, 436, 0.004667850904368498),
    (7, "close"): (995528.28229, 436, 0.004677680774906157),
    (42, "next_open"): (997402.43552, 425, 0.003032979261381019),
    (42, "close"): (997432.65499, 425, 0.0030062833066824),
    ("candles", "next_open"): (958553.658, 996, 0.042414960831520625),
    ("candles", "close"): (958585.654, 996, 0.04238097977194998),
}
"""What backtesting.py 0.6.6 made of them: final equity with what is open marked, fills, largest drawdown."""

TURNS: Final[dict[int | str, tuple[float, int, float]]] = {
    1: (989358.0031723788, 937, 0.010727232725002644),
    7: (992570.42582322, 873, 0.007624269010420126),
    42: (991897.1098755804, 851, 0.008195580738184827),
    "candles": (929640.6335750005, 1993, 0.07056808973216111),
}
"""The same of `peer_turns`: stops, targets and shorts, what is open at the end marked."""


if __name__ == "__main__":
    print(f"# backtesting.py {importlib.import_module('backtesting').__version__}")
    for seed in SEEDS:
        for fill in ("next_open", "close"):
            print(f"({seed}, {fill!r}): {peer(synthetic(seed), 100, fill)},")
    if CANDLES.exists():
        for fill in ("next_open", "close"):
            print(f"('candles', {fill!r}): {peer(candles(), 1, fill)},")
    for seed in SEEDS:
        print(f"turns {seed}: {peer_turns(synthetic(seed), 100, NEAR)},")
    if CANDLES.exists():
        print(f"turns candles: {peer_turns(candles(), 1, WIDE)},")
