"""The client over a real socket, against a server that cuts, forgets and skips."""

import asyncio
import random
from decimal import Decimal
from typing import Any

import pytest

from realtime.client import Book, Client, Closed, CommandError, Event, Stream, Subscription
from tests.client.kit import client, hub


PATIENCE = 10.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def take(events: Subscription, count: int) -> list[Event]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(events) for _ in range(count)]


async def test_the_welcome_comes_first_and_bye_last() -> None:
    async with hub() as server:
        async with client(server, client="bot-7", every=50, token="secret", heartbeat=3) as me:
            assert me.connected
            assert me.welcome["v"] == 1
        path, header = server.hellos[0].path, server.hellos[0].headers["Authorization"]

        assert path == "/ws?heartbeat=3&client=bot-7&batch=1&every=50"
        assert header == "Bearer secret"
        assert "secret" not in path
        assert [frame["op"] for frame in server.got] == ["bye"]
        assert not me.connected


async def test_a_program_that_fails_says_no_bye() -> None:
    async with hub() as server:
        with pytest.raises(ValueError, match="a fault"):
            async with client(server):
                raise ValueError("a fault of the program")

        assert server.got == []


async def test_channels_are_read_with_their_state() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "1"})
        server.feed("orders", {"set": [{"id": "o-1", "status": "open"}]})
        async with client(server) as me:
            events = await me.subscribe("ticker:A", "orders")
            await server.publish("ticker:A", {"bid": "2"})
            await server.publish("orders", {"set": [{"id": "o-2"}], "del": ["o-1"]})
            seen = await take(events, 4)

        assert [(event.channel, event.kind) for event in seen] == [
            ("ticker:A", "snapshot"),
            ("orders", "snapshot"),
            ("ticker:A", "update"),
            ("orders", "update"),
        ]
        assert seen[2].state == {"bid": "2"}
        assert me.state("orders") == {"o-2": {"id": "o-2"}}


async def test_arrays_of_messages_are_read() -> None:
    async with hub() as server:
        server.batch = True
        server.feed("ticker:A", {"bid": "1"})
        async with client(server, batch=True) as me:
            events = await me.subscribe("ticker:A")

            assert (await take(events, 1))[0].state == {"bid": "1"}


async def test_a_refused_channel_is_an_error_and_nothing_is_read() -> None:
    async with hub() as server:
        server.feed("ticker:A")
        async with client(server) as me:
            with pytest.raises(CommandError, match="no") as refused:
                await me.subscribe("ticker:A", "nope:X")
            await me.call("ping")

            assert refused.value.code == "unknown_channel"
            assert me.stream("ticker:A") is None
            assert server.ops("unsubscribe")[0]["channels"] == ["ticker:A"]


async def test_after_a_cut_streams_resume_where_they_were() -> None:
    async with hub() as server:
        server.feed("fills")
        server.feed("orders", {"set": []})
        async with client(server) as me:
            events = await me.subscribe("fills", "orders")
            await take(events, 2)
            await server.publish("fills", [{"id": 1}])
            await take(events, 1)
            server.cut()
            await server.until(lambda: not server.sockets)
            for number in (2, 3):  # nobody is connected
                server.feeds["fills"].update([{"id": number}])
            server.feeds["orders"].update({"set": [{"id": "o-1"}]})
            seen = await take(events, 3)

            assert [event.message["data"] for event in seen] == [
                [{"id": 2}],
                [{"id": 3}],
                {"set": [{"id": "o-1"}]},
            ]
            assert all(event.kind == "update" for event in seen)
            assert me.connections == 2
            assert server.ops("subscribe")[1]["channels"] == [
                {"channel": "fills", "since": {"epoch": "k1", "seq": 101}},
                {"channel": "orders", "since": {"epoch": "k1", "seq": 100}},
            ]


async def test_after_a_restart_a_snapshot_replaces_everything() -> None:
    async with hub() as server:
        server.feed("orders", {"set": [{"id": "old"}]})
        async with client(server) as me:
            events = await me.subscribe("orders")
            await take(events, 1)
            server.feed("orders", {"set": [{"id": "new"}]}, epoch="k2")
            server.cut()
            (event,) = await take(events, 1)

            assert (event.kind, event.message["reason"]) == ("snapshot", "resume_failed")
            assert event.state == {"new": {"id": "new"}}


async def test_a_gap_is_closed_by_subscribing_again() -> None:
    async with hub() as server:
        feed = server.feed("fills")
        async with client(server) as me:
            events = await me.subscribe("fills")
            await take(events, 1)
            feed.update([{"id": 1}])  # never sent
            await server.publish("fills", [{"id": 2}])
            seen = await take(events, 2)
            await server.publish("fills", [{"id": 3}])
            seen += await take(events, 1)

            assert [event.message["data"] for event in seen] == [
                [{"id": 1}],
                [{"id": 2}],
                [{"id": 3}],
            ]
            assert me.resyncs == 1
            stream = me.stream("fills")
            assert stream is not None
            assert stream.gaps == 1


async def test_a_wrong_checksum_fetches_the_book_anew() -> None:
    async with hub() as server:
        feed = server.feed("orderbook:A", {"bids": [["1", "5"]], "asks": [["2", "5"]]})
        async with client(server) as me:
            events = await me.subscribe("orderbook:A")
            await take(events, 1)
            feed.snapshot = {"bids": [["1.5", "1"]], "asks": [["2", "5"]]}
            await server.publish("orderbook:A", {"bids": [["9", "9"]], "asks": []}, checksum=1)
            (event,) = await take(events, 1)

            assert event.kind == "snapshot"
            assert isinstance(event.state, Book)
            assert event.state.top(1) == ([("1.5", "1")], [("2", "5")])


async def test_a_placement_without_an_answer_is_sent_again_under_its_id() -> None:
    async with hub() as server:
        server.lost.add("order.place")
        async with client(server) as me:
            reply = await me.place("BTC/USDT", "buy", amount=Decimal("0.010"), price="64000")
            sent = server.ops("order.place")

            assert len(sent) == 2
            assert sent[0] == sent[1]
            assert sent[0]["client_order_id"] == "id-1"
            assert sent[0]["amount"] == "0.010"
            assert "stop_price" not in sent[0]
            assert isinstance(reply["echo"], dict)


async def test_a_command_that_must_not_be_done_twice_ends_unknown() -> None:
    async with hub() as server:
        server.lost.add("position.close_all")
        async with client(server) as me:
            with pytest.raises(CommandError) as lost:
                await me.call("position.close_all", symbol="BTC/USDT")
            await me.call("ping")

            assert (lost.value.code, lost.value.outcome) == ("outcome_unknown", "unknown")
            assert len(server.ops("position.close_all")) == 1


@pytest.mark.parametrize("op", ["position.close_all", "order.cancel_all"])
async def test_a_request_id_is_sent_again_only_to_the_server_that_knows_it(op: str) -> None:
    """It is remembered until the server restarts: behind a kill the positions were closed a second time."""
    async with hub() as server:
        server.welcome = {"boot": "b-1"}
        async with client(server) as me, asyncio.timeout(PATIENCE):
            server.lost.add(op)
            await me.call(op, request_id="r1")
            assert len(server.ops(op)) == 2

            def restart(_: Any) -> Any:
                server.welcome = {"boot": "b-2"}
                server.lost.add("ping")
                return {"result": {}}

            server.answers["system.status"] = restart
            server.silent.add(op)
            closing = asyncio.create_task(me.call(op, request_id="r2"))
            await server.until(lambda: len(server.ops(op)) == 3)
            server.silent.clear()
            await me.call("system.status")
            await me.call("ping")  # its answer is lost with the connection
            if op == "order.cancel_all":  # absolute: that it was done before changes nothing
                await closing
                assert len(server.ops(op)) == 4
            else:
                with pytest.raises(CommandError) as lost:
                    await closing
                assert (lost.value.code, lost.value.outcome) == ("outcome_unknown", "unknown")
                assert "restarted" in lost.value.message
                assert len(server.ops(op)) == 3


async def test_closing_a_position_is_sent_again_under_the_id_of_its_order() -> None:
    async with hub() as server:
        server.lost.add("position.close")
        async with client(server) as me:
            await me.call("position.close", position_id="BTC/USDT|long")
            sent = server.ops("position.close")

    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert sent[0]["client_order_id"] == "id-1"


async def test_a_client_that_ends_says_whether_a_command_was_out() -> None:
    async with hub() as server:
        server.silent.add("order.place")
        async with client(server) as me, asyncio.timeout(PATIENCE):
            async with asyncio.TaskGroup() as group:
                out = group.create_task(failing(me.place("BTC/USDT", "buy", amount="1", price="1")))
                await server.until(lambda: server.ops("order.place"))
                await server.close(4401, "unauthorized")
            after = await failing(me.place("BTC/USDT", "buy", amount="1", price="1"))

    assert (out.result().code, out.result().outcome) == (4401, "unknown")
    assert (after.code, after.outcome) == (4401, "not_done")


async def test_a_channel_is_found_by_the_name_it_was_asked_for_by() -> None:
    short, whole = "orderbook:S?depth=5", "orderbook:S?depth=5&rate=100"
    async with hub() as server:
        server.feed(whole, {"bids": [["1.0", "2"]], "asks": []})
        server.feed("ticker:S", {"bid": "1"})
        server.feed("orders", {"set": [{"id": "o-1"}]})
        server.feed("fills", [{"id": "t-1"}])
        server.names[short] = whole
        async with client(server) as me, asyncio.timeout(PATIENCE):
            for ask in (me.book, me.rows, me.value, me.entries):
                with pytest.raises(LookupError, match="orders"):
                    ask("orders")
            with pytest.raises(CommandError, match="unknown_channel"):
                await me.subscribe("nope:S", short)
            events = await me.subscribe(short, "ticker:S", "orders", "fills")
            await take(events, 4)
            found = me.stream(short)

            assert found is not None
            assert found.channel == whole
            assert me.book(short) is me.book(whole) is me.state(short)
            assert me.book(short).bids == {"1.0": "2"}
            assert me.value("ticker:S") == {"bid": "1"}
            assert me.rows("orders") == {"o-1": {"id": "o-1"}}
            assert list(me.entries("fills")) == [{"id": "t-1"}]
            for ask, other in ((me.book, "orders"), (me.value, "orders"), (me.rows, "ticker:S")):
                with pytest.raises(LookupError):
                    ask(other)


async def test_a_program_goes_on_where_an_earlier_one_has_read() -> None:
    async with hub() as server:
        server.feed("fills", [])
        server.feed("orders", {"set": [{"id": "o-1"}]})
        await server.publish("fills", [{"id": "t-1"}])
        await server.publish("fills", [{"id": "t-2"}])
        await server.publish("orders", {"set": [{"id": "o-2"}]})
        server.feeds["orders"].snapshot = {"set": [{"id": "o-1"}, {"id": "o-2"}]}
        since = {name: {"epoch": "k1", "seq": 101} for name in ("fills", "orders", "other")}
        async with client(server) as me, asyncio.timeout(PATIENCE):
            fills = await me.subscribe("fills", since=since)
            (event,) = await take(fills, 1)
            stream = me.stream("fills")
            # A table is more than its updates: it is fetched whole.
            orders = await me.subscribe("orders", since=since)
            (rows,) = await take(orders, 1)

    assert (event.kind, event.message["data"]) == ("update", [{"id": "t-2"}])
    assert stream is not None
    assert stream.since == {"epoch": "k1", "seq": 102}
    assert rows.kind == "snapshot"
    assert rows.state == {"o-1": {"id": "o-1"}, "o-2": {"id": "o-2"}}


async def test_a_program_that_has_read_nothing_yet_has_no_position() -> None:
    """Found by a review: `Stream.since` may be None, and handing it in ended the connection at every attempt."""
    async with hub() as server:
        server.feed("fills", [{"id": "t-9"}])
        async with client(server) as me, asyncio.timeout(PATIENCE):
            fills = await me.subscribe("fills", since={"fills": None})
            (event,) = await take(fills, 1)

    assert (event.kind, event.message["reason"]) == ("snapshot", "subscribe")
    assert server.ops("subscribe")[0]["channels"] == ["fills"]


async def test_a_position_that_is_not_held_any_more_gives_a_snapshot() -> None:
    async with hub() as server:
        server.feed("fills", [{"id": "t-9"}])
        async with client(server) as me, asyncio.timeout(PATIENCE):
            since = {"fills": {"epoch": "k0", "seq": 5}}
            fills = await me.subscribe("fills", since=since)
            (event,) = await take(fills, 1)

    assert (event.kind, event.message["reason"]) == ("snapshot", "resume_failed")


async def test_commands_made_while_away_go_out_on_return() -> None:
    async with hub() as server, client(server) as me, asyncio.timeout(PATIENCE):
        server.cut()
        for _ in range(1_000):  # until the client has noticed, too
            await asyncio.sleep(0)
        replies = [await me.call("position.close"), await me.halt("drill")]

        assert len(server.ops("position.close", "trading.halt")) == 2
        assert len(replies) == 2


async def test_a_command_that_never_left_is_not_unknown_after_attempts_in_vain() -> None:
    async with hub() as server, client(server) as me, asyncio.timeout(60):
        server.refuse = (502, {})
        server.cut()
        while me.connected:  # noqa: ASYNC110 - nothing tells that the client has noticed
            await asyncio.sleep(0.001)
        closing = asyncio.ensure_future(me.call("position.close", position_id="BTC/USDT|long"))
        await asyncio.sleep(0)
        tried = len(server.hellos)
        await server.until(lambda: len(server.hellos) >= tried + 3)
        server.refuse = None
        reply = await closing

        assert reply["echo"]
        assert len(server.ops("position.close")) == 1


async def test_an_error_reply_is_an_exception_with_all_that_was_said() -> None:
    async with hub() as server:
        server.answers["order.place"] = lambda _: {
            "ok": False,
            "error": {
                "code": "outcome_unknown",
                "message": "no answer",
                "outcome": "unknown",
                "details": {"command": "m-1"},
                "retry_after": 0.5,
            },
            "at": {"orders": {"epoch": "k1", "seq": 101}},
        }
        async with client(server) as me:
            with pytest.raises(CommandError, match="outcome_unknown: no answer") as error:
                await me.place("BTC/USDT", "sell", type="market", amount="1")

        said = error.value
        assert (said.outcome, said.details, said.retry_after) == (
            "unknown",
            {"command": "m-1"},
            0.5,
        )
        assert said.at == {"orders": {"epoch": "k1", "seq": 101}}


async def test_what_is_confirmed_goes_out_under_the_ids_that_were_asked_about() -> None:
    def ask(got: dict[str, Any]) -> dict[str, Any]:
        if "confirm" in got:
            return {"result": {}}
        details = {"confirm": f"c-{got['id']}", "effect": {}}
        error = {"code": "confirm_required", "message": "", "outcome": "not_done"}
        return {"ok": False, "error": error | {"details": details}}

    order = {"symbol": "S", "side": "buy", "type": "market", "amount": "1"}
    batch = [{"do": "place", **order}, {"do": "place", **order, "client_order_id": "own"}]
    async with hub() as server:
        server.answers |= dict.fromkeys(("order.place", "order.batch", "position.close"), ask)
        async with client(server) as me:
            for op, args in (
                ("order.place", order),
                ("order.batch", {"items": [*batch, *batch]}),
                ("position.close", {"position_id": "S|long"}),
            ):
                with pytest.raises(CommandError) as error:
                    await me.call(op, **args)
                await me.call(op, **args, confirm=error.value.details["confirm"])
                asked, confirmed = server.ops(op)
                without = {k: v for k, v in confirmed.items() if k not in {"id", "confirm"}}
                assert without == {k: v for k, v in asked.items() if k != "id"}
            for _ in range(150):  # nobody confirms
                with pytest.raises(CommandError):
                    await me.call("order.place", **order)
            assert len(me._confirming) == 100


async def test_options_in_the_address_are_not_said_twice() -> None:
    async with hub() as server:
        server.url += "?heartbeat=3&client=mine"
        async with client(server, client="other", every=50):
            pass
        server.url = server.url.replace("&client=mine", "")
        async with client(server):
            pass

    first, second = (hello.path for hello in server.hellos)
    assert first == "/ws?heartbeat=3&client=mine&batch=1&every=50"
    assert second == "/ws?heartbeat=3"


@pytest.mark.parametrize("token", ["", "a b", "rt_secret\n", "k\u00e4se"])
def test_a_token_that_is_none_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ValueError, match="the token") as error:
        Client("ws://127.0.0.1:9/ws", token=token)

    assert token.strip() == "" or token.strip() not in str(error.value)


async def test_every_typed_command_is_its_op() -> None:
    async with hub() as server, client(server, clock=lambda: 1_000.0) as me:
        await me.place("S", "buy", amount=1, client_order_id="c", expires_in=2, post_only=True)
        await me.amend("c", price="2")
        await me.cancel("c")
        await me.cancel(order_id="o-1")
        await me.cancel_all()
        await me.halt("drill", state="reducing")
        await me.resume("checked", confirm="x")
        await me.get("c")
        await me.preview("S", "sell", type="market", amount="1")
        sent = [{name: frame[name] for name in frame if name != "id"} for frame in server.got]

    # The welcome told the server's clock.
    placed = {"symbol": "S", "side": "buy", "type": "limit", "amount": 1, "client_order_id": "c"}
    assert sent[:9] == [
        {"op": "order.place", **placed, "post_only": True, "expires_at": 1_790_000_002_000},
        {"op": "order.amend", "client_order_id": "c", "price": "2"},
        {"op": "order.cancel", "client_order_id": "c"},
        {"op": "order.cancel", "order_id": "o-1"},
        {"op": "order.cancel_all"},
        {"op": "trading.halt", "reason": "drill", "state": "reducing"},
        {"op": "trading.resume", "reason": "checked", "confirm": "x"},
        {"op": "order.get", "client_order_id": "c"},
        {"op": "order.preview", "symbol": "S", "side": "sell", "type": "market", "amount": "1"},
    ]


async def test_until_waits_for_the_effect_to_be_visible() -> None:
    async with hub() as server:
        server.feed("orders", {"set": []})
        at = {"orders": {"epoch": "k1", "seq": 102}, "positions": {"epoch": "k1", "seq": 5}}
        async with client(server) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe("orders")
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(me.until(at))
                await server.publish("orders", {"set": [{"id": 1}]})
                await take(events, 2)
                assert not waiting.done()
                await server.publish("orders", {"set": [{"id": 2}]})
            await me.until(at)
            await me.until({"orders": {"epoch": "k0", "seq": 10**9}})

            assert me.state("orders") == {"1": {"id": 1}, "2": {"id": 2}}


async def test_until_is_satisfied_by_a_snapshot_of_a_later_life() -> None:
    async with hub() as server:
        server.feed("orders", {"set": []})
        async with client(server) as me, asyncio.timeout(PATIENCE):
            await me.subscribe("orders")
            async with asyncio.TaskGroup() as group:
                waits = [
                    group.create_task(me.until({"orders": {"epoch": "k1", "seq": 500}}))
                    for _ in "ab"
                ]
                await asyncio.sleep(0)
                waits[1].cancel()
                server.feed("orders", {"set": []}, epoch="k2")
                server.cut()


async def test_until_does_not_take_an_old_life_of_a_stream_for_the_effect() -> None:
    me = Client("ws://127.0.0.1:9/ws")
    orders = me._streams["orders"] = Stream("orders")
    orders.subscribed({"channel": "orders", "class": "table", "epoch": "k1", "seq": 7})
    full = {"type": "snapshot", "channel": "orders", "epoch": "k1", "seq": 7, "data": {"set": []}}
    orders.apply(full)
    orders.cut()

    assert not me._reached({"orders": {"epoch": "k2", "seq": 1}})

    orders.apply(full | {"epoch": "k2", "seq": 3})

    assert me._reached({"orders": {"epoch": "k2", "seq": 1}})


async def test_a_slow_program_is_told_what_it_missed_and_keeps_the_right_state() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        server.feed("fills")
        async with client(server, bound=4) as me:
            events = await me.subscribe("ticker:A", "fills")
            for number in range(1, 21):
                await server.publish("ticker:A", {"bid": str(number)})
                await server.publish("fills", [{"id": number}])
            await me.call("ping")
            seen = []
            while events._queue:
                seen += await take(events, 1)

            shown = sum(1 for event in seen if event.kind != "lag")
            missed = sum(int(str(event.message["missed"])) for event in seen if event.kind == "lag")
            assert shown + missed == 42
            assert len(seen) <= 5
            assert me.state("ticker:A") == {"bid": "20"}
            assert len(me.state("fills")) == 20  # type: ignore[arg-type]  # a log's state is a sequence


async def test_readers_of_one_channel_share_it_until_the_last_is_gone() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me:
            first = await me.subscribe("ticker:A")
            async with await me.subscribe("ticker:A") as second:
                await take(second, 1)
            await me.call("ping")
            assert server.ops("unsubscribe") == []
            await server.publish("ticker:A", {"bid": "1"})
            seen = await take(first, 3)
            first.close()
            first.close()
            await me.call("ping")

            assert [event.kind for event in seen] == ["snapshot", "snapshot", "update"]
            assert len(server.ops("unsubscribe")) == 1
            assert [event async for event in first] == []
            await server.send(server.feeds["ticker:A"].full("upstream"))  # too late: nobody reads
            await me.call("ping")
            assert me.state("ticker:A") is None


async def test_all_tickers_come_under_their_own_names() -> None:
    async with hub() as server:
        for symbol in "AB":
            server.feed(f"ticker:{symbol}", {"symbol": symbol})
        async with client(server) as me:
            events = await me.subscribe("ticker:*")
            first = await take(events, 2)
            server.cut()
            again = await take(events, 2)
            await server.publish("ticker:A", {"symbol": "A", "bid": "2"})
            (update,) = await take(events, 1)

            assert [event.channel for event in first] == ["ticker:A", "ticker:B"]
            assert [event.kind for event in again] == ["snapshot", "snapshot"]
            assert update.state == {"symbol": "A", "bid": "2"}
            assert server.ops("subscribe")[1]["channels"] == ["ticker:*"]
            events.close()
            await me.call("ping")
            assert me.state("ticker:A") is None


async def test_all_symbols_of_another_account_are_read_under_their_own_names() -> None:
    async with hub() as server:
        server.feed("ticker:A@k?rate=0", {"symbol": "A"})
        async with client(server) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe("ticker:*@k?rate=0")
            (first,) = await take(events, 1)

            assert (first.channel, first.kind) == ("ticker:A@k?rate=0", "snapshot")
            assert me.value("ticker:A@k?rate=0") == {"symbol": "A"}


@pytest.mark.parametrize("name", ["ticker:A", "ticker:*"])
async def test_who_was_told_of_a_silent_source_is_told_that_it_came_back_while_we_were_away(
    name: str,
) -> None:
    async with hub() as server:
        for channel in ("ticker:A", "ticker:B", "fills"):
            server.feed(channel, {})
        notice = {"type": "notice", "event": "stale", "ts": 1, "channels": ["ticker:A"]}
        async with client(server) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe(name)
            first = await take(events, 2 if name == "ticker:*" else 1)
            await server.send(notice | {"data": {"stale": True}})
            (silent,) = await take(events, 1)
            server.cut()
            (back,) = await take(events, 1)

            assert {event.kind for event in first} == {"snapshot"}
            assert (silent.kind, silent.message["data"]["stale"]) == ("stale", True)
            assert (back.channel, back.kind) == ("ticker:A", "stale")
            assert back.message["data"]["stale"] is False
            stream = me.stream("ticker:A")
            assert stream is not None
            assert not stream.stale


async def test_a_lost_resume_is_not_sent_again_for_it_could_take_back_a_halt() -> None:
    async with hub() as server:
        server.lost.add("trading.resume")
        async with client(server) as me, asyncio.timeout(PATIENCE):
            with pytest.raises(CommandError) as unknown:
                await me.resume("checked")
            await me.call("ping")

            assert (unknown.value.code, unknown.value.outcome) == ("outcome_unknown", "unknown")
            assert len(server.ops("trading.resume")) == 1


async def test_notices_are_told() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me:
            heard: list[Any] = []
            me.on_notice = heard.append
            events = await me.subscribe("ticker:A")
            await take(events, 1)
            notice = {"type": "notice", "ts": 1, "channels": ["ticker:A", "ticker:Z"]}
            await server.send(notice | {"event": "stale", "data": {"stale": True}})
            (stale,) = await take(events, 1)
            stream = me.stream("ticker:A")
            assert stream is not None
            assert stream.stale
            await server.send({"type": "heartbeat", "ts": 1, "asof": {}})
            await server.send({"type": "from a later version"})
            await server.send(notice | {"event": "unsubscribed", "data": {"code": "forbidden"}})
            (ended,) = await take(events, 1)
            await server.send({"type": "notice", "event": "deadman_fired", "ts": 1, "data": {}})
            await me.call("ping")

            assert (stale.kind, ended.kind) == ("stale", "ended")
            assert me.stream("ticker:A") is None
            assert [notice["event"] for notice in heard] == [
                "stale",
                "unsubscribed",
                "deadman_fired",
            ]


async def test_a_channel_that_is_gone_after_a_reconnect_ends() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me:
            events = await me.subscribe("ticker:A")
            await take(events, 1)
            del server.feeds["ticker:A"]
            server.cut()
            (event,) = await take(events, 1)

            assert (event.kind, event.message["data"]["code"]) == ("ended", "unknown_channel")


async def test_a_channel_whose_account_opens_late_is_asked_for_until_it_does() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        server.feed("ticker:B", {"bid": "0"})
        async with client(server) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe("ticker:A", "ticker:B")
            await take(events, 2)
            server.shut = {"ticker:A", "ticker:B"}
            server.cut()
            await server.until(lambda: len(server.ops("subscribe")) > 3)
            server.shut = set()
            for name in ("ticker:A", "ticker:B"):
                await server.publish(name, {"bid": "1"})
            seen = await take(events, 2)

            assert {(event.channel, event.kind) for event in seen} == {
                ("ticker:A", "update"),
                ("ticker:B", "update"),
            }
            assert len(server.ops("subscribe")[3]["channels"]) == 2


async def test_what_a_lost_connection_would_ask_again_the_next_asks_alone() -> None:
    """Else each loss while an account is closed leaves one more who asks, for as long as that lasts."""
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe("ticker:A")
            await take(events, 1)
            me._refused("subscribe", ["ticker:A"], {"retry_after": 0})
            me._cut()
            me._take({"type": "welcome"})
            await me.call("ping")

            assert len(server.ops("subscribe")) == 2


async def test_a_refused_subscription_tells_when_to_come_back() -> None:
    async with hub() as server:
        server.shut = {"ticker:A"}
        async with client(server) as me, asyncio.timeout(PATIENCE):
            with pytest.raises(CommandError) as shut:
                await me.subscribe("ticker:A")
            with pytest.raises(CommandError) as unknown:
                await me.subscribe("ticker:B")

            assert (shut.value.code, shut.value.retry_after) == ("venue_unavailable", 0.01)
            assert unknown.value.retry_after is None


@pytest.mark.parametrize("name", ["ticker:A", "ticker:*"])
async def test_the_first_reader_hears_what_only_the_reply_to_a_second_says_of_the_source(
    name: str,
) -> None:
    """Who is paced may subscribe again between the return of a source and the notice about it."""
    async with hub() as server:
        server.feed("ticker:A", {})
        notice = {"type": "notice", "event": "stale", "ts": 1, "channels": ["ticker:A"]}
        async with client(server) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe(name)
            await take(events, 1)
            await server.send(notice | {"data": {"stale": True}})
            (silent,) = await take(events, 1)
            others = await me.subscribe(name)
            (back,) = await take(events, 1)
            (first,) = await take(others, 1)

            assert silent.message["data"]["stale"] is True
            assert (back.kind, back.message["data"]["stale"]) == ("stale", False)
            assert first.kind == "snapshot"


async def test_a_server_without_time_for_our_subscriptions_is_asked_again() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe("ticker:A")
            await take(events, 1)
            error = {"code": "rate_limited", "message": "slower", "outcome": "not_done"}
            server.denied = [
                {"error": error | {"retry_after": 0.01}},
                {"error": error | {"retry_after": 0.01}},
            ]
            server.feeds["ticker:A"].update({"bid": "1"})
            server.cut()
            (event,) = await take(events, 1)

            assert event.state == {"bid": "1"}
            assert len(server.ops("subscribe")) == 4


async def test_a_server_without_time_for_the_end_of_a_subscription_is_asked_again() -> None:
    """Found with a client at its rate: its closed channels were sent on, to nobody, until it left."""
    async with hub() as server:
        for name in ("ticker:A", "ticker:B"):
            server.feed(name, {"bid": "0"})
        async with client(server) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe("ticker:A", "ticker:B")
            error = {"code": "rate_limited", "message": "slower", "outcome": "not_done"}
            server.denied = [{"error": error | {"retry_after": 0.01}} for _ in range(2)]
            events.close()
            await server.until(lambda: server.denied == [])
            again = await me.subscribe("ticker:B")
            await server.until(lambda: set.union(*server.readers.values()) == {"ticker:B"})
            await server.publish("ticker:B", {"bid": "1"})

            assert [event.kind for event in await take(again, 2)] == ["snapshot", "update"]


async def test_an_end_that_is_refused_for_good_is_not_asked_for_again() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe("ticker:A")
            server.denied = [{"error": {"code": "invalid", "message": "no", "outcome": "not_done"}}]
            events.close()
            await me.call("ping")

            assert me._unread == set()
            assert len(server.ops("unsubscribe")) == 1


async def test_after_shutdown_the_client_waits_for_its_slot() -> None:
    async with hub() as server, client(server) as me, asyncio.timeout(PATIENCE):
        notice = {"type": "notice", "event": "shutdown", "ts": 1}
        await server.send(notice | {"data": {"in": 0, "reconnect_after": 0.15}})
        await me.call("ping")
        before = asyncio.get_running_loop().time()
        await server.close(4503, "shutdown")
        await me.call("ping")

        assert asyncio.get_running_loop().time() - before >= 0.15
        assert me.connections == 2


@pytest.mark.parametrize("code", [4401, 4403, 4400, 1009])
async def test_a_close_that_asks_for_a_change_ends_the_client(code: int) -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me:
            events = await me.subscribe("ticker:A")
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(
                    failing(me.until({"ticker:A": {"epoch": "k1", "seq": 999}}))
                )
                await asyncio.sleep(0)
                await server.close(code, "why")
            with pytest.raises(Closed) as closed:
                async for _ in events:
                    pass
            for attempt in (me.call("ping"), me.until({"ticker:A": {"epoch": "k1", "seq": 999}})):
                with pytest.raises(Closed):
                    await attempt

        assert (closed.value.code, closed.value.reason) == (code, "why")
        assert waiting.result() is closed.value
        assert len(server.hellos) == 1


async def failing(work: Any) -> Closed:
    with pytest.raises(Closed) as error:
        await work
    return error.value


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refused_upgrade_ends_the_client(status: int) -> None:
    async with hub() as server:
        server.refuse = (status, {})
        with pytest.raises(Closed, match=str(status)):
            async with client(server):
                pass


async def test_a_server_that_wants_a_token_is_not_waited_for() -> None:
    async with hub() as server:
        server.welcome = {"auth": "required"}
        with pytest.raises(Closed, match="4401"):
            async with client(server):
                pass


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {}])
async def test_a_full_server_is_tried_again(headers: dict[str, str]) -> None:
    async with hub() as server:
        server.refuse = (503, headers)
        async with asyncio.timeout(PATIENCE), client(server, chance=random.Random(1)) as me:
            assert me.connections == 1
        assert len(server.hellos) == 2


async def test_a_silent_server_is_left_after_two_and_a_half_heartbeats() -> None:
    async with hub() as server:
        server.welcome = {"heartbeat": 1}
        async with client(server) as me, asyncio.timeout(PATIENCE):
            me._patience = 0.05
            await me.call("ping")
            await server.until(lambda: len(server.hellos) >= 2)


async def test_how_long_silence_is_borne_is_as_the_server_says() -> None:
    me = Client("ws://127.0.0.1:9/ws", heartbeat=5)
    me._welcome({"type": "welcome", "heartbeat": 2})

    assert me._patience == 5.0


async def test_a_full_server_says_when_to_come_back_and_chance_has_no_say() -> None:
    class Never(random.Random):
        def uniform(self, _low: float, _high: float) -> float:
            return 3_600.0

    async with hub() as server:
        server.refuse = (503, {"Retry-After": "0"})
        async with asyncio.timeout(60), client(server, chance=Never()) as me:
            assert me.connections == 1


async def test_nobody_there_is_waited_out_with_jitter_that_doubles() -> None:
    me = Client("ws://127.0.0.1:9/ws", chance=random.Random(1))
    pauses = [me._pause() for _ in range(12)]
    limits = [min(30.0, 0.25 * 2**n) for n in range(12)]

    assert all(0 <= pause <= limit for pause, limit in zip(pauses, limits, strict=True))
    assert max(pauses) > 5


async def test_a_loss_after_a_heartbeat_is_a_new_one_also_for_a_client_that_only_waits() -> None:
    me = Client("ws://127.0.0.1:9/ws", chance=random.Random(1))
    for _ in range(9):
        me._pause()
        me._take({"type": "welcome"})
    me._met -= 5  # an interval goes by
    me._take({"type": "heartbeat", "ts": 1, "asof": {}})

    assert me._pause() <= 0.25


async def test_a_server_that_sends_a_heartbeat_and_closes_at_once_is_not_hammered() -> None:
    class Most(random.Random):
        def uniform(self, _low: float, high: float) -> float:
            return high

    me = Client("ws://127.0.0.1:9/ws", chance=Most())
    pauses = []
    for _ in range(9):
        me._take({"type": "welcome", "heartbeat": 30})
        me._take({"type": "heartbeat", "ts": 1, "asof": {}})
        pauses.append(me._pause())

    assert pauses == [min(30.0, 0.25 * 2**n) for n in range(9)]


async def test_the_clock_follows_the_best_ping() -> None:
    times = iter([100.0, 100.0, 100.4, 101.0, 101.1, 102.0]).__next__
    async with hub() as server:
        replies = iter([(100_500, 100_600), (101_250, 101_250)])

        def answer(_: Any) -> Any:
            received, ts = next(replies)
            return {"ts": ts, "result": {"recv_ts": received}}

        server.answers["ping"] = answer
        async with client(server, clock=times) as me:
            trips = [await me.ping(), await me.ping()]
            now = me.now()

    assert trips == pytest.approx([0.4, 0.1])
    assert now == 102_200


async def test_a_frame_that_the_server_would_refuse_is_not_sent() -> None:
    async with hub() as server, client(server) as me:
        with pytest.raises(CommandError, match="65536"):
            await me.call("order.place", note="x" * 70_000)

        assert server.got == []


async def test_a_command_given_up_leaves_nothing_behind() -> None:
    async with hub() as server, client(server) as me:
        server.lost.update({"order.cancel"})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await me.cancel("c")
        await me.call("ping")

        assert me._calls == {}


async def test_many_channels_are_subscribed_again_in_frames_of_a_bounded_size() -> None:
    async with hub() as server:
        names = [f"ticker:{number}" for number in range(150)]
        for name in names:
            server.feed(name, {"bid": "0"})
        async with client(server) as me:
            events = await me.subscribe(*names)
            await take(events, 150)
            server.cut()
            await server.until(lambda: len(server.ops("subscribe")) >= 4)

        assert [len(frame["channels"]) for frame in server.ops("subscribe")[1:]] == [64, 64, 22]


@pytest.mark.parametrize("seed", range(6))
async def test_a_client_agrees_with_the_server_after_cuts_gaps_and_restarts(seed: int) -> None:
    chance = random.Random(seed)
    async with hub() as server:
        truth: dict[str, dict[str, Any]] = {}
        orders = server.feed("orders", {"set": []})
        fills = server.feed("fills")
        sent: list[Any] = []
        async with client(server, chance=random.Random(seed)) as me, asyncio.timeout(PATIENCE):
            events = await me.subscribe("orders", "fills")
            got: list[Any] = []
            for step in range(120):
                row: dict[str, Any] = {"id": str(chance.randrange(6)), "step": step}
                change: Any = {"set": [row]}
                truth[row["id"]] = row
                if chance.random() < 0.3:
                    gone = str(chance.randrange(6))
                    if gone != row["id"]:
                        truth.pop(gone, None)
                        change["del"] = [gone]
                sent.append(step)
                orders.snapshot = {"set": list(truth.values())}
                if chance.random() < 0.15:  # never sent
                    orders.update(change)
                    fills.update([step])
                else:
                    await server.publish("orders", change)
                    await server.publish("fills", [step])
                if chance.random() < 0.1:
                    server.cut()
                if (
                    chance.random() < 0.05
                ):  # the boot's streams begin a new life, the journal's goes on
                    orders.epoch, orders.seq, orders.held = f"k{step}", 0, []
                    server.cut()
                await asyncio.sleep(0)
            await me.call("ping")
            await server.publish("orders", {"set": []})
            await server.publish("fills", [])
            stream = me.stream("orders")
            assert stream is not None
            await me.until({"orders": {"epoch": orders.epoch, "seq": orders.seq}})
            await me.until({"fills": {"epoch": "k1", "seq": fills.seq}})
            while events._queue:
                event = await anext(events)
                if event.channel == "fills":
                    data = event.message["data"]
                    assert isinstance(data, list)
                    got += data

            assert me.state("orders") == truth
            assert got == sent


# -- what a program does at the same time ------------------------------------------------------------


async def test_a_reader_that_leaves_takes_nothing_from_one_that_comes() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me:
            first = await me.subscribe("ticker:A")
            coming = asyncio.create_task(me.subscribe("ticker:A"))
            await asyncio.sleep(0)  # it is on its way
            first.close()
            second = await coming
            await me.call("ping")
            await server.publish("ticker:A", {"bid": "1"})

            assert [event.kind for event in await take(second, 2)] == ["snapshot", "update"]
            second.close()
            await me.call("ping")
            assert [frame["channels"] for frame in server.ops("unsubscribe")] == [["ticker:A"]]


async def test_a_subscription_given_up_is_ended_at_the_server_too() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        server.feed("fills", [])
        since = {"fills": {"epoch": "k1", "seq": 100}}
        async with client(server) as me:
            coming = asyncio.create_task(me.subscribe("ticker:A", "fills", since=since))
            await server.until(lambda: server.ops("subscribe"))
            coming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await coming
            async with asyncio.timeout(PATIENCE):
                await server.until(lambda: server.ops("unsubscribe"))
            await me.call("ping")

            assert me.state("ticker:A") is None
            assert me.stream("fills") is None
            assert me._calls == {}
            assert me._readers == {}


async def test_a_subscription_given_up_is_not_asked_for_after_a_cut() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        server.lost.add("subscribe")
        async with client(server) as me, asyncio.timeout(PATIENCE):
            coming = asyncio.create_task(me.subscribe("ticker:A"))
            await asyncio.sleep(0)
            coming.cancel()
            await server.until(lambda: len(server.hellos) > 1)
            await me.call("ping")

            assert len(server.ops("subscribe")) == 1
            assert me._calls == {}


@pytest.mark.parametrize("names", [("ticker:*", "ticker:A"), ("ticker:A", "ticker:*")])
async def test_one_ticker_and_all_tickers_are_read_side_by_side(names: tuple[str, str]) -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me:
            first = await me.subscribe(names[0])
            await take(first, 1)
            second = await me.subscribe(names[1])
            await take(first, 1)
            await take(second, 1)
            await server.publish("ticker:A", {"bid": "1"})

            assert (await take(first, 1))[0].state == {"bid": "1"}
            assert (await take(second, 1))[0].state == {"bid": "1"}
            second.close()
            await me.call("ping")
            await server.send(server.feeds["ticker:A"].update({"bid": "2"}))
            if names[0] == "ticker:A":
                assert (await take(first, 1))[0].state == {"bid": "2"}
            assert me.state("ticker:A") is not None


async def test_who_reads_one_ticker_and_all_is_told_once() -> None:
    async with hub() as server:
        server.feed("ticker:A", {"bid": "0"})
        async with client(server) as me:
            events = await me.subscribe("ticker:A", "ticker:*")
            await take(events, 2)  # a snapshot for each
            await server.publish("ticker:A", {"bid": "1"})
            await me.call("ping")

            assert events.waiting == 1


async def test_until_does_not_wait_for_what_is_read_no_more() -> None:
    async with hub() as server:
        server.feed("orders", {"set": []})
        async with client(server) as me:
            events = await me.subscribe("orders")
            await take(events, 1)
            waiting = asyncio.create_task(me.until({"orders": {"epoch": "k1", "seq": 105}}))
            await asyncio.sleep(0)
            assert not waiting.done()
            events.close()
            async with asyncio.timeout(PATIENCE):
                await waiting


async def test_a_fault_of_the_program_reaches_its_other_tasks() -> None:
    def deaf(_: object) -> None:
        raise KeyError("mine")

    async with hub() as server:
        server.feed("orders", {"set": []})
        with pytest.raises(ExceptionGroup):  # noqa: PT012 - the whole life of a client
            async with client(server) as me:
                me.on_notice = deaf
                events = await me.subscribe("orders")
                await take(events, 1)
                reading = asyncio.create_task(failing(anext(events)))
                await server.send({"type": "notice", "event": "deadman_fired", "ts": 1, "data": {}})
                await asyncio.Event().wait()
        async with asyncio.timeout(PATIENCE):
            assert "KeyError('mine')" in str(await reading)


@pytest.mark.parametrize("name", ["id", "op"])
async def test_an_argument_that_would_hide_the_reply_is_refused(name: str) -> None:
    async with hub() as server, client(server) as me:
        with pytest.raises(CommandError, match=name):
            await me.call("order.get", **{name: "7"})

        assert server.got == []


async def test_a_client_that_was_not_entered_says_so() -> None:
    me = Client()
    for work in (me.call("ping"), me.subscribe("orders")):
        with pytest.raises(RuntimeError, match="async with"):
            async with asyncio.timeout(PATIENCE):
                await work


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "http://localhost:8000/ws", "ws://localhost:99999/ws", "ws:///ws"]
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="ws://127"):
        Client(url)


async def test_the_servers_own_words_say_why_it_refuses() -> None:
    async with hub() as server:
        server.refuse = (404, {})
        error = {"code": "not_found", "message": "the socket is at /ws"}
        server.words = {"ok": False, "error": error}
        with pytest.raises(Closed, match="404 the socket is at /ws"):
            async with asyncio.timeout(PATIENCE), client(server):
                pass


@pytest.mark.parametrize(
    "words",
    [
        None,
        {"error": {"code": 404, "message": "no healthy upstream", "status": "NOT_FOUND"}},
        {"error": {"code": "NotFound", "message": "no such route"}},
        {"ok": False, "error": {"code": 404, "message": "no such route"}},
        ["error"],
    ],
)
async def test_a_path_that_only_a_proxy_does_not_know_is_tried_again(words: Any) -> None:
    async with hub() as server:
        server.refuse, server.words = (404, {}), words
        me = client(server, chance=random.Random(1))
        entering = asyncio.create_task(me.__aenter__())
        async with asyncio.timeout(PATIENCE):
            await server.until(lambda: len(server.hellos) > 1)
            assert me.trouble == "HTTP 404 Not Found"
            server.refuse = None
            await entering
            assert me.trouble == ""
            await me.__aexit__(None, None, None)
