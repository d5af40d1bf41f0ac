"""A dry run refuses what the command refuses, with its code, and shows what it then does (protocol document, 8.1)."""

from decimal import Decimal
from typing import Any

from realtime.commands.params import CommandParams
from realtime.model.errors import Code
from tests.bots.market import QUIET, BotWorld, result
from tests.commands.test_bot import started
from tests.commands.test_portfolio import signal
from tests.fakes import BTC, BUY, ETH, World


PLACE = BUY | {"client_order_id": "rests"}
MARKET: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
SIGNAL = signal()

STEPS: list[tuple[str, dict[str, Any], Code | None]] = [
    ("bot.pause", {"bot_id": "nope"}, Code.NOT_FOUND),
    ("bot.pause", {"until_ts": 1}, Code.INVALID),
    ("bot.pause", {}, Code.CONFLICT),  # it is stopped
    ("bot.pause", {"bot_id": "b"}, None),
    ("bot.pause", {"bot_id": "b"}, None),
    ("bot.attach", {"bot_id": "main"}, Code.CONFLICT),
    ("bot.attach", {"bot_id": "r"}, None),
    ("bot.attach", {"bot_id": "r"}, None),
    ("bot.attach", {"bot_id": "r", "client": "other"}, Code.CONFLICT),
    ("bot.detach", {"bot_id": "r", "client": "other"}, Code.CONFLICT),
    ("bot.detach", {"bot_id": "main"}, Code.CONFLICT),
    ("bot.detach", {"bot_id": "r"}, None),
    ("bot.detach", {"bot_id": "r"}, None),
    ("bot.stop", {"bot_id": "r"}, None),
    ("bot.attach", {"bot_id": "r"}, Code.CONFLICT),  # until bot.start
    ("bot.stop", {"bot_id": "nope"}, Code.NOT_FOUND),
    ("order.place", PLACE | {"bot_id": "b"}, None),
    ("order.place", PLACE | {"bot_id": "b"}, None),
    ("order.place", PLACE, Code.CONFLICT),
    ("order.place", MARKET | {"symbol": "NO/PE"}, Code.NOT_FOUND),
    ("order.place", MARKET | {"amount": "1000"}, Code.INSUFFICIENT_FUNDS),
    ("order.amend", {"client_order_id": "rests", "price": "63950.001"}, Code.INVALID),
    ("order.amend", {"client_order_id": "rests", "price": "63950"}, None),
    ("bot.stop", {"bot_id": "b"}, None),
    ("bot.stop", {"bot_id": "b"}, None),
    ("order.amend", {"client_order_id": "rests", "price": "63900"}, Code.CONFLICT),
    ("order.cancel", {"client_order_id": "rests"}, None),
    ("order.cancel", {"client_order_id": "nope"}, Code.NOT_FOUND),
    ("order.cancel_all", {"symbol": "NO/PE"}, Code.NOT_FOUND),
    ("order.cancel_all", {"venue": "nope"}, Code.NOT_FOUND),
    ("order.batch", {"items": [{"do": "place", **BUY, "client_order_id": "second"}]}, None),
    ("order.batch", {"items": [{"do": "cancel", "client_order_id": "nope"}]}, Code.NOT_FOUND),
    ("order.cancel_all", {}, None),
    ("order.place", MARKET, None),
    ("position.close", {"position_id": "nope"}, Code.NOT_FOUND),
    ("position.close", {"position_id": "BTC/USDT|long", "type": "limit"}, Code.INVALID),
    ("position.close", {"position_id": "BTC/USDT|long", "amount": "5"}, Code.INSUFFICIENT_FUNDS),
    ("position.close", {"position_id": "BTC/USDT|long", "fraction": 0.5}, None),
    ("position.close_all", {"symbol": "NO/PE"}, Code.NOT_FOUND),
    ("position.close_all", {}, None),
    ("portfolio.rebalance", {"targets": [{"symbol": "NO/PE", "weight": "0.1"}]}, Code.NOT_FOUND),
    ("portfolio.rebalance", {"targets": [{"symbol": BTC, "weight": "2"}]}, Code.INVALID),
    ("portfolio.process_signals", {"signals": [SIGNAL | {"symbol": "NO/PE"}]}, Code.NOT_FOUND),
    ("portfolio.process_signals", {"signals": [SIGNAL], "execute": True}, None),
    ("deadman", {}, Code.INVALID),
    ("deadman", {"timeout": 60}, None),
    ("deadman", {"timeout": 0}, None),
    ("trading.halt", {"symbol": "NO/PE"}, Code.NOT_FOUND),
    ("trading.halt", {"symbol": ETH, "venue": "nope"}, Code.INVALID),
    ("trading.halt", {"symbol": ETH}, None),
    ("trading.halt", {"symbol": ETH, "state": "reducing"}, None),
    ("bot.emergency_stop", {"bot_id": "nope"}, Code.NOT_FOUND),
    ("bot.emergency_stop", {"bot_id": "r"}, None),
    ("bot.emergency_stop", {"bot_id": "r"}, None),
    ("bot.attach", {"bot_id": "r"}, Code.HALTED),
    ("bot.pause", {"bot_id": "r"}, Code.HALTED),
    ("bot.detach", {"bot_id": "r"}, None),
    ("bot.stop", {"bot_id": "r"}, None),
    ("bot.emergency_stop", {"flatten": True}, None),
    ("order.place", MARKET, Code.HALTED),
]
"""What is asked for in a row, and what it is refused with."""


def code_of(reply: Any) -> Code | None:
    """Why something was refused: also of a preview, and of the one item of a batch."""
    told = reply.result or {}
    for item in told.get("items", ()):
        told = item if item["ok"] else item["error"]
    found = reply.code or (told.get("code") if reply.ok else None)
    return None if found is None else Code(found)


async def test_a_dry_run_says_what_the_command_then_does() -> None:
    """Symptom: ok with the state of now, where the command refused or led to another state."""
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        assert (await world.call("bot.configure", bot_id="r", patch={"kind": "remote"})).ok
        await started(world)
        for op, args, code in STEPS:
            before = system.store.seq
            dry = await world.call(op, **args, dry_run=True)
            assert system.store.seq == before, (op, args)
            wet: dict[str, Any] = {"dry_run": False} if op == "portfolio.rebalance" else {}
            done = await world.call(op, **args, **wet)

            assert (code_of(dry), code_of(done)) == (code, code), (op, args, dry, done)
            if not (dry.ok and done.ok):
                continue
            told, led = dry.result, done.result
            assert told is not None
            assert led is not None
            if op == "order.batch":
                continue
            assert told["dry_run"] is True, (op, args)
            effect = told["effect"]
            assert isinstance(effect, dict)
            one = effect.get("bots", {}).get(args.get("bot_id"), effect)
            assert one.get("state", led.get("state")) == led.get("state"), (op, args, told)
            if "canceled" in led:
                assert one["orders"] == len(led["canceled"]), (op, args, told)  # type: ignore[arg-type]

    named = {op for op, _, _ in STEPS} | {"bot.run_once"}  # which refuses every dry run
    ops = world.system.registry.ops.values()
    assert named == {op.name for op in ops if op.command and issubclass(op.params, CommandParams)}


async def test_a_dry_run_is_busy_while_the_journal_takes_no_command() -> None:
    """Symptom: of a placement and of closing it was `valid`."""
    world = World()
    async with world.life() as system:
        assert (await world.call("order.place", **MARKET)).ok
        assert (await world.call("order.place", **PLACE)).ok
        system.desk.room = 0
        asked: list[tuple[str, dict[str, Any]]] = [
            ("order.place", MARKET),
            ("order.amend", {"client_order_id": "rests", "price": "63950"}),
            ("position.close", {"position_id": "BTC/USDT|long"}),
        ]
        for op, args in asked:
            dry, done = await world.call(op, **args, dry_run=True), await world.call(op, **args)
            assert (dry.code, done.code) == (Code.BUSY, Code.BUSY), op


async def test_a_dry_run_of_a_halt_shows_what_it_closes_and_what_it_leaves() -> None:
    """Symptom: no symbol of a position, and exits that `reducing` keeps were said to be canceled."""
    world = World()
    async with world.life():
        for symbol, amount in ((BTC, "0.02"), (ETH, "0.1")):
            assert (
                await world.call("order.place", **MARKET | {"symbol": symbol, "amount": amount})
            ).ok
        leave: dict[str, Any] = BUY | {"side": "sell", "price": "65000", "reduce_only": True}
        assert (await world.call("order.place", **leave, client_order_id="leaves")).ok
        shown = [
            result(await world.call("trading.halt", **args, dry_run=True))["effect"]
            for args in (
                {"flatten": True},
                {"flatten": True, "symbol": ETH},
                {"state": "reducing"},
                {},
            )
        ]
        done = result(await world.call("trading.halt", state="reducing"))
        same = result(await world.call("trading.halt", state="reducing", dry_run=True))["effect"]
        stricter = result(await world.call("trading.halt", dry_run=True))["effect"]

        assert [(one["positions"], one["symbols"]) for one in shown] == [
            (2, [BTC, ETH]),
            (1, [ETH]),
            (0, []),
            (0, [BTC]),
        ]
        assert [one["canceled"] for one in shown] == [["leaves"], [], [], ["leaves"]]
        assert done["canceled"] == []
        assert (same["state"], stricter["state"]) == ("reducing", "halted")


async def test_closing_all_says_the_amount_that_is_sent() -> None:
    """Symptom: 0.010007 where 0.01 is sent, because what is less than a lot stays."""
    world = World()
    world.venue.coins["BTC"] = Decimal("0.010007")
    async with world.life():
        shown = result(await world.call("position.close_all", dry_run=True))["effect"]
        closed = result(await world.call("position.close_all"))["closed"]

        assert [row["filled"] for row in closed] == ["0.01000"]
        assert shown["closes"] == ["paper: 0.01000 of BTC/USDT|long"]


async def test_signals_that_are_only_looked_at_say_so() -> None:
    world = World()
    async with world.life():
        args: dict[str, Any] = {"signals": [SIGNAL], "execute": True}
        dry = result(await world.call("portfolio.process_signals", **args, dry_run=True))
        idle = result(await world.call("portfolio.process_signals", signals=[SIGNAL], dry_run=True))
        done = result(await world.call("portfolio.process_signals", **args))

        assert (dry["dry_run"], dry["effect"]) == (True, {"orders": 1, "symbols": [BTC]})
        assert idle["effect"] == {"orders": 0, "symbols": []}
        assert "dry_run" not in done
        assert done["actions"][0]["order"]["status"] == "filled"


async def test_an_emergency_stop_of_all_shows_the_halt_too() -> None:
    """Symptom: the orders of nobody's bot, which it cancels, were left out."""
    world = BotWorld()
    async with world.life():
        await world.call("order.place", **PLACE)
        await world.call("order.place", **MARKET)
        effect = result(await world.call("bot.emergency_stop", flatten=True, dry_run=True))[
            "effect"
        ]

        assert effect["bots"] == {"main": {"state": "halted", "orders": 0, "positions": 0}}
        assert (effect["state"], effect["canceled"]) == ("halted", ["rests"])
        assert (effect["positions"], effect["symbols"]) == (1, [BTC])


async def test_a_lease_can_be_given_back_twice_while_a_stop_of_the_bot_rests() -> None:
    """Symptom: a conflict, though there was nothing to cancel: attached exits stay."""
    world = BotWorld()
    async with world.life():
        assert (await world.call("bot.configure", bot_id="r", patch={"kind": "remote"})).ok
        assert (await world.call("bot.attach", bot_id="r")).ok
        given = MARKET | {"bot_id": "r", "stop_loss": "60000"}
        assert (await world.call("order.place", **given)).ok
        first = result(await world.call("bot.detach", bot_id="r"))
        again = result(await world.call("bot.detach", bot_id="r"))

        assert len(again["open_orders"]) == 1
        assert (first["changed"], again["changed"]) == (True, False)


async def test_a_dry_run_of_a_stop_counts_what_it_will_close() -> None:
    """Symptom: all that the bot held, whether it was to be closed or not, and whether it could be."""
    world = BotWorld()
    async with world.life():
        await world.bot()
        await world.call("order.place", **MARKET, bot_id="b")
        leave = BUY | {"side": "sell", "price": "65000", "reduce_only": True, "bot_id": "b"}
        assert (await world.call("order.place", **leave)).ok

        async def shown(**args: Any) -> tuple[int, int]:
            told = result(await world.call("bot.stop", bot_id="b", **args, dry_run=True))["effect"]
            return told["orders"], told["positions"]

        assert await shown() == (1, 0)
        assert await shown(close_positions=True) == (1, 1)
        assert await shown(close_positions=True, cancel_orders=False) == (0, 0), "its exit has it"
        args: dict[str, Any] = {"bot_id": "b", "close_positions": True}
        left = result(await world.call("bot.stop", **args, cancel_orders=False))
        assert left["closed"] == []
        done = result(await world.call("bot.stop", **args))
        assert (len(done["canceled"]), len(done["closed"])) == (1, 1)
        assert await shown(close_positions=True) == (0, 0)
