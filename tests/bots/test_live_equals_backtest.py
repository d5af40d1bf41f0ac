"""Live against backtest: what a running bot decides on each closed bar is what a backtest of those bars says.

The bars reach the bot as they do in life: trades come in from the venue, are folded, and close by the clock; those that
were missed are fetched. The backtest gets the same bars as columns. Both are compared to the last bit.
"""

import asyncio
import csv
import gzip
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from realtime.app import Outside
from realtime.bots.backtest import Lane, Said, Terms, run
from realtime.bots.loading import Strategies
from realtime.bots.series import Series, check
from realtime.bots.strategies.filters import Filters
from realtime.model.bots import BotState
from realtime.model.market import MS, SECOND, Bar
from realtime.model.signals import Probabilities
from realtime.outside import replaying
from tests.bots.market import BTC, MINUTE, BotWorld, result
from tests.fakes import World, until


DATA: Final = Path(__file__).parents[3] / "shared" / "data"
CANDLES: Final = DATA / "btc-perp-1m-20211231-20220201.csv.gz"
SHORT: Final[Mapping[str, Mapping[str, Any]]] = {
    "rsi": {"rsi_period": 2},
    "ema_crossover": {"fast_period": 1, "slow_period": 2},
    "momentum": {"length": 1, "volatility_length": 2},
    "donchian": {"length": 2},
    "fvg": {},
    "sample": {"indicator_value": -1.0},
}
"""Parameters that say something within the few minutes of a recording."""
USUAL: Final[Mapping[str, Mapping[str, Any]]] = {
    "rsi": {"rsi_period": 7, "overbought": 60.0, "oversold": 40.0},
    "ema_crossover": {"fast_period": 5, "slow_period": 12},
    "momentum": {"length": 10},
    "donchian": {"length": 10},
    "fvg": {"lookback": 2},
}


class Decided(NamedTuple):
    """One decision of one strategy, all of it."""

    ts: int
    action: str
    confidence: float
    conviction: float
    probabilities: Probabilities
    position_size: float


def series(bars: Sequence[Bar]) -> Series:
    rows = [(b.open, b.high, b.low, b.close, b.volume) for b in bars]
    columns = [[float(text) for text in column] for column in zip(*rows, strict=True)]
    return check(Series(MINUTE, [bar.ts for bar in bars], *columns))


def backtested(
    name: str, params: Mapping[str, Any], bars: Series, filters: Filters | None = None
) -> list[Decided]:
    record: list[Said] = []
    strategy = Strategies(None).make(name, params, filters)
    run(Terms(), [Lane(symbol="X", series=bars, strategy=strategy, record=record)])
    return [
        Decided(
            said.ts // MS,
            said.signal.action.value,
            said.signal.confidence,
            said.signal.conviction,
            said.signal.probabilities,
            said.signal.position_size,
        )
        for said in record
    ]


async def employ(world: World, symbol: str, uses: Mapping[str, Mapping[str, Any]]) -> None:
    """Start one bot for each strategy."""
    for name, params in uses.items():
        bot_id = name.replace("_", "-")
        patch = {
            "symbols": [symbol],
            "timeframe": "1m",
            "strategies": {name: {"params": params}},
            "dry_run": True,
        }
        result(await world.call("bot.configure", bot_id=bot_id, patch=patch))
        result(await world.call("bot.start", bot_id=bot_id))
    bots = world.system.bots
    await until(lambda: all(bots.get(n.replace("_", "-")).state is BotState.RUNNING for n in uses))


async def lived(world: World, name: str) -> list[Decided]:
    """What a bot decided, oldest first."""
    bot_id = name.replace("_", "-")
    page = result(await world.call("bot.decisions", bot_id=bot_id, limit=500))
    assert page["next_cursor"] is None
    found = []
    for row in page["decisions"][::-1]:
        (said,) = row["individual"]
        # What one strategy says is what is combined of it.
        assert row["combined"]["action"] == said["action"]
        found.append(
            Decided(
                row["ohlcv_ts"],
                said["action"],
                said["confidence"],
                said["metadata"]["conviction"],
                Probabilities(**said["probabilities"]),
                said["position_size"],
            )
        )
    return found


# --- a recorded session ---------------------------------------------------------------------------


class Replayed(World):
    """A whole system on a recorded session, at the times of the recording."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            pytest.skip(f"{file.name}: the recordings of ../shared/data are not here")
        super().__init__()
        self._file = file
        with gzip.open(file) as lines:
            stamps = [int(line.partition(b" ")[0]) for line in lines]
        self.wall = stamps[0]
        self.length_s = (stamps[-1] - stamps[0]) / SECOND

    def outside(self) -> Outside:
        played = replaying(self._file, 1.0)
        return replace(super().outside(), venue=played.venue, source=played.source)


@pytest.mark.parametrize(
    "file",
    [
        "binance-spot-btcusdt-20240808",
        pytest.param("binance-usdm-ethusdt-20240808", marks=pytest.mark.slow),
    ],
)
async def test_a_recorded_session_gives_a_running_bot_the_decisions_of_the_backtest(
    file: str,
) -> None:
    world = Replayed(DATA / f"{file}.jsonl.gz")
    async with world.life() as system:
        (symbol,) = system.venue.markets
        await employ(world, symbol, SHORT)
        await asyncio.sleep(world.length_s + 60)
        # Whoever does not hear the rest of a bar does not call it closed: the recording ends within the last one.
        bars = (await system.venue.ohlcv(symbol, "1m", None, 100))[:-1]
        live = {name: await lived(world, name) for name in SHORT}

    assert len(bars) >= 5
    for name, params in SHORT.items():
        assert live[name] == backtested(name, params, series(bars))
    assert {one.action for of in live.values() for one in of} == {"buy", "sell", "hold"}


# --- candles --------------------------------------------------------------------------------------

Candle = tuple[float, float, float, float, float]


def recorded(n: int) -> list[Candle]:
    if not CANDLES.exists():
        pytest.skip(f"{CANDLES.name}: the recordings of ../shared/data are not here")
    with gzip.open(CANDLES, "rt") as file:
        rows = list(islice(csv.reader(file), 1, n + 1))
    return [tuple(map(float, row[1:])) for row in rows]  # type: ignore[misc]  # five of them


def seeded(n: int) -> list[Candle]:
    """A walk that jumps now and then, the same every time."""
    chance, last, found = random.Random(7), 64_000.0, []
    for _ in range(n):
        first = last + (chance.gauss(0, 200) if chance.random() < 0.1 else 0.0)
        last = first * (1 + chance.gauss(0, 0.002))
        high = max(first, last) + chance.expovariate(0.05)
        low = min(first, last) - chance.expovariate(0.05)
        found.append((first, high, low, last, chance.uniform(0.5, 20)))
    return found


def bar(ts: int, candle: Candle) -> Bar:
    first, high, low, last = (f"{price:.2f}" for price in candle[:4])
    return Bar(ts, first, high, low, last, str(4 * quarter(candle)))


def quarter(candle: Candle) -> Decimal:
    return round(Decimal(candle[4]) / 4, 6)


async def trade(world: BotWorld, candle: Candle) -> None:
    """Let a minute pass in which a candle is traded, and two seconds of the next one."""
    for price in candle[:4]:
        world.venue.trade(BTC, price, str(quarter(candle)))
    await world.to_the_minute()
    await asyncio.sleep(2)


async def pass_quietly(world: BotWorld, minutes: int) -> None:
    for _ in range(minutes):
        await world.to_the_minute()
        await asyncio.sleep(2)


@pytest.mark.parametrize(
    ("candles", "filters", "said"),
    [
        pytest.param(recorded, Filters(), 15, marks=pytest.mark.slow),
        # A filter holds back what goes against the trend, which is most of what rsi says.
        (seeded, Filters(trend=True), 13),
    ],
)
async def test_bars_folded_from_trades_missed_ones_and_holes_give_the_decisions_of_the_backtest(
    candles: Any, filters: Filters, said: int
) -> None:
    world, given = BotWorld(), iter(candles(100))
    told = world.venue.bars[BTC, "1m"] = []
    lost: list[int] = []

    def now() -> int:
        return world.system.clock.now() // MINUTE * MINUTE

    async with world.life():
        told += [bar(now() + (n - 50) * MINUTE, c) for n, c in enumerate(islice(given, 50))]
        patch = {"strategy": {"trend_filter": filters.trend}}
        result(await world.call("config.update", patch=patch))
        await employ(world, BTC, USUAL)
        await pass_quietly(world, 1)
        first = now()
        for n, candle in enumerate(given):
            ts = now()
            if n % 25 in {10, 11}:
                # The upstream is silent: nobody hears these trades, the venue has their bars later.
                told.append(bar(ts, candle))
                lost.append(ts)
                await pass_quietly(world, 1)
                continue
            if n % 25 == 20:
                await pass_quietly(world, 2)  # nobody trades: there are no bars
                ts = now()
            await trade(world, candle)
            told.append(bar(ts, candle))
        live = {name: await lived(world, name) for name in USUAL}

    actions = set()
    for name, params in USUAL.items():
        expected = backtested(name, params, series(told), filters)
        heard = [one for one in expected if one.ts * MS >= first and one.ts * MS not in lost]
        assert len(heard) == 46
        assert live[name] == heard
        actions |= {(name, one.action) for one in heard}
    assert len(actions) == said
