"""One order before the gate: the figures every rule reads, worked out once, and the verdict."""

from decimal import Decimal

from realtime.engine.market import brief, down, plain
from realtime.engine.orders import BUY, MARKET, SELL, evolve
from realtime.engine.quotes import Walk
from realtime.engine.state import Standing, State
from realtime.model.events import Place
from realtime.model.frozen import frozen
from realtime.model.market import ZERO, Market
from realtime.model.orders import Order, OrderType
from realtime.model.risk import RuleResult


MARKET_MARGIN = Decimal("1.005")
"""A market order is judged at the walked average and this much (3.2: plus 0.005)."""


@frozen
class Case:
    """An order as the gate sees it.

    Attributes:
        wish: The placement; of an amend, the one of what it makes.
        order: With its amount, also for a buy by cost (estimated from the best ask).
        old: The version it replaces (amend), None for a placement.
        exit: Whether it can only make a position smaller (G9, R3).
        capacity: What an exit of this side may ask for [base, contracts].
        adds: What it may still fill, hence adds to exposure [base, contracts].
        mark: The market's price [quote]; None when unknown.
        fresh: Whether the mark is young enough to decide with.
        walk: What a market order would get; None for others.
        reference: Price the order is judged at [quote]; None when unknown.
        notional: Of the order [valuation currency]; None when unknown.
        exposure: Of the symbol at worst afterwards [valuation currency]; None when unknown.
        total: Worst-case exposure of the account afterwards [valuation currency].
        standing: How the account stands without this order.
        place: The symbol under which what it buys is shown.
        needs: How much of `currency` it reserves at worst, beyond what its older version did; None without a price.
        met: Own resting orders that it would trade with.
    """

    wish: Place
    order: Order
    old: Order | None
    market: Market
    exit: bool
    capacity: Decimal
    adds: Decimal
    mark: Decimal | None
    fresh: bool
    walk: Walk | None
    reference: Decimal | None
    notional: Decimal | None
    exposure: Decimal | None
    total: Decimal | None
    standing: Standing
    place: str
    needs: Decimal | None
    met: list[Order]

    @property
    def currency(self) -> str:
        """What it reserves: cash, or the base currency for a spot sell."""
        market = self.market
        sells_coins = self.order.side is SELL and not market.contract
        return market.base if sells_coins else market.cash


def make(state: State, wish: Place, old: Order | None = None) -> Case:
    """Work out the figures of a placement, or of an amend of `old`. The symbol must be one of the markets."""
    order, ts, quotes = wish.order, wish.ts, state.quotes
    symbol = order.symbol
    market = state.markets[symbol]
    found = quotes.mark(symbol)
    mark = found[0] if found is not None else None
    age_ms = quotes.age_ms(symbol, ts)
    fresh = (
        mark is not None
        and age_ms is not None
        and age_ms <= state.limits.max_price_age_ms
        and not (quotes.stale and quotes.is_stale(symbol))
    )
    walk = None
    amount = order.amount
    if order.type is MARKET:
        if order.cost_limit is not None:
            cost = order.cost_limit / market.contract_size
            walk = quotes.walk(symbol, order.side, amount=None, cost=cost)
            at = walk.best if walk.best is not None else mark
            # The best price buys the most: what counts in exposure is the upper end.
            amount = down(cost / at, market.amount_step) if at else ZERO
            order = evolve(order, amount=amount)
        else:
            walk = quotes.walk(symbol, order.side, amount=amount)
    adds = amount - (old.filled if old is not None else ZERO)
    held, sells = state.account.amount(symbol), order.side is SELL
    closes = held > 0 if sells else held < 0
    capacity = state.capacity(order, old) if closes or old is not None else ZERO
    sells_coins = sells and not market.contract
    closing = order.reduce_only or order.role.closes  # `exit`, without the call
    is_exit = closing or (sells_coins and adds <= capacity) or (old is not None and old.exit)
    reference = reference_price(order, mark, walk)
    worth = quotes.worth(market.cash)
    size = None if worth is None else market.contract_size * worth
    standing, place = state.standing(ts), state.place_of(symbol)
    notional = exposure = total = None
    if reference is not None and size is not None:
        notional = amount * reference * size
        if order.cost_limit is not None and worth is not None:
            notional = order.cost_limit * worth
        exposure = exposure_after(state, order, old, held, adds, is_exit=is_exit) * reference * size
        total = standing.besides(place)
        if total is not None:
            total += exposure
    return Case(
        wish,
        order,
        old,
        market,
        is_exit,
        capacity,
        adds,
        mark,
        fresh,
        walk,
        reference,
        notional,
        exposure,
        total,
        standing,
        place,
        needs(state, market, order, old, adds, reference, is_exit=is_exit),
        crossing(state, order, walk),
    )


def reference_price(order: Order, mark: Decimal | None, walk: Walk | None) -> Decimal | None:
    """The price an order is judged at (3.2).

    Own limit, else trigger, but not below the mark; a market order at what the book asks for it and
    0.005, at the mark and 0.005 where the book is missing.
    """
    own = order.price if order.price is not None else order.stop_price
    if own is not None:
        return own if mark is None or own > mark else mark
    average = walk.average if walk is not None else None
    if average is not None:
        walked = average * MARKET_MARGIN
        return walked if mark is None or walked > mark else mark
    return None if mark is None else mark * MARKET_MARGIN


def exposure_after(
    state: State, order: Order, old: Order | None, held: Decimal, adds: Decimal, *, is_exit: bool
) -> Decimal:
    """Worst-case holding of the symbol, of which `held` is there, with this order in place [base, contracts]."""
    load = state.orders.loads.get(order.symbol)
    buys, sells = (load.buys, load.sells) if load is not None else (ZERO, ZERO)
    if not is_exit:
        change = adds - (state.orders.worst_of(old) if old is not None else ZERO)
        if order.side is BUY:
            buys += change
        else:
            sells += change
    return max(abs(held + buys), abs(held - sells))


def needs(
    state: State,
    market: Market,
    order: Order,
    old: Order | None,
    adds: Decimal,
    reference: Decimal | None,
    *,
    is_exit: bool,
) -> Decimal | None:
    """What an order reserves at worst beyond what its older version did; None without a price."""
    if not market.contract and order.side is SELL:
        before = state.orders.worst_of(old) if old is not None else ZERO
        return max(adds - before, ZERO)
    if market.contract and is_exit:
        return ZERO
    now = _cash(state, market, order, adds, reference)
    if old is None or now is None:
        return now
    was = _cash(state, market, old, state.orders.worst_of(old), reference) or ZERO
    return max(now - was, ZERO)


def _cash(
    state: State, market: Market, order: Order, amount: Decimal, reference: Decimal | None
) -> Decimal | None:
    """Cost or initial margin, and the worst fee [cash currency]."""
    price = order.price if order.price is not None else reference
    if price is None:
        return None
    cost = order.cost_limit or amount * price * market.contract_size
    fee = cost * market.taker if market.taker > 0 else ZERO
    return (cost / state.leverage(order) if market.contract else cost) + fee


def crossing(state: State, order: Order, walk: Walk | None) -> list[Order]:
    """Own resting orders that this order would trade with."""
    if order.type.triggered or order.post_only:
        return []
    reach = order.price
    if reach is None and walk is not None:
        reach = walk.worst
    buy, found = order.side is BUY, []
    for other in state.orders.working_in(order.symbol):
        price = other.price
        if price is None or other.side is order.side or other.type is not OrderType.LIMIT:
            continue
        if reach is None or (price <= reach if buy else price >= reach):
            found.append(other)
    return found


class Verdict:
    """Collects what the rules say: all results when asked for, else the failures alone."""

    __slots__ = ("failed", "results", "warnings", "whole")

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        self.results: list[RuleResult] = []
        self.failed: list[RuleResult] = []
        self.warnings: list[str] = []

    def judge(
        self,
        rule: str,
        ok: bool,  # noqa: FBT001 - the answer of a rule, always computed
        limit: Decimal | None = None,
        value: Decimal | None = None,
        unit: str = "",
        message: str | None = None,
        field: str = "",
        *,
        floor: bool = False,
        grid: bool = False,
    ) -> None:
        """Note what a rule says; `message` is for people and counts when it refuses.

        A limit is the most that passes, the least if it is a `floor`, and leaves no headroom if it is a `grid`.
        """
        if ok and not self.whole:
            return
        headroom = None
        if limit is not None and value is not None and not grid:
            headroom = value - limit if floor else limit - value
        result = RuleResult(
            rule=rule,
            limit=limit,
            value=value,
            headroom=headroom,
            unit=unit,
            ok=ok,
            message="" if ok else message or rule,
            field=field,
        )
        self.results.append(result)
        if not ok:
            self.failed.append(result)

    def most(
        self,
        rule: str,
        limit: Decimal | None,
        value: Decimal | None,
        unit: str,
        what: str,
        *,
        exempt: bool,
        why: str = "its data is missing",
        field: str = "",
    ) -> None:
        """Judge a rule of the shape "at most": off, exempt, without data (R4), or compared."""
        if limit is None:
            if self.whole:
                self.judge(rule, ok=True, unit=unit)
        elif value is None:
            self.missing(rule, limit, unit, why, exempt=exempt)
        elif exempt or value <= limit:
            if self.whole:
                self.judge(rule, ok=True, limit=limit, value=value, unit=unit)
        else:
            message = f"{what} {brief(value)} {unit} exceeds {rule} {plain(limit)} {unit}"
            self.judge(rule, False, limit, value, unit, message, field)

    def missing(
        self, rule: str, limit: Decimal | None, unit: str, why: str, *, exempt: bool
    ) -> None:
        """A rule without its data refuses an entry and lets an exit pass with a warning (R4)."""
        message = f"{rule} cannot be judged: {why}"
        result = RuleResult(
            rule=rule,
            limit=limit,
            value=None,
            headroom=None,
            unit=unit,
            ok=exempt,
            message="" if exempt else message,
            warning=message if exempt else None,
        )
        self.results.append(result)
        if exempt:
            self.warnings.append(message)
        else:
            self.failed.append(result)
