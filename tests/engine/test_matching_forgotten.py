"""The paper exchange lets go of orders that were over long ago, and still knows their ids (R14, X1.6)."""

import orjson
import pytest

from realtime.engine.bars import MINUTE
from realtime.engine.forgotten import Sizes
from realtime.engine.matching import Exchange
from realtime.engine.matching.clearing import MINUTES
from realtime.engine.matching.state import adopt, compact, entry_out
from realtime.model.errors import VenueRejected, VenueUnknown
from realtime.model.orders import Side
from tests.engine.floor import PERP, SPOT, D, Floor, order, picture


FEW = Sizes(ended=3, age=5, a_call=2)


def crowded(orders: int = 10) -> Floor:
    """An exchange that keeps three orders, and has filled many."""
    made = Floor().outside([("99.00", "1000")], [("101.00", "1000")])
    made.exchange.sizes = FEW
    for _ in range(orders):
        made.buy("1")
    return made


def known(made: Floor) -> set[str]:
    return set(made.exchange.clearing.accounts["me"].ended)


def test_orders_go_by_age_and_number_with_their_client_ids() -> None:
    made = crowded()
    account = made.exchange.clearing.accounts["me"]
    resting = made.buy("1", price="90.00")
    assert len(known(made)) > FEW.ended, "the others are too young"

    made.ts += 100
    last = made.buy("1")

    assert last.id in known(made)
    assert len(known(made)) <= FEW.ended + FEW.a_call
    assert set(account.client_ids.values()) == {*known(made), resting.id}
    made.ts += 100
    for _ in range(3):
        made.buy("1")
    assert len(known(made)) == FEW.ended
    assert [row.exchange_order_id for row in made.exchange.open_orders("me", made.ts)] == [
        resting.id
    ]


def test_of_too_many_the_oldest_go_however_young() -> None:
    made = crowded(0)
    made.exchange.sizes = Sizes(ended=1, age=1_000, a_call=2, most=3)
    orders = [made.buy("1").id for _ in range(9)]

    assert len(known(made)) <= 4
    assert orders[-1] in known(made)
    assert made.exchange.clearing.accounts["me"].forgot("venue", orders[0])


def test_fills_go_with_their_orders_and_those_of_a_working_one_stay() -> None:
    made = crowded(0)
    part = made.buy("5", price="95.00")
    made.printed(Side.SELL, "94.00", "2")
    assert part.filled == 2
    for _ in range(30):
        made.ts += 10
        made.buy("1")

    fills = made.exchange.fills("me", 0)

    # What the others came to is known by the minute, for bars.
    (sums,) = made.exchange.clearing.traded[SPOT.symbol].items()
    assert sums == (0, (D(101), D(101), 32 - sum((fill.amount for fill in fills), D(0))))
    assert part.id in {fill.exchange_order_id for fill in fills}
    assert len(fills) < 10
    assert [fill.ts for fill in fills] == sorted(fill.ts for fill in fills)
    assert made.exchange.clearing.accounts["me"].volume == 2 * 95 + 30 * 101


def test_a_restart_keeps_the_fills_of_a_working_order_however_many_are_forgotten() -> None:
    made = crowded(0)
    log: list[bytes] = []

    def logged() -> None:
        own = [item for item in made.exchange.take()[0] if item.account == "me"]
        log.append(orjson.dumps(entry_out(made.exchange, "me", own)))

    part = made.buy("5", price="95.00")
    made.printed(Side.SELL, "94.00", "2")
    logged()
    for _ in range(30):
        made.ts += 10
        made.buy("1")
        logged()

    entries = list(map(orjson.loads, log))
    for given in (entries, [compact(entries, FEW)], [compact(entries[:9], FEW), *entries[9:]]):
        again = Exchange(venue="paper", markets={SPOT.symbol: SPOT}, sizes=FEW)
        adopt(again, "me", given)
        fills = again.fills("me", 0)
        assert part.id in {fill.exchange_order_id for fill in fills}
        assert fills == made.exchange.fills("me", 0)
        assert again.clearing.traded == made.exchange.clearing.traded


def test_of_what_was_traded_with_forgotten_orders_so_many_minutes_are_known() -> None:
    made = crowded(0)
    minutes = made.exchange.clearing.traded.setdefault(SPOT.symbol, {})
    minutes |= {ts: (D(1), D(1), D(1)) for ts in range(MINUTES)}
    for number in range(30):
        made.ts = (MINUTES + number) * MINUTE
        made.buy("1")

    assert len(minutes) == MINUTES
    assert min(minutes) > 0
    assert max(minutes) > MINUTES


def test_a_forgotten_order_is_no_proof_of_absence() -> None:
    """trading:A3: silence about what is not kept is not a "not found"."""
    made = crowded()
    made.ts += 100
    made.buy("1")
    account, exchange = made.exchange.clearing.accounts["me"], made.exchange
    assert "c1" not in account.client_ids
    gone = next(f"x-{n}" for n in range(1, 20) if account.forgot("venue", f"x-{n}"))

    with pytest.raises(VenueUnknown):
        exchange.find("me", "c1", None, made.ts)
    with pytest.raises(VenueUnknown):
        exchange.find("me", None, gone, made.ts)
    assert exchange.find("me", "never", None, made.ts) is None
    assert exchange.find("me", None, "x-999", made.ts) is None
    with pytest.raises(VenueRejected, match="is not working"):
        exchange.cancel("me", gone, made.ts)


def test_the_client_id_of_a_forgotten_order_is_refused_as_a_duplicate() -> None:
    """trading:X1.6."""
    made = crowded()
    made.ts += 100
    made.buy("1")
    made.exchange.take()

    with pytest.raises(VenueRejected, match="was used long ago"):
        made.exchange.place("me", order("c1", Side.BUY), made.ts)
    assert made.exchange.take() == ([], [])


def test_a_liquidation_has_no_client_id_to_be_remembered_by() -> None:
    made = crowded()
    account = made.exchange.clearing.accounts["me"]
    nameless = next(iter(account.ended.values()))
    del account.client_ids[str(nameless.client_id)]
    nameless.client_id = None

    made.ts += 100
    made.buy("1")

    assert account.forgot("venue", nameless.id)


def test_rows_of_a_list_are_labelled_as_looked_up() -> None:
    made = crowded(0)
    made.buy("1", price="90.00")

    (row,) = made.exchange.open_orders("me", made.ts)

    assert row.evidence == "found"


def test_a_log_is_adopted_without_what_was_over_long_before_its_end() -> None:
    made = crowded(0)
    log = []

    def logged() -> None:
        own = [item for item in made.exchange.take()[0] if item.account == "me"]
        log.append(orjson.dumps(entry_out(made.exchange, "me", own)))

    made.exchange.transfer("me", "USDT", D(5), made.tick())
    first = made.buy("1", price="90.00")
    logged()
    for _ in range(20):
        made.ts += 10
        made.buy("1")
        logged()
    made.cancel(first)
    logged()
    again = Exchange(venue="paper", markets={SPOT.symbol: SPOT}, sizes=FEW)

    adopt(again, "me", [orjson.loads(body) for body in log])

    account, before = again.clearing.accounts["me"], made.exchange.clearing.accounts["me"]
    assert list(account.ended) == list(before.ended)
    assert account.client_ids == before.client_ids
    assert list(account.forgotten) == list(before.forgotten)
    assert again.fills("me", 0)[-3:] == made.exchange.fills("me", 0)[-3:]
    assert len(again.fills("me", 0)) < 10
    assert account.wallet("USDT").total == before.wallet("USDT").total


def test_a_log_summed_up_at_any_entry_is_adopted_as_the_whole_log_is() -> None:
    made = Floor(PERP, SPOT).outside([("99.0", "1000")], [("101.0", "1000")])
    made.exchange.sizes = FEW
    log: list[bytes] = []

    def logged() -> None:
        own = [item for item in made.exchange.take()[0] if item.account == "me"]
        log.append(orjson.dumps(entry_out(made.exchange, "me", own)))

    made.exchange.transfer("me", "USDT", D(5), made.tick())
    logged()
    made.buy("2", price="98.0")
    logged()
    part = made.buy("5", price="95.0")
    made.printed(Side.SELL, "94.0", "2")
    logged()
    for number in range(12):
        made.ts += 10
        made.buy("1") if number % 3 else made.sell("2", leverage="3")
        logged()
    made.cancel(part)
    logged()

    def adopted(entries: list[bytes]) -> object:
        again = Exchange(venue="paper", markets={PERP.symbol: PERP, SPOT.symbol: SPOT}, sizes=FEW)
        adopt(again, "me", [orjson.loads(body) for body in entries])
        # With the order of every table in it.
        return picture(again), again.clearing.traded, again.fills("me", 0)

    whole = adopted(log)
    for cut in range(1, len(log) + 1):
        first = orjson.dumps(compact(map(orjson.loads, log[:cut]), FEW))

        assert adopted([first, *log[cut:]]) == whole
        twice = orjson.dumps(compact([orjson.loads(first), *map(orjson.loads, log[cut:])], FEW))
        assert adopted([twice]) == whole
    assert len(made.exchange.clearing.accounts["me"].forgotten) > 0
