"""The whole venue on the emulated Bybit: private streams, their loss, polls in their place, proofs."""

import asyncio
from dataclasses import replace

import pytest

from realtime.emulate.faults import LOST, Fault, Kind
from realtime.model.errors import Code, VenueRejected, VenueUnknown
from realtime.model.events import BalanceSeen, Filled, OrderSeen, PositionSeen
from realtime.model.orders import Status
from realtime.venues.base import Remote, Venue
from realtime.venues.ccxt.exchange import rebase
from tests.venues.ccxt.desk import SPOT, SWAP, D, Desk, approved, desk, order, subscribed, until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


BUY = {"price": "60000"}
NO_STREAMS = dict.fromkeys(
    ("watchOrders", "watchMyTrades", "watchBalance", "watchPositions"), False
)


def statuses(world: Desk, name: str) -> list[Status]:
    wanted = order(name).venue_client_id
    return [seen.status for seen in world.of(OrderSeen) if seen.venue_client_id == wanted]


async def test_it_is_a_venue_and_one_that_is_somewhere_else() -> None:
    async with desk() as world:
        venue: Venue = world.venue

        assert isinstance(venue, Remote)
        assert (venue.id, venue.kind, venue.lookup_proven) == ("bybit", "live", False)
        assert SPOT in venue.markets


async def test_streams_tell_order_fill_and_balance() -> None:
    async with desk(running=True) as world:
        await subscribed(world)
        await world.venue.submit(approved(order("a-1", **BUY)))
        await until(lambda: statuses(world, "a-1"))
        await world.venue.submit(approved(order("a-2")))
        await until(lambda: Status.FILLED in statuses(world, "a-2") and world.of(Filled))
        await until(lambda: {"BTC", "USDT"} <= {b.balance.currency for b in world.of(BalanceSeen)})

        assert statuses(world, "a-1")[0] is Status.OPEN
        (fill,) = {one.trade_id: one for one in world.of(Filled)}.values()
        assert (fill.amount, fill.fee, fill.fee_currency) == (D("0.01"), D("0.00001"), "BTC")
        assert fill.venue_client_id == order("a-2").venue_client_id


async def test_positions_are_streamed() -> None:
    async with desk(types=("swap",), running=True) as world:
        await subscribed(world)
        entry = order("a-1", symbol=SWAP, position_type="swap")
        await world.venue.submit(approved(entry))
        await until(lambda: [p for p in world.of(PositionSeen) if p.position.amount == D("0.01")])


async def test_what_no_stream_tells_is_asked_for() -> None:
    """features 6.3: fall-backs."""
    async with desk(types=("spot", "swap"), running=True, has=NO_STREAMS, speed=100) as world:
        asked = order("a-1", **BUY)
        await world.venue.submit(approved(asked))
        await until(lambda: Status.OPEN in statuses(world, "a-1"))
        world.server.market.move(SPOT, 59_000)
        await until(lambda: Status.FILLED in statuses(world, "a-1"))
        await until(lambda: world.of(Filled) and world.of(BalanceSeen))
        entry = order("a-2", symbol=SWAP, position_type="swap")
        await world.venue.submit(approved(entry))
        await until(lambda: world.of(PositionSeen))

        fills = [fill.trade_id for fill in world.of(Filled)]
        assert len(fills) == len(set(fills))


async def test_a_socket_that_is_closed_is_dialed_again_and_everything_is_compared() -> None:
    """trading:S9."""
    async with desk(running=True, speed=20) as world:
        await subscribed(world)
        world.server.faults.strike("private", Fault(Kind.CLOSE, code=1012))
        await until(lambda: len(world.trust) >= 2)
        await world.venue.submit(approved(order("a-1", **BUY)))
        await until(lambda: statuses(world, "a-1"))

        assert [trusted for trusted, _ in world.trust][:2] == [False, True]
        assert world.alerts == []


@pytest.mark.slow
async def test_a_private_socket_that_is_half_open_is_noticed_within_ten_seconds() -> None:
    """S8, R1: answers by REST hid it, and ccxt's own keep-alive takes minutes."""
    async with desk(running=True) as world:
        await subscribed(world)
        await until(lambda: any(socket.pongs for socket in world.venue._sockets.values()))
        world.server.faults.strike("private", Fault(Kind.HALF_OPEN))
        await until(lambda: any(stream.lost for stream in world.venue._streams.values()), 10)


async def test_answers_to_questions_do_not_bring_a_stream_back() -> None:
    """R1: while no socket could be dialled, each answer by REST ended the polls that stood in for the stream."""
    async with desk(running=True, speed=20) as world:
        await subscribed(world)
        urls = world.venue.exchange.urls["api"]
        urls["ws"] = rebase(urls["ws"], "http://127.0.0.1:9")  # nobody listens there
        world.server.faults.strike("private", Fault(Kind.CLOSE, code=1012))
        streams = world.venue._streams
        await until(lambda: all(stream.lost for stream in streams.values()))
        for _ in range(14):
            await world.venue.open_orders()
            await asyncio.sleep(0.1)
            world.venue.look()

        assert [stream.reconnects for stream in streams.values()] == [0] * len(streams)
        assert all(stream.polls > 3 for stream in streams.values() if stream.name == "orders")
        assert {row["source"] for row in world.venue.private_rows()} == {"poll"}
        assert world.trust == []


async def test_a_key_that_is_not_accepted_is_said_once_and_is_no_storm() -> None:
    """trading:S14."""
    async with desk(running=True, secret="wrong-secret-wrong-secret", speed=20) as world:
        await until(lambda: world.trust)
        world.heard.asked.clear()
        await asyncio.sleep(0.3)

        assert [code for _, code in world.alerts] == ["key_denied"]
        assert [trusted for trusted, _ in world.trust] == [False]
        # Six seconds of its time: each stream is tried after 1, 2 and 4, and ccxt has two questions first.
        assert len(world.heard.asked) <= 2 * 4 * len(world.venue._streams)
        with pytest.raises(VenueUnknown):
            await world.venue.open_orders()
        with pytest.raises(VenueRejected) as raised:
            await world.venue.submit(approved(order("a-1", **BUY)))
        assert raised.value.code is Code.VENUE_UNAVAILABLE
        assert [code for _, code in world.alerts] == ["key_denied"]


async def test_a_key_that_expires_is_noticed_by_a_question_and_its_return_too() -> None:
    async with desk() as world:
        await world.venue.open_orders()
        world.server.faults.expired.add(world.server.key)
        with pytest.raises(VenueRejected):
            await world.venue.open_orders()

        assert world.trust == [(False, "bybit does not accept the key")]

        world.server.faults.clear()
        with pytest.raises(VenueUnknown):
            await world.venue.open_orders()
        world.venue._key_at = 0.0
        await world.venue.open_orders()
        world.venue.look()

        assert world.trust[-1] == (True, "")
        assert [code for _, code in world.alerts] == ["key_denied", "key_accepted"]


async def test_private_data_that_is_old_is_in_doubt_until_something_is_heard() -> None:
    """trading:G3."""
    async with desk() as world:
        world.venue._heard -= 31
        world.venue.look()
        world.venue.look()
        assert [trusted for trusted, _ in world.trust] == [False]

        await world.venue.balances()
        world.venue.look()

        assert [trusted for trusted, _ in world.trust] == [False, True]


async def test_a_control_proves_the_look_up_on_orders_that_are_known() -> None:
    """trading:A2."""
    async with desk(running=True, speed=50) as world:
        await subscribed(world)
        await world.venue.submit(approved(order("a-1", **BUY)))
        await world.venue.submit(approved(order("a-2")))
        await until(lambda: not world.venue.trading.proof.wants("working"))


async def test_an_answer_that_was_lost_is_told_by_the_stream() -> None:
    async with desk(running=True) as world:
        await subscribed(world)
        world.server.faults.once("*order/create", LOST)
        with pytest.raises(VenueUnknown):
            await world.venue.submit(approved(order("a-1", **BUY)))
        await until(lambda: statuses(world, "a-1") == [Status.OPEN])


async def test_orders_of_before_are_expected() -> None:
    async with desk() as world:
        asked = order("a-1", **BUY)
        ack = await world.venue.submit(approved(asked))
        filled = order("a-2")
        end = await world.venue.submit(approved(filled))
        world.venue._known.clear()
        world.venue._ended.clear()
        ended = replace(filled, exchange_order_id=end.exchange_order_id, status=Status.FILLED)
        world.venue.expect([ended, replace(asked, exchange_order_id=ack.exchange_order_id)])
        await world.venue.control()

        # What has ended before this process proves that ended orders are found (A2).
        assert world.venue.lookup_proven
        assert SPOT in world.venue.trading.symbols


async def test_the_exchanges_own_switch_is_used_where_it_may_be() -> None:
    async with desk() as world:
        world.venue.exchange.has["cancelAllOrdersAfter"] = False

        assert not await world.venue.dead_mans_switch(30)


async def test_rows_of_monitoring_name_each_stream() -> None:
    async with desk() as world:
        rows = world.venue.private_rows()

        assert [row["channel"] for row in rows] == ["orders", "fills", "balance"]
        assert {(row["state"], row["health"]) for row in rows} == {("ok", None)}

        world.venue.look()
        await asyncio.sleep(0.01)

        assert {row["health"] for row in world.venue.private_rows()} == {1.0}
