"""trading:X7 and X9: what accounts are told and in which order; the same input gives the same bytes."""

import os
import pickle
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from realtime.engine.matching import Exchange
from realtime.engine.matching.orders import order_in, order_out
from realtime.engine.matching.state import (
    Entry,
    adopt,
    compact,
    entry_out,
    fill_in,
    fill_out,
)
from realtime.model.events import (
    BalanceSeen,
    Filled,
    OrderSeen,
    PositionSeen,
    VenueEvent,
)
from realtime.model.market import SECOND
from realtime.model.orders import OrderType, Side, Status, TimeInForce
from tests.engine.floor import GTD, PERP, SPOT, Floor, order, picture


D = Decimal
ROOT = Path(__file__).parents[2]


def kinds(events: list[VenueEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_an_order_is_told_open_then_filled_then_balances_then_position() -> None:
    made = Floor(PERP).outside([("99.0", "9")], [("100.0", "1"), ("101.0", "1")])
    made.told()
    made.buy("1.5")
    told = made.told()

    assert kinds(told) == [
        "OrderSeen",
        "Filled",
        "Filled",
        "OrderSeen",
        "BalanceSeen",
        "PositionSeen",
    ]
    rows = [event for event in told if isinstance(event, OrderSeen)]
    assert [(row.status, row.filled) for row in rows] == [
        (Status.OPEN, 0),
        (Status.FILLED, D("1.5")),
    ]


def test_a_maker_is_told_its_fill_and_what_is_left() -> None:
    made = Floor()
    made.sell("2", price="101.00")
    made.told()
    made.buy("1", account="you")
    told = made.told()

    assert kinds(told) == ["Filled", "OrderSeen", "BalanceSeen", "BalanceSeen"]
    assert isinstance(told[0], Filled)
    assert (told[0].maker, told[0].side) == (True, Side.SELL)


def test_each_account_has_one_sequence_without_holes() -> None:
    made = Floor()
    made.sell("2", price="101.00", account="you")
    made.buy("1")
    made.buy("1")
    told, _ = made.everything()

    for account in ("me", "you"):
        numbers = [item.seq for item in told if item.account == account]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("price", [None, "99.00"], ids=["market", "limit"])
def test_an_order_is_logged_without_what_it_has_not_and_read_as_it_was(price: str | None) -> None:
    made = Floor().outside([("99.00", "9")], [("101.00", "9")])
    work = made.buy("1", price=price) if price else made.buy("1")
    short = order_out(work)

    assert order_in(orjson.loads(orjson.dumps(short))) == work
    assert ("price" in short, "stop_price" in short) == (price is not None, False)


def test_sums_that_wait_are_in_the_log_at_once_and_told_together() -> None:
    made = Floor(PERP).outside([("99.0", "9")], [("101.0", "9")])
    made.told()
    for name in ("a", "b"):
        made.exchange.place("me", order(name, Side.BUY, symbol=PERP.symbol), 1, prompt=True)
    told, _ = made.everything()
    entry = entry_out(made.exchange, "me", [item for item in told if item.account == "me"])
    made.exchange.settle(2)

    assert kinds([item.event for item in told]) == ["Filled"] * 2
    assert entry["wallets"] == {"USDT": str(made.total("USDT"))}
    assert list(entry["holdings"]) == [PERP.symbol]  # type: ignore[call-overload]
    assert kinds(made.told()) == ["BalanceSeen", "PositionSeen"]


def test_the_end_of_a_prompt_order_that_was_cut_is_told_besides_its_fills() -> None:
    """Its fills do not come to what its owner asked for."""
    made = Floor(PERP).outside([("99.0", "9")], [("101.0", "9")])
    made.buy("1")
    made.told()
    wish = order("a", Side.SELL, "1.5", symbol=PERP.symbol, reduce_only=True)
    made.exchange.place("me", wish, 2, prompt=True)
    fill, row = (item.event for item in made.exchange.take_told())

    assert isinstance(fill, Filled)
    assert fill.amount == D(1)
    assert isinstance(row, OrderSeen)
    assert (row.status, row.amount) == (Status.FILLED, D(1))


def test_both_sides_of_a_trade_carry_the_id_of_the_public_print() -> None:
    made = Floor()
    made.sell("2", price="101.00", account="you")
    made.buy("1")
    told, prints = made.everything()
    ids = [item.event.trade_id for item in told if isinstance(item.event, Filled)]

    assert ids == [prints[0].id] * 2
    assert (prints[0].side, prints[0].price, prints[0].amount) == ("buy", "101.00", "1.000")


def test_fills_have_ids_that_stay_and_can_be_asked_for_again() -> None:
    made = Floor().outside([("99.00", "9")], [("101.00", "9")])
    made.buy("1")
    made.sell("1")
    fills = made.exchange.fills("me", 0)

    assert fills == made.of(Filled)
    assert len({fill.trade_id for fill in fills}) == 2
    assert made.exchange.fills("me", fills[1].ts) == fills[1:]


def test_the_fold_of_all_events_is_what_can_be_read() -> None:
    made = Floor(PERP, SPOT).outside([("99.0", "9")], [("101.0", "9")])
    made.buy("2")
    made.buy("1", price="90.0")
    made.cancel(made.buy("1", price="80.0"))
    made.sell("1", symbol=SPOT.symbol, price="110.00")
    orders, balances, positions = {}, {}, {}
    for event in made.told():
        if isinstance(event, OrderSeen):
            orders[event.exchange_order_id] = event
        elif isinstance(event, BalanceSeen):
            balances[event.balance.currency] = event.balance
        elif isinstance(event, PositionSeen):
            positions[event.position.symbol] = event.position
    now = made.ts

    working = [row for row in orders.values() if not row.status.ended]
    assert [row.exchange_order_id for row in working] == [
        row.exchange_order_id for row in made.exchange.open_orders("me", now)
    ]
    assert {c: b.available for c, b in balances.items()}["USDT"] == made.free("USDT")
    assert [row.amount for row in positions.values()] == [
        row.amount for row in made.exchange.positions("me", now)
    ]


def test_an_order_is_found_by_client_id_or_by_ours_working_or_ended() -> None:
    made = Floor()
    work = made.cancel(made.buy("1", price="90.00", client="mine"))
    found = made.exchange.find("me", "mine", None, 9)

    assert found is not None
    assert (found.exchange_order_id, found.status, found.evidence) == (
        work.id,
        Status.CANCELED,
        "found",
    )
    assert made.exchange.find("me", "other", work.id, 9) is not None
    assert made.exchange.find("me", "other", None, 9) is None


# --- X9 ---------------------------------------------------------------------------------------


def play(made: Floor, seed: int, count: int) -> bytes:
    """A seeded run of everything an exchange can be asked; returns its event log."""
    chance = random.Random(seed)
    log: list[str] = []
    for _ in range(count):
        side = Side.BUY if chance.random() < 0.5 else Side.SELL
        price = f"{chance.randrange(950, 1050) / 10:.1f}"
        amount = f"{chance.randrange(1, 30) / 10:.1f}"
        account = chance.choice(["me", "you"])
        symbol = chance.choice([market.symbol for market in made.markets])
        works = [
            work
            for name in ("me", "you")
            for work in made.exchange.clearing.accounts[name].orders.values()
        ]
        kind = chance.random()
        try:
            if kind < 0.3:
                made.place(side, amount, price=price, account=account, symbol=symbol)
            elif kind < 0.4:
                made.place(side, amount, account=account, symbol=symbol)
            elif kind < 0.5:
                made.place(
                    side, amount, type=OrderType.STOP, stop_price=price, account=account,
                    symbol=symbol, reduce_only=chance.random() < 0.3,
                    oco_group=chance.choice([None, "g"]),
                )  # fmt: skip
            elif kind < 0.55:
                made.place(
                    side, amount, price=price, account=account, symbol=symbol,
                    time_in_force=GTD, good_till_ts=made.ts + chance.randrange(2, 40),
                )  # fmt: skip
            elif kind < 0.7:
                made.exchange.quote("house", symbol, side, D(price), D(amount), made.tick())
            elif kind < 0.8 and works:
                made.cancel(chance.choice(works))
            elif kind < 0.9 and works:
                made.amend(chance.choice(works), **{chance.choice(["amount", "price"]): price})
            elif symbol == PERP.symbol:
                made.mark(price, symbol=symbol, due=50)
            else:
                made.exchange.advance(made.tick())
        except Exception as error:  # noqa: BLE001 - refusals are part of the log
            log.append(repr(error))
        told, prints = made.everything()
        log += [repr(item) for item in told] + [repr(trade) for trade in prints]
        log.append(repr(sorted(made.exchange.clearing.worth().items())))
    return "\n".join(log).encode()


def fresh() -> Floor:
    return Floor(PERP, SPOT, me={"USDT": "2000", "BTC": "5"}, you={"USDT": "900", "BTC": "9"})


def test_two_runs_are_equal_to_the_byte() -> None:
    first = play(fresh(), 7, 400)

    assert first == play(fresh(), 7, 400)
    assert b"Filled" in first
    assert b"liquidation" in play(fresh(), 11, 1500)


SCRIPT = """
import hashlib, sys
sys.path.insert(0, "tests/engine")
from tests.engine.test_matching_streams import fresh, play
print(hashlib.sha256(play(fresh(), 7, 150)).hexdigest())
"""


def test_runs_are_equal_across_processes_and_hash_seeds() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1


def test_a_restored_snapshot_goes_on_as_if_nothing_had_happened() -> None:
    whole, first = fresh(), fresh()
    play(whole, 5, 200)
    play(first, 5, 200)
    second = fresh()
    second.exchange = pickle.loads(pickle.dumps(first.exchange))
    second.ts, second.made = first.ts, first.made

    assert picture(second.exchange) == picture(whole.exchange)
    assert play(second, 6, 200) == play(whole, 6, 200)


def test_transfers_of_the_newest_entry_alone_are_given_back() -> None:
    made = Floor(PERP)
    made.quote(Side.SELL, "100.0", "1")
    made.buy("1", leverage="10")
    made.mark("100.0", rate="0.001", due=SECOND)
    made.exchange.take()

    def entry() -> Entry:
        told = [item for item in made.exchange.take_told() if item.account == "me"]
        raw: Entry = orjson.loads(orjson.dumps(entry_out(made.exchange, "me", told)))
        return raw

    def given(log: list[Entry]) -> list[tuple[str, Decimal, str]]:
        exchange = Exchange(venue="paper", markets={PERP.symbol: PERP})
        return [(moved.kind, moved.amount, moved.id) for moved in adopt(exchange, "me", log)]

    made.exchange.transfer("me", "USDT", D(5), made.tick())
    first = entry()
    made.exchange.advance(SECOND)
    second = entry()
    made.buy("1", price="50.0")
    third = entry()

    # The house was paid behind it.
    paid = [("funding", D("-0.1"), f"funding-{made.exchange.clearing.transfers - 1}")]
    assert given([first, second]) == given([compact([first, second])]) == paid
    assert given([compact([first]), second]) == paid
    assert given([first, second, third]) == given([compact([first, second, third])]) == []


def test_nothing_is_created_or_lost() -> None:
    made = fresh()
    worth = made.exchange.clearing.worth()
    play(made, 3, 400)

    assert made.exchange.clearing.worth() == {
        **dict.fromkeys(made.exchange.clearing.worth(), 0),
        **worth,
    }


# --- the log of one account -------------------------------------------------------------------


def logged(made: Floor) -> bytes:
    own = [item for item in made.exchange.take()[0] if item.account == "me"]
    return orjson.dumps(entry_out(made.exchange, "me", own))


def adopted(log: list[bytes], *markets: object) -> Floor:
    again = Floor(*(market for market in (PERP, SPOT)))
    again.exchange = Exchange(venue="paper", markets={PERP.symbol: PERP, SPOT.symbol: SPOT})
    adopt(again.exchange, "me", [orjson.loads(body) for body in log])
    again.exchange.open_account("house", {}, credit=True)
    again.exchange.take()
    return again


def test_a_log_of_entries_rebuilds_the_account() -> None:
    made = Floor(PERP, SPOT).outside([("99.0", "9")], [("101.0", "9")])
    log = [orjson.dumps(entry_out(made.exchange, "me", []))]
    made.exchange.transfer("me", "USDT", D(5), made.tick())
    log.append(logged(made))
    made.buy("2", leverage="5")
    made.buy("1", price="90.0", time_in_force=GTD, good_till_ts=1000)
    made.sell("1", type=OrderType.STOP, stop_price="80.0", reduce_only=True)
    made.cancel(made.buy("1", price="80.0"))
    made.sell("1", symbol=SPOT.symbol, price="110.00", oco_group="g")
    made.sell("1", symbol=SPOT.symbol, type=OrderType.STOP, stop_price="80.00", oco_group="g")
    late = made.exchange.place(
        "me", order("late", Side.BUY, "1", symbol=PERP.symbol), 50, live=False
    )
    log.append(logged(made))
    log[0] = log[1]  # the balances of the start stand in the first entry that names them
    again = adopted(log)
    # A balance nobody told since the start is not in this short log.
    again.exchange.clearing.accounts["me"].wallet("BTC").total = D(100)

    assert again.exchange.open_orders("me", 60) == made.exchange.open_orders("me", 60)
    assert again.exchange.fills("me", 0) == made.exchange.fills("me", 0)
    assert again.used("USDT") == made.used("USDT")
    assert again.used("BTC") == made.used("BTC") == D(1)
    assert [row.amount for row in again.exchange.positions("me", 60)] == [D(2)]
    assert again.exchange.clearing.accounts["me"].seq == made.exchange.clearing.accounts["me"].seq
    ended = again.exchange.find("me", "c4", None, 60)
    assert ended is not None
    assert ended.status is Status.CANCELED

    again.exchange.release("me", late.id, 61)
    assert again.exchange.find("me", "late", None, 61).status is Status.CANCELED  # type: ignore[union-attr]
    with pytest.raises(Exception, match="was used"):
        again.exchange.place("me", order("late", Side.BUY, "1"), 62)
    assert again.exchange.place("me", order("new", Side.SELL, "1", price="110.0"), 62).id not in {
        work.id for work in made.exchange.clearing.accounts["me"].orders.values()
    }
    again.exchange.advance(1000)
    assert len(again.exchange.open_orders("me", 60)) == 4


def test_a_leverage_that_came_with_a_resting_order_is_logged() -> None:
    made = Floor(PERP, me={"USDT": "100"})
    log = [orjson.dumps(entry_out(made.exchange, "me", []))]
    made.exchange.transfer("me", "USDT", D(1), made.tick())
    made.buy("5", price="99.0", leverage="10")
    log.append(logged(made))
    again = adopted(log)

    assert again.used("USDT") == made.used("USDT") < D(51)


def test_orders_on_their_way_to_matching_go_on_as_what_they_are() -> None:
    made = Floor(SPOT)
    log = [orjson.dumps(entry_out(made.exchange, "me", []))]
    made.exchange.transfer("me", "USDT", D(1000), made.tick())
    made.exchange.transfer("me", "BTC", D(10), made.tick())
    for name, side, price, tif in (
        ("resting", Side.SELL, "105.00", TimeInForce.GTC),
        ("ioc", Side.BUY, "99.00", TimeInForce.IOC),
        ("fok", Side.BUY, "98.00", TimeInForce.FOK),
        ("crossing", Side.BUY, "106.00", TimeInForce.GTC),
    ):
        wish = order(name, side, "1", symbol=SPOT.symbol, price=price, time_in_force=tif)
        made.exchange.place("me", wish, made.tick(), live=False)
    log.append(logged(made))
    again = adopted(log)
    pit = again.exchange.pits[SPOT.symbol]
    assert (len(pit.bids.keys), pit.asks.best) == (0, ("105.00", "1.000"))

    for work in list(again.exchange.clearing.accounts["me"].orders.values()):
        again.exchange.release("me", work.id, 50)

    found = (
        again.exchange.find("me", name, None, 51) for name in ("resting", "ioc", "fok", "crossing")
    )
    assert [(seen.status, seen.reason) for seen in found if seen] == [
        (Status.OPEN, None),
        (Status.CANCELED, "immediate_or_cancel"),
        (Status.CANCELED, "fill_or_kill"),
        (Status.CANCELED, "self_trade"),
    ]


def test_a_liquidation_is_logged_like_any_other_fill() -> None:
    made = Floor(PERP, me={"USDT": "100"}).outside([("99.9", "9")], [("100.0", "9")])
    made.mark("100")
    log = [logged(made)]
    made.buy("9", leverage="10")
    log.append(logged(made))
    made.moves([("99.9", "0"), ("80.0", "9")])
    made.mark("80")
    log.append(logged(made))
    again = adopted(log)

    assert again.position(symbol=PERP.symbol) == 0
    assert again.total("USDT") == made.total("USDT")
    assert len(again.exchange.fills("me", 0)) == len(made.exchange.fills("me", 0))


@pytest.mark.parametrize("client_id", ["mine", None])
def test_a_fill_is_written_and_read_back(client_id: str | None) -> None:
    fill = Filled(
        venue="paper",
        symbol="BTC/USDT",
        trade_id="t-1",
        exchange_order_id="x-1",
        venue_client_id=client_id,
        side=Side.BUY,
        amount=D("1.0"),
        price=D("2.00"),
        fee=D("1E-8"),
        fee_currency="BTC",
        maker=True,
        ts=5,
    )

    assert fill_in("paper", orjson.loads(orjson.dumps(fill_out(fill)))) == fill
