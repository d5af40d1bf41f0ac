"""trading:H6 and H7, properties of matching and margin, against plain models."""

from dataclasses import dataclass
from decimal import Decimal, localcontext

from hypothesis import HealthCheck, given, settings, strategies as st

from realtime.engine.matching.perpetuals import healthy
from realtime.model.errors import VenueRejected
from realtime.model.market import MONEY
from realtime.model.orders import OrderType, Side, Status
from tests.engine.floor import FOK, IOC, PERP, Floor


D = Decimal
FAST = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

sides = st.sampled_from(list(Side))
prices = st.integers(95, 105)
amounts = st.integers(1, 5)
names = st.sampled_from(["me", "you"])


@dataclass
class Plain:
    """An order of the brute-force book."""

    number: int
    account: str
    side: Side
    price: int
    left: int


def brute(book: list[Plain], new: Plain) -> list[tuple[int, int, int]]:
    """Match by sorting everything: (maker, price, amount) of each trade; accounts never trade with themselves."""
    trades = []
    while new.left:
        against = [
            old
            for old in book
            if old.side is not new.side
            and old.left
            and (old.price <= new.price if new.side is Side.BUY else old.price >= new.price)
        ]
        if not against:
            break
        sign = 1 if new.side is Side.BUY else -1
        best = min(against, key=lambda old: (sign * old.price, old.number))
        if best.account == new.account:
            new.left = 0  # cancel newest
            break
        amount = min(best.left, new.left)
        best.left -= amount
        new.left -= amount
        trades.append((best.number, best.price, amount))
    return trades


@FAST
@given(st.lists(st.tuples(names, sides, prices, amounts), max_size=30))
def test_priority_equals_sorting_by_price_and_time(
    orders: list[tuple[str, Side, int, int]],
) -> None:
    made = Floor()
    book: list[Plain] = []
    for number, (account, side, price, amount) in enumerate(orders):
        new = Plain(number, account, side, price, amount)
        expected = brute(book, new)
        made.place(side, str(amount), price=f"{price}.00", account=account, client=str(number))
        _, prints = made.everything()

        assert [(D(p.price), D(p.amount)) for p in prints] == [(D(p), D(a)) for _, p, a in expected]
        if new.left:
            book.append(new)
        for old in book:
            seen = made.exchange.find(old.account, str(old.number), None, 0)
            assert seen is not None
            assert seen.amount - seen.filled == old.left or seen.status is Status.CANCELED


steps = st.tuples(
    st.sampled_from(
        ["limit", "market", "ioc", "fok", "stop", "group", "cancel", "amend", "outside"]
    ),
    names,
    sides,
    prices,
    amounts,
)


@FAST
@given(actions=st.lists(steps, max_size=40), external=st.booleans())
def test_matching_conserves_and_never_overdraws(
    *, actions: list[tuple[str, str, Side, int, int]], external: bool
) -> None:
    made = Floor(me={"USDT": "900", "BTC": "9"}, you={"USDT": "500", "BTC": "5"})
    if external:
        made.outside([("99.00", "3")], [("101.00", "3")])
    worth = made.exchange.clearing.worth()
    accounts = made.exchange.clearing.accounts
    for what, account, side, number, count in actions:
        price, amount = f"{number}.00", str(count)
        works = list(accounts[account].orders.values())
        try:
            match what:
                case "limit":
                    made.place(side, amount, price=price, account=account)
                case "market":
                    made.place(side, amount, account=account)
                case "ioc":
                    made.place(side, amount, price=price, account=account, time_in_force=IOC)
                case "fok":
                    work = made.place(side, amount, price=price, account=account, time_in_force=FOK)
                    assert work.filled in {0, work.amount}
                case "stop":
                    made.place(side, amount, type=OrderType.STOP, stop_price=price, account=account)
                case "group":
                    made.place(side, amount, price=price, account=account, oco_group="g")
                case "cancel" if works:
                    made.cancel(works[count % len(works)])
                case "amend" if works:
                    made.amend(works[count % len(works)], price=price, amount=amount)
                case _ if external:
                    made.moves([(f"{number - 6}.00", amount)], [(f"{number + 6}.00", amount)])
                    made.printed(side, price, amount)
                case _:
                    made.quote(side, price, amount)
        except VenueRejected:
            pass
        pit = made.exchange.pits[made.symbol]

        assert made.exchange.clearing.worth() == {
            **dict.fromkeys(made.exchange.clearing.worth(), D(0)),
            **worth,
        }
        for name in ("me", "you"):
            for wallet in accounts[name].wallets.values():
                assert 0 <= wallet.held <= wallet.total
            for work in (*accounts[name].orders.values(), *accounts[name].ended.values()):
                assert 0 <= work.filled <= work.amount
                assert work.status.ended == (work.id in accounts[name].ended)
        if pit.bids.keys and pit.asks.keys:
            assert -pit.bids.keys[0] < pit.asks.keys[0]


moves = st.tuples(
    st.sampled_from(["buy", "sell", "mark", "lever", "fund"]), names, st.integers(80, 125), amounts
)


@FAST
@given(actions=st.lists(moves, max_size=40), isolated=st.booleans())
def test_margin_keeps_equity_and_liquidates_exactly_at_its_condition(
    *, actions: list[tuple[str, str, int, int]], isolated: bool
) -> None:
    made = Floor(PERP, me={"USDT": "300"}, you={"USDT": "150"}).outside(
        [("99.9", "50")], [("100.1", "50")]
    )
    made.mark("100")
    clearing = made.exchange.clearing
    if isolated:
        made.exchange.set_isolated("me", PERP.symbol, isolated=True, ts=0)
    worth = clearing.worth()
    for what, account, number, count in actions:
        try:
            match what:
                case "buy" | "sell":
                    made.place(Side(what), str(count), account=account)
                case "mark":
                    old = made.book.top(1)
                    made.moves(
                        [(old[0][0][0], "0"), (f"{number}.0", "50")],
                        [(old[1][0][0], "0"), (f"{number + 1}.0", "50")],
                    )
                    made.mark(str(number))
                case "lever":
                    made.exchange.set_leverage(account, PERP.symbol, D(count * 10), made.tick())
                case _:
                    made.exchange.pits[PERP.symbol].next_funding_ts = made.ts
                    made.exchange.advance(made.tick())
        except VenueRejected:
            pass

        assert clearing.worth()["USDT"] == worth["USDT"]
        for owner in clearing.owners:
            held, wallet = owner.holdings[PERP.symbol], owner.wallets["USDT"]
            assert wallet.total >= 0 or held.amount
            assert wallet.free >= 0
            with localcontext(MONEY):
                assert healthy(owner, clearing.markets, clearing.mark, [PERP.symbol])
            assert bool(held.amount) == bool(held.cost)
