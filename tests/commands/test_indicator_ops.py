"""Ops of indicators, over a whole system."""

import math
from typing import Any

from realtime.engine.indicators import Rsi
from realtime.model.errors import Code
from tests.charting import FIRST, MINUTE, ChartVenue
from tests.fakes import BTC, World


CLOSES = [round(100 + 5 * math.sin(place / 3), 2) for place in range(60)]
G6: list[dict[str, Any]] = [
    {"open": 1, "high": 2, "low": 1, "close": 2},
    {"open": 3, "high": 5, "low": 3, "close": 5},
    {"open": "6", "high": "7", "low": "6.0", "close": "7", "volume": "0.5"},
]


def world(closes: list[float] = CLOSES) -> World:
    made = World()
    made.venue = ChartVenue(closes)
    return made


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


async def test_indicators_are_listed_with_schema_outputs_and_warmup() -> None:
    life = world()
    async with life.life():
        rows = {r["name"]: r for r in result(await life.call("indicator.list"))["indicators"]}

        assert set(rows) >= {
            "sma", "stdev", "ema", "rsi", "macd", "atr", "volatility", "volume_ratio", "fvg",
        }  # fmt: skip
        assert (rows["rsi"]["warmup"], rows["rsi"]["outputs"]) == (15, ["value"])
        assert rows["fvg"]["outputs"] == ["zones"]
        assert rows["macd"]["parameters"]["properties"]["slow"]["default"] == 26


async def test_an_indicator_is_computed_over_closed_bars_of_a_market() -> None:
    life = world()
    async with life.life():
        found = result(
            await life.call(
                "indicator.compute",
                name="rsi",
                params={"length": 14},
                symbol="btcusdt",
                timeframe="1m",
                limit=20,
            )
        )

        rsi = Rsi(14)
        expected = [rsi.update(close) for close in CLOSES[-20:]]
        assert found["params"] == {"length": 14}
        assert (found["symbol"], found["timeframe"], found["bars"]) == (BTC, "1m", 20)
        assert [row[1] for row in found["values"]] == expected
        assert expected[:14] == [None] * 14
        # The forming bar is not among them.
        assert found["values"][-1][0] == (FIRST - MINUTE) // 1_000_000
        assert found["gaps"] == []


async def test_times_without_a_bar_are_named() -> None:
    life = world()
    async with life.life():
        assert isinstance(life.venue, ChartVenue)
        life.venue.lost = {3}
        found = result(
            await life.call("indicator.compute", name="ema", symbol=BTC, timeframe="1m", limit=5)
        )

        hole = (FIRST - 3 * MINUTE) // 1_000_000
        assert found["gaps"] == [{"from_ts": hole, "to_ts": hole + 60_000}]
        assert len(found["values"]) == 5


async def test_gaps_of_ones_own_bars_are_found_without_times() -> None:
    life = world()
    async with life.life():
        found = result(await life.call("indicator.fvg", data=G6))
        computed = result(await life.call("indicator.compute", name="fvg", data=G6))
        (zone,) = found["zones"]

        assert (zone["index"], zone["direction"]) == (1, "bullish")
        assert (zone["gap_low"], zone["gap_high"], zone["size"]) == (2, 6, 4)
        assert zone["start_ts"] is zone["confirmed_ts"] is zone["filled_ts"] is None
        assert computed["zones"] == found["zones"]
        assert computed["values"] == []
        assert found["symbol"] is found["timeframe"] is None


async def test_gaps_of_bars_with_times_have_times() -> None:
    life = world()
    async with life.life():
        data = [row | {"ts": 60_000 * place} for place, row in enumerate(G6)]
        (zone,) = result(await life.call("indicator.fvg", data=data, direction="bullish"))["zones"]
        few = result(await life.call("indicator.fvg", data=data[:2], timeframe="1m"))
        none = result(await life.call("indicator.fvg", data=[]))

        assert (zone["start_ts"], zone["confirmed_ts"]) == (60_000, 180_000)
        assert few["zones"] == none["zones"] == []


async def test_several_numbers_stand_beside_each_other() -> None:
    life = world()
    async with life.life():
        found = result(await life.call("indicator.compute", name="macd", data=G6))

        assert found["outputs"] == ["macd", "signal", "histogram"]
        assert [len(row) for row in found["values"]] == [4, 4, 4]
        assert [row[0] for row in found["values"]] == [None, None, None]


def data(**change: Any) -> list[dict[str, Any]]:
    rows = [{"open": 2, "high": 3, "low": 1, "close": 2, "ts": 60_000 * p} for p in range(3)]
    rows[1] = {k: v for k, v in (rows[1] | change).items() if v != "gone"}
    return rows


WRONG: list[tuple[dict[str, Any], Code, str | None]] = [
    ({"name": "rsi"}, Code.INVALID, "symbol"),
    ({"name": "rsi", "symbol": "XYZ"}, Code.NOT_FOUND, None),
    ({"name": "rsii", "symbol": BTC}, Code.NOT_FOUND, None),
    ({"name": "rsi", "symbol": BTC, "params": {"length": 0}}, Code.INVALID, "length"),
    ({"name": "rsi", "symbol": BTC, "params": {"len": 3}}, Code.INVALID, "len"),
    ({"name": "rsi", "symbol": BTC, "timeframe": "7m"}, Code.INVALID, "timeframe"),
    ({"name": "rsi", "symbol": BTC, "limit": 0}, Code.INVALID, "limit"),
    ({"name": "rsi", "data": data(open=0)}, Code.INVALID, "data.1.open"),
    ({"name": "rsi", "data": data(low=-1)}, Code.INVALID, "data.1.low"),
    ({"name": "rsi", "data": data(low="-1")}, Code.INVALID, "data.1.low"),
    ({"name": "rsi", "data": data(close=9)}, Code.INVALID, "data.1.high"),
    ({"name": "rsi", "data": data(close="9e9")}, Code.INVALID, "data.1.close"),
    ({"name": "rsi", "data": data(close=True)}, Code.INVALID, "data.1.close"),
    ({"name": "rsi", "data": data(close="gone")}, Code.INVALID, "data.1.close"),
    ({"name": "rsi", "data": data(ts=0)}, Code.INVALID, "data.1.ts"),
    ({"name": "rsi", "data": data(ts="gone")}, Code.INVALID, "data.1.ts"),
    ({"name": "rsi", "data": data(ts=90_000), "timeframe": "1m"}, Code.INVALID, "data.1.ts"),
    ({"name": "rsi", "data": data(price=1)}, Code.INVALID, "data.1.price"),
]


async def test_what_is_wrong_is_named() -> None:
    life = world()
    async with life.life():
        for args, code, field in WRONG:
            reply = await life.call("indicator.compute", **args)

            assert reply.error is not None, args
            assert (reply.code, args) == (code, args)
            if field is not None:
                details = reply.error["details"]
                assert isinstance(details, dict)
                assert (details["fields"][0]["field"], args) == (field, args)


async def test_a_history_that_is_not_there_is_told() -> None:
    life = world()
    async with life.life():
        assert isinstance(life.venue, ChartVenue)
        life.venue.down = 1
        reply = await life.call("indicator.compute", name="rsi", symbol=BTC)

        assert reply.code is Code.VENUE_UNAVAILABLE
