"""Ops and channels of market data: tickers, books, trades, bars, staleness."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from realtime.commands import pages
from realtime.commands.market import sources
from realtime.desk.codec import dumps
from realtime.model.errors import Code, VenueUnknown
from realtime.model.market import SECOND, Bar, Trade
from tests.fakes import BTC, ETH, PRICES, START_NS, ScriptedVenue, World, until


MINUTE = 60 * SECOND
BASE = START_NS // MINUTE * MINUTE


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


class Charted(ScriptedVenue):
    """A venue with a past."""

    def __init__(self) -> None:
        super().__init__()
        self.bars = [bar(BASE - n * MINUTE) for n in (5, 4, 2, 1, 0)]
        self.asked_for: list[tuple[str, str]] = []
        self.fails = 0

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        self.asked_for.append((symbol, timeframe))
        if self.fails:
            self.fails -= 1
            raise VenueUnknown("no answer")
        found = [b for b in self.bars if since is None or b.ts >= since]
        return found[:limit] if since is not None else found[-limit:]

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        return [self.trade("1", 0), self.trade("2", 5)][-limit:]

    def trade(self, name: str, seconds: float, price: str = "64000.00") -> Trade:
        ts = START_NS + int(seconds * SECOND)
        return Trade(id=name, symbol=BTC, side="buy", price=price, amount="0.5", ts=ts, recv_ts=ts)


def bar(ts: int) -> Bar:
    return Bar(ts=ts, open="1", high="3", low="1", close="2", volume="10")


def charted() -> World:
    world = World()
    world.venue = Charted()
    return world


def shown(world: World, name: str) -> dict[str, Any]:
    hub = world.system.hub
    data: dict[str, Any] = orjson.loads(hub.snapshot(hub.channel(name)))["data"]
    return data


async def test_tickers_and_books_are_told_in_full() -> None:
    world = charted()
    async with world.life():
        ticker = result(await world.call("market.ticker", symbol="btcusdt"))
        some = result(await world.call("market.tickers", symbols=[ETH]))["tickers"]
        everything = result(await world.call("market.tickers"))["tickers"]
        book = result(await world.call("market.orderbook", symbol=BTC, limit=5))
        assert book["source"] == "paper"
        nobody = await world.call("market.ticker", symbol="NOPE")

        assert ticker["bid"] == "64000"
        assert [row["symbol"] for row in some] == [ETH]
        assert len(everything) == 2
        assert list(book["bids"][0]) == ["64000", "100"]
        assert nobody.code is Code.NOT_FOUND


async def test_pages_of_tickers_end_also_where_a_market_is_named_twice() -> None:
    """The second name of a market led back to the page behind its first one, for ever."""
    world = charted()
    async with world.life():
        asked = [BTC, ETH, "btcusdt", "ETH-USDT"]
        found: list[str] = []
        cursor: str | None = None
        for _ in asked:
            got = result(await world.call("market.tickers", symbols=asked, limit=1, cursor=cursor))
            found += [row["symbol"] for row in got["tickers"]]
            cursor = got["next_cursor"]
            if cursor is None:
                break

        assert (found, cursor) == ([BTC, ETH], None)


async def test_a_page_of_markets_or_tickers_fits_into_a_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by a count: of 3,000 markets the list was longer than 1 MiB, and clients take no longer message."""
    monkeypatch.setattr(pages, "MOST_BYTES", 3_000)
    world = World()
    some = world.venue.markets[ETH]
    names = [f"C{number:02d}/USDT" for number in range(30, 0, -1)]  # as the venue lists them
    more = {name: replace(some, symbol=name, base=name[:3]) for name in names}
    world.venue.markets = {**world.venue.markets, **more}
    for name in names:
        monkeypatch.setitem(PRICES, name, PRICES[ETH])
    async with world.life() as system:
        markets = system.desk.engine.markets
        assert isinstance(markets, dict)

        async def walk(op: str, key: str, **args: Any) -> list[str]:
            got = result(await world.call(op, **args))
            found = [row["symbol"] for row in got[key]]
            assert 1 < len(found) < 20
            while got["next_cursor"] is not None:
                assert len(dumps(got)) < 4_500
                # What is not listed any more shifts nothing.
                last = markets[found[-1]]
                markets[last.symbol] = replace(last, active=False)
                got = result(await world.call(op, **args, cursor=got["next_cursor"]))
                found += [row["symbol"] for row in got[key]]
            markets.update({name: replace(markets[name], active=True) for name in markets})
            return found

        assert await walk("market.list", "markets") == [BTC, ETH, *names]
        assert await walk("market.tickers", "tickers") == [BTC, ETH, *names]
        assert await walk("market.tickers", "tickers", symbols=[*names, BTC]) == [*names, BTC]
        three = result(await world.call("market.list", limit=3))
        assert [row["symbol"] for row in three["markets"]] == [BTC, ETH, names[0]]
        assert three["next_cursor"] == names[0]
        rest = result(await world.call("market.list", cursor=names[-3], quote="usdt"))
        assert [row["symbol"] for row in rest["markets"]] == names[-2:]
        assert rest["next_cursor"] is None
        for op in ("market.list", "market.tickers"):
            assert (await world.call(op, cursor="x")).code is Code.INVALID


async def test_a_symbol_is_found_as_people_write_it_and_not_in_noise() -> None:
    """features:1.1."""
    world = World()
    async with world.life():
        for text in ("BTC/USDT", "BTCUSDT", "btc-usdt", "btc/usdt", "BTC%2FUSDT", "btc%2fusdt"):
            found = result(await world.call("market.get", symbol=text))
            assert found["symbol"] == BTC
        for text in (
            "BTC/USDT\0",
            "BTC/\nUSDT",
            "B T C U S D T",
            "//BTCUSDT",
            "BTC//USDT",
            "BTC/USDT ",
        ):
            reply = await world.call("market.get", symbol=text)
            assert reply.code is Code.NOT_FOUND, text
            assert reply.error is not None
            assert str(reply.error["message"]).isprintable()


async def test_before_the_first_data_a_feed_is_unavailable() -> None:
    world = charted()
    world.venue.markets = {BTC: world.venue.markets[BTC], ETH: world.venue.markets[ETH]}
    async with world.life() as system:
        quotes = system.desk.engine._state.quotes
        quotes.tickers.clear()
        quotes.books.clear()

        assert (await world.call("market.ticker", symbol=BTC)).code is Code.VENUE_UNAVAILABLE
        assert (await world.call("market.orderbook", symbol=BTC)).code is Code.VENUE_UNAVAILABLE


async def test_bars_come_with_their_gaps_and_pages() -> None:
    world = charted()
    async with world.life():
        args: dict[str, Any] = {"symbol": BTC, "timeframe": "1m"}
        newest = result(await world.call("market.ohlcv", **args))
        first = result(
            await world.call("market.ohlcv", **args, since=(BASE - 5 * MINUTE) // 10**6, limit=2)
        )
        second = result(await world.call("market.ohlcv", **args, cursor=first["next_cursor"]))
        until_ms = (BASE - MINUTE) // 10**6
        early = result(await world.call("market.ohlcv", **args, until=until_ms, limit=10))
        wrong = await world.call("market.ohlcv", **args, cursor="x")

        assert len(newest["ohlcv"]) == 5
        assert newest["gaps"] == [
            {"from_ts": (BASE - 3 * MINUTE) // 10**6, "to_ts": (BASE - 2 * MINUTE) // 10**6}
        ]
        assert newest["closed_through_ts"] == BASE // 10**6
        assert len(first["ohlcv"]) == 2
        assert [row[0] for row in second["ohlcv"]] == [
            (BASE - n * MINUTE) // 10**6 for n in (2, 1, 0)
        ]
        assert all(row[0] < until_ms for row in early["ohlcv"])
        assert wrong.code is Code.INVALID


async def test_markets_limits_trades_and_venues_are_told() -> None:
    world = charted()
    async with world.life():
        listed = result(await world.call("market.list", quote="usdt"))["markets"]
        none = result(await world.call("market.list", type="swap"))["markets"]
        one = result(await world.call("market.get", symbol="eth-usdt"))
        limits = result(await world.call("market.limits", symbol=BTC))
        venue = result(await world.call("market.limits"))
        trades = result(await world.call("market.trades", symbol=BTC))["trades"]
        since = START_NS // 10**6 + 1000
        late = result(await world.call("market.trades", symbol=BTC, since=since))["trades"]
        status = result(await world.call("market.status"))["venues"]
        nobody = await world.call("market.status", venue="other")

        assert len(listed) == 2
        assert none == []
        assert one["symbol"] == ETH
        assert limits["amount_step"] == "0.00001"
        assert "amount_step" not in venue
        assert [trade["id"] for trade in trades] == ["1", "2"]
        assert [trade["id"] for trade in late] == ["2"]
        assert status[0]["status"] == "ok"
        assert nobody.code is Code.NOT_FOUND


async def test_limits_are_written_as_the_market_says_them() -> None:
    world = charted()
    world.venue.markets = {
        symbol: replace(market, max_amount=Decimal(1000), max_market_amount=Decimal("500.5"))
        for symbol, market in world.venue.markets.items()
    }
    async with world.life():
        market = result(await world.call("market.get", symbol=BTC))
        limits = result(await world.call("market.limits", symbol=BTC))

        assert limits["max_amount"] == "1000"
        assert {name: limits[name] for name in limits if name in market} == {
            name: market[name] for name in market if name in limits
        }


async def test_a_chart_joins_history_and_live_trades_and_closes_in_time() -> None:
    world = charted()
    assert isinstance(world.venue, Charted)
    async with world.life() as system:
        world.venue.fails = 1
        system.hub.on_demand(f"ohlcv:{BTC}?timeframe=1m", True)
        system.feeds.take((world.venue.trade("early", 1, "64001.00"),))
        await asyncio.sleep(6)
        data = shown(world, f"ohlcv:{BTC}?timeframe=1m")

        assert len(world.venue.asked_for) == 2
        assert data["ohlcv"][-1][0] == BASE // 10**6

        system.feeds.take((world.venue.trade("now", 7, "64009.00"),))
        assert shown(world, f"ohlcv:{BTC}?timeframe=1m")["ohlcv"][-1][4] == "64009.00"

        await asyncio.sleep(60)
        closed = shown(world, f"ohlcv:{BTC}?timeframe=1m")

        assert closed["closed_through_ts"] == (BASE + MINUTE) // 10**6
        assert closed["ohlcv"][-1][0] == BASE // 10**6

        system.hub.on_demand(f"ohlcv:{BTC}?timeframe=1m", False)
        await asyncio.sleep(31)
        assert system.desk.outlet.charts is not None
        assert system.desk.outlet.charts.idle


async def test_a_chart_nobody_waits_for_any_more_is_dropped() -> None:
    world = charted()
    assert isinstance(world.venue, Charted)
    async with world.life() as system:
        world.venue.fails = 1_000
        assert system.desk.outlet.charts is not None
        system.desk.outlet.charts.want(BTC, "1m", wanted=True)
        await asyncio.sleep(1)
        system.desk.outlet.charts.want(BTC, "1m", wanted=False)
        await asyncio.sleep(10)

        assert len(world.venue.asked_for) <= 2
        assert system.desk.outlet.charts.idle


async def test_demand_reaches_the_venue_once_and_ends_after_a_time_of_grace() -> None:
    wanted: list[tuple[str, str, bool]] = []

    class Asked(ScriptedVenue):
        def want(self, symbol: str, stream: str, wanted_now: bool) -> None:  # noqa: FBT001
            wanted.append((symbol, stream, wanted_now))

    world = World()
    world.venue = Asked()
    async with world.life() as system:
        want = system.hub.on_demand
        want(f"trades:{BTC}", True)
        want(f"trades:{BTC}", False)
        await asyncio.sleep(10)
        want(f"trades:{BTC}", True)
        await asyncio.sleep(60)
        want(f"trades:{BTC}", False)
        await asyncio.sleep(31)

        assert wanted == [(BTC, "trades", True), (BTC, "trades", False)]


async def test_a_silent_venue_is_stale_and_a_quiet_one_is_not() -> None:
    """Conformance 34."""
    world = World()
    async with world.life() as system:
        await asyncio.sleep(60)
        assert not system.feeds.silent

        world.venue.reachable = False
        asof = system.feeds.asof
        await until(lambda: system.feeds.silent, within=15)
        row = system.status.row()

        assert row["status"] == "degraded"
        assert system.status.venues()[0]["status"] == "degraded"
        assert system.feeds.asof - asof < 3 * SECOND

        await asyncio.sleep(30)
        assert any("nothing from paper" in reason for reason in system.status.reasons())

        world.venue.reachable = True
        await until(lambda: not system.feeds.silent)
        system.feeds.alive()
        await asyncio.sleep(2)

        assert system.status.row()["status"] == "ok"


async def test_an_alive_sign_without_data_ends_the_silence_too() -> None:
    world = World()
    async with world.life() as system:
        world.venue.reachable = False
        await until(lambda: system.feeds.silent, within=15)
        system.feeds.alive()

        assert not system.feeds.silent


def test_by_what_a_stream_comes_is_told_for_a_symbol_and_for_all() -> None:
    streams: list[dict[str, object]] = [
        {"channel": f"ticker:{BTC}", "symbol": BTC, "source": "ws"},
        {"channel": f"ticker:{ETH}", "symbol": ETH, "source": "poll"},
        {"channel": f"trades:{BTC}", "symbol": BTC, "source": "poll"},
        {"channel": "balance", "symbol": None, "source": "ws"},
    ]
    everything, one = sources(streams, None, paper=()), sources(streams, ETH, paper=("orders",))

    assert (everything["ticker"], everything["ohlcv"], everything["orders"]) == (
        "mixed",
        "poll",
        None,
    )
    assert (one["ticker"], one["trades"], one["balances"]) == ("poll", None, "ws")
    assert one["orders"] == "paper"
