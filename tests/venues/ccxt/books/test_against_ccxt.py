"""Our books equal those of ccxt's own client, fed with the same frames (trading:6.2)."""

import asyncio
from dataclasses import replace
from functools import cache

import orjson
import pytest

from realtime.bench import books as bench
from tests.venues.ccxt.books.kit import SHORT, market, recorded


SHORT_SPOT = SHORT / "binance-spot-synthetic.jsonl.gz"
SHORT_USDM = SHORT / "binance-usdm-synthetic.jsonl.gz"


def synthetic() -> list[bench.Session]:
    spot = bench.binance(SHORT_SPOT, market("BTC/USDT", "BTCUSDT"))
    return [
        spot,
        bench.binance(SHORT_USDM, market("ETH/USDT:USDT", "ETHUSDT")),
        bench.bybit(spot),
        kraken(spot),
    ]


def kraken(spot: bench.Session) -> bench.Session:
    """The changes of a session in the words of Kraken's v2."""
    whole = orjson.loads(spot.rest["BTC/USDT"])
    rows = [{"bs": whole["bids"], "as": whole["asks"]}]
    rows += [orjson.loads(text)["data"] for text in spot.frames]
    texts = [
        bench._v2("BTC/USDT", {name: row[name] for name in ("bs", "as", "b", "a") if name in row})
        for row in rows
    ]
    return replace(
        spot,
        name="Kraken",
        exchange="kraken",
        url="wss://ws.kraken.com/v2",
        rest={},
        opening=texts[:1],
        frames=texts[1:],
        depth=100,
    )


@pytest.mark.parametrize("at", range(4), ids=["spot", "usd-m", "bybit", "kraken"])
def test_equal_books_from_synthetic_frames(at: int) -> None:
    session = synthetic()[at]
    _, shown = bench.ours(session)
    _, expected = asyncio.run(bench.theirs(session))

    assert len(session.frames) > 100
    assert shown == expected


@cache
def real() -> list[bench.Session]:
    for name in (bench.SPOT, bench.USDM, bench.KRAKEN):
        recorded(name)
    return list(bench.sessions(300))


@pytest.mark.parametrize("at", range(4), ids=["spot", "usd-m", "bybit", "kraken"])
def test_equal_books_from_recorded_frames(at: int) -> None:
    session = real()[at]
    _, shown = bench.ours(session)
    _, expected = asyncio.run(bench.theirs(session))

    assert shown == expected
    assert any(bids and asks for bids, asks in shown.values())


def test_ccxt_misses_a_lost_delta_of_bybit_and_we_do_not() -> None:
    session = synthetic()[2]
    holed = replace(session, frames=[*session.frames[:-2], session.frames[-1]])
    _, right = asyncio.run(bench.theirs(session))
    _, wrong = asyncio.run(bench.theirs(holed))

    assert wrong != right  # and it said nothing
    with pytest.raises(RuntimeError, match="sequence"):
        bench.ours(holed)
