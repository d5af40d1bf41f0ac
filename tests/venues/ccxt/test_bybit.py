"""What ccxt makes of Bybit, and what we make of it: the real client on the emulated Bybit."""

import time
from dataclasses import replace
from typing import Any

import pytest

from realtime.emulate.faults import Fault, Kind
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.events import BalanceSeen, PositionSeen
from realtime.model.market import SECOND
from realtime.model.orders import Order, OrderType, Status, TriggerBy
from realtime.venues.ccxt import mended
from realtime.venues.ccxt.public import PublicData
from tests.venues.ccxt.desk import SPOT, SWAP, D, Desk, approved, desk, order, subscribed, until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def placed(world: Desk, name: str, side: str = "buy", **fields: Any) -> Order:
    asked = order(name, side, **fields)
    ack = await world.venue.submit(approved(asked))
    return replace(asked, exchange_order_id=ack.exchange_order_id)


async def test_what_a_position_holds_is_not_free_in_the_stream_either() -> None:
    async with desk(types=("spot", "swap"), running=True) as world:
        await subscribed(world)
        await placed(world, "s", price="60000", amount="0.1")
        await placed(world, "p", amount="0.1", symbol=SWAP, position_type="swap", leverage=D(5))
        await until(lambda: world.of(PositionSeen) and world.of(BalanceSeen))
        world.server.market.move(SWAP, 66_000)
        (held,) = (row for row in await world.venue.balances() if row.currency == "USDT")

        def told() -> bool:
            rows = [row.balance for row in world.of(BalanceSeen) if row.balance.currency == "USDT"]
            return bool(rows) and (rows[-1].available, rows[-1].reserved) == (
                held.available,
                held.reserved,
            )

        await until(told)
        assert held.reserved > 6_000 + 1_000
        assert held.total < 100_000


async def test_a_page_does_not_tell_what_kind_of_account_it_is() -> None:
    """ccxt asks once: who took a page for its answer asked for the wrong balance until the end of the process."""
    async with desk() as world:
        for path in ("user/query-api", "account/info"):
            world.server.faults.once(f"GET /v5/{path}", Fault(Kind.HTML))
            with pytest.raises(VenueUnknown):
                await world.venue.balances()

        assert {row.currency for row in await world.venue.balances()} == {"USDT", "BTC"}
        assert world.venue.exchange.options["enableUnifiedAccount"] is True


async def test_what_prices_did_meanwhile_is_told_of_the_price_that_counts_or_not_at_all() -> None:
    """trading:B7. A mark price may have been elsewhere than the last one, and nobody has bars of bids and asks."""
    async with desk(types=("spot", "swap")) as world:
        venue, faults = world.venue, world.server.faults
        assert not venue.slept
        since = time.time_ns() // (60 * SECOND) * 60 * SECOND - 5 * 60 * SECOND
        faults.once("GET /v5/market/mark-price-kline", Fault(Kind.SLOW, seconds=0.001))

        for symbol, by in ((SPOT, TriggerBy.LAST), (SWAP, TriggerBy.LAST), (SWAP, TriggerBy.MARK)):
            bars = await venue.past(symbol, by, since)
            assert bars is not None
            assert [bar.ts for bar in bars][:6] == [since + n * 60 * SECOND for n in range(6)]
        assert [target for target, _ in faults.done] == ["GET /v5/market/mark-price-kline"]

        refused = [(SPOT, TriggerBy.MARK), (SWAP, TriggerBy.BID_ASK), ("XYZ/USDT", TriggerBy.LAST)]
        for symbol, by in refused:
            with pytest.raises(Refused) as caught:
                await venue.past(symbol, by, since)
            assert caught.value.code is Code.NOT_SUPPORTED
        venue.exchange.has["fetchMarkOHLCV"] = False
        public = venue.public
        assert isinstance(public, PublicData)
        public.exchange.has["fetchMarkOHLCV"] = False
        with pytest.raises(Refused, match="no bars of a minute"):
            await venue.past(SWAP, TriggerBy.MARK, since)


HOUR = 3600 * SECOND


def telling(world: Desk, *rates: object) -> list[int]:
    """Have the exchange tell these past fundings, two at a time; what is given are the times it was asked from [ms]."""
    asked: list[int] = []

    async def history(_symbol: str, since: int, _limit: int) -> object:
        asked.append(since)
        if any(not isinstance(row, dict) for row in rates):
            return rates[0]
        return [row for row in rates if isinstance(row, dict) and row["timestamp"] >= since][:2]

    public = world.venue.public
    assert isinstance(public, PublicData)
    public.exchange.fetch_funding_rate_history = history
    return asked


async def test_past_fundings_are_told_at_the_mark_prices_of_their_times() -> None:
    """Each once, though one was told some milliseconds late; until when nothing is missing is said with them."""
    async with desk(types=("spot", "swap")) as world:
        public = world.venue.public
        assert isinstance(public, PublicData)
        now = time.time_ns()
        first = now // HOUR * HOUR - 48 * HOUR
        times = [first + n * 8 * HOUR for n in range(4)]
        late = times[3] // 10**6 + 7
        rows = [{"timestamp": ts // 10**6, "fundingRate": 0.0001} for ts in times[:3]]
        rows += [
            {"timestamp": late, "fundingRate": -1e-05},
            {"timestamp": late + 10**9, "fundingRate": 1},
        ]
        asked = telling(world, *rows)
        bars = {bar.ts: bar.open for bar in await public.ohlcv(SWAP, "1h", first, 30)}

        told, through = await public.fundings(SWAP, first)
        assert [(each.ts, each.rate) for each in told] == [
            (times[1], "0.0001"),
            (times[2], "0.0001"),
            (times[3], "-0.00001"),
        ]
        assert [each.mark for each in told] == [bars[ts] for ts in times[1:]]
        assert now - 11 * 60 * SECOND < through < time.time_ns() - 9 * 60 * SECOND
        assert asked == sorted(asked)

        told, _ = await public.fundings(SWAP, times[3])
        assert told == ()

        minute = times[3] + 60 * SECOND
        telling(world, {"timestamp": minute // 10**6, "fundingRate": 0.0001})
        public.exchange.has["fetchMarkOHLCV"] = False
        told, _ = await public.fundings(SWAP, times[3])
        assert [each.ts for each in told] == [minute]


async def test_past_fundings_that_are_not_told_whole_are_none() -> None:
    async with desk(types=("spot", "swap")) as world:
        public = world.venue.public
        assert isinstance(public, PublicData)
        now = time.time_ns()
        no_rate = {"timestamp": now // 10**6, "fundingRate": float("nan")}
        for answer in ("<html>", [{"timestamp": None}], [no_rate]):
            telling(world, answer)
            with pytest.raises(VenueRejected):
                await public.fundings(SWAP, now - HOUR)

        telling(world, {"timestamp": (now - 99 * HOUR) // 10**6, "fundingRate": 0.0001})
        world.server.faults.once("GET /v5/market/mark-price-kline", Fault(Kind.HTML))
        with pytest.raises(VenueRejected):
            await public.fundings(SWAP, now - 100 * HOUR)

        public.exchange.has["fetchFundingRateHistory"] = False
        with pytest.raises(Refused, match="no past fundings"):
            await public.fundings(SWAP, now - HOUR)


def test_only_rows_of_a_unified_account_are_read_anew() -> None:
    coin = {"coin": "USDT", "walletBalance": "100", "locked": "10", "totalPositionIM": "5.5"}
    account = {"accountType": "UNIFIED", "coin": [coin, {"coin": "BTC", "walletBalance": ""}]}

    told = {"USDT": (D(100), D("15.5"))}
    assert mended.balances("bybit", [account]) == told
    assert mended.balances("bybit", {"result": {"list": [account]}}) == told
    assert mended.balances("bybit", [account | {"accountType": "FUND"}]) is None
    assert mended.balances("bybit", {"result": None}) is None
    assert mended.balances("kraken", [account]) is None


async def test_a_spot_order_that_waits_for_a_price_is_canceled_before_and_after_it_came() -> None:
    async with desk() as world:
        fields = {"type": OrderType.STOP_LIMIT, "stop_price": "63000", "price": "66000"}
        waiting = await placed(world, "a", "sell", **fields)
        assert [row.type for row in await world.venue.open_orders()] == ["stop_limit"]
        await world.venue.cancel(waiting)
        assert await world.venue.open_orders() == []

        fired = await placed(world, "b", "sell", **fields)
        world.server.market.print(SPOT, 63_000)
        (working,) = await world.venue.open_orders()
        await world.venue.cancel(replace(fired, exchange_order_id=working.exchange_order_id))

        found = await world.venue.find(fired)
        assert found is not None
        assert found.status is Status.CANCELED


@pytest.mark.parametrize("kind", [OrderType.STOP, OrderType.TAKE_PROFIT])
async def test_of_a_contract_it_is_known_what_an_order_waits_for(kind: OrderType) -> None:
    async with desk(types=("swap",)) as world:
        # In the money's direction for the one, against it for the other.
        trigger = "50000" if kind is OrderType.STOP else "70000"
        await placed(world, "p", symbol=SWAP, position_type="swap")
        fields = {"symbol": SWAP, "position_type": "swap", "reduce_only": True}
        await placed(world, "t", "sell", type=kind, stop_price=trigger, **fields)

        assert [row.type for row in await world.venue.open_orders()] == [kind.value]


async def test_fills_of_more_than_a_week_are_asked_for_week_by_week() -> None:
    async with desk() as world:
        await placed(world, "a")
        now = world.venue._now()

        assert len(await world.venue.fills(now - 20 * 86_400 * SECOND)) == 1


async def test_all_working_orders_are_listed_page_by_page() -> None:
    async with desk() as world:
        for number in range(55):
            await placed(world, f"o{number}", price="50000", amount="0.001")

        assert len(await world.venue.open_orders()) == 55
