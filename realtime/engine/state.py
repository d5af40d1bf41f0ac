"""All state of one account's engine in one place, and the figures that several parts read from it.

`engine.py` is the only writer. The gate, the legs and the portfolio read.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from realtime.engine.account import Account
from realtime.engine.forgotten import SIZES, Sizes
from realtime.engine.orders import MARKET, SELL, Ledger
from realtime.engine.quotes import Quotes
from realtime.model.frozen import frozen
from realtime.model.market import MS, SECOND, ZERO, Market
from realtime.model.orders import Order, Role, Side
from realtime.model.risk import Halt, Limits, TradingState, switched_off


EQUITY_FOR = 250 * MS
"""How long one valuation serves [ns]."""

ONE = Decimal(1)

ALL = "all"
"""The scope of everything."""

_STRICT = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}


@frozen
class Equity:
    """A valuation: the sum, or why there is none.

    Attributes:
        assets: The sum without the unrealised profit of derivatives, which no balance holds.
    """

    value: Decimal | None
    reason: str | None
    ts: int
    assets: Decimal | None = None


@frozen
class Standing:
    """How an account stands before its next order: what every rule about all of it reads.

    Attributes:
        loss, fall: See `State.loss_and_fall`.
        sound: Whether they are known and the equity is above zero.
        engaged: Worst-case exposures of symbols held or being entered, by where they are shown [valuation
            currency]; zero for those that are `unpriced`.
        prices: The version of the prices it was worked out at.
        entered: Symbols of the entries that were placed since.
    """

    equity: Equity
    loss: Decimal | None
    fall: Decimal | None
    sound: bool
    engaged: dict[str, Decimal]
    unpriced: set[str]
    prices: int
    entered: list[str]

    def besides(self, place: str) -> Decimal | None:
        """Worst-case exposure of all symbols but one [valuation currency]; None when one has no price."""
        if self.unpriced and self.unpriced != {place}:
            return None
        others = self.engaged.copy()
        others.pop(place, None)
        return sum(others.values(), ZERO)

    def engage(self, place: str, exposure: Decimal | None) -> None:
        """Take the worst-case exposure of a symbol."""
        self.engaged[place] = exposure or ZERO
        if exposure is None:
            self.unpriced.add(place)


@dataclass(slots=True)
class Pace:
    """Who placed what how fast; made by `Placed` facts alone, hence the same after a restart.

    Each bucket is one number, the time at which it would be full again (generic cell rate algorithm).
    """

    owners: dict[str, int] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    account: int = 0
    account_exits: int = 0
    recent: dict[tuple[object, ...], int] = field(default_factory=dict)
    executions: dict[str, list[int]] = field(default_factory=dict)
    # Of the newest order that spent anything [ns].
    ts: int = 0

    def refill(self) -> None:
        """Fill all buckets: the clock was set back, and to wait for their times to come again would lock everybody out."""
        self.owners.clear()
        self.exits.clear()
        self.account = self.account_exits = 0


@dataclass(slots=True)
class Reservations:
    """Money that approved orders need and the venue's balances do not show yet.

    Kept until the venue tells a balance after it told the order, or the order is proven not done:
    a fill alone does not end it, because the balance it was paid from may be older than the fill.

    Attributes:
        held: By order.
        sums: By currency.
        known: By currency, of `held` those orders that the venue has told: its next balance may show them.
    """

    held: dict[str, tuple[str, Decimal]] = field(default_factory=dict)
    sums: dict[str, Decimal] = field(default_factory=dict)
    known: dict[str, dict[str, None]] = field(default_factory=dict)

    def hold(self, order_id: str, currency: str, amount: Decimal) -> None:
        """Reserve; a second call for the same order adds to it."""
        if amount <= 0:
            return
        held = self.held.get(order_id)
        self.held[order_id] = (currency, amount if held is None else held[1] + amount)
        self.sums[currency] = self.sums.get(currency, ZERO) + amount

    def tell(self, order_id: str) -> None:
        """Take note that the venue has told an order, or that it has ended."""
        held = self.held.get(order_id)
        if held is not None:
            self.known.setdefault(held[0], {})[order_id] = None

    def release(self, order_id: str) -> None:
        """Give it back, or leave it to the venue's balance."""
        held = self.held.pop(order_id, None)
        if held is not None:
            currency, amount = held
            self.known.get(currency, {}).pop(order_id, None)
            rest = self.sums[currency] - amount
            if rest:
                self.sums[currency] = rest
            else:
                del self.sums[currency]

    def leave(self, currency: str, order_ids: Iterable[str]) -> None:
        """Leave those of these orders, which the venue has told, to its balance of a currency."""
        held, known, rest = self.held, self.known[currency], self.sums[currency]
        for order_id in order_ids:
            del known[order_id]
            rest -= held.pop(order_id)[1]
        if rest:
            self.sums[currency] = rest
        else:
            del self.sums[currency]

    def sum(self, currency: str) -> Decimal:
        """Reserved and not shown yet [currency]."""
        return self.sums.get(currency, ZERO)


class State:
    """Markets, limits, orders, money, prices, halts of one account."""

    __slots__ = (
        "_equity",
        "_places",
        "_siblings",
        "account",
        "currency",
        "daily",
        "ever_ready",
        "halts",
        "limits",
        "markets",
        "mode",
        "off",
        "orders",
        "pace",
        "privileged",
        "quotes",
        "ready",
        "ready_reason",
        "released",
        "replaying",
        "reservations",
        "scores",
        "stood",
        "venue",
    )

    def __init__(
        self,
        *,
        venue: str,
        mode: str,
        markets: Mapping[str, Market],
        limits: Limits,
        currency: str,
        sizes: Sizes = SIZES,
    ) -> None:
        self.venue = venue
        self.mode = mode
        self.markets = markets
        self.configure(limits)
        self.currency = currency
        self.orders = Ledger(sizes)
        self.account = Account(venue, markets, currency)
        self.quotes = Quotes(markets, currency)
        self.halts: dict[str, Halt] = {}
        self.pace = Pace()
        self.reservations = Reservations()
        # Of this process only: reconciled now, reconciled at least once, orders past the door.
        self.ready = False
        self.ready_reason = "not reconciled yet"
        self.ever_ready = False
        # A fact of the journal is being taken.
        self.replaying = False
        self.released: set[str] = set()
        self.privileged: set[str] = set()
        # What the assessment shows and nothing decides by: risk scores of the last signals, daily returns by day [ns].
        self.scores: dict[str, Decimal] = {}
        self.daily: dict[str, Mapping[int, float]] = {}
        self._equity: Equity | None = None
        # See `standing`; every fact but a placement ends it.
        self.stood: Standing | None = None
        self._siblings = siblings(markets)
        self._places = places(markets, self.account.homes)

    def configure(self, limits: Limits) -> None:
        """Put limits in force; `off` names those that are switched off."""
        self.limits = limits
        self.off = switched_off(limits)

    @property
    def given(self) -> Mapping[str, object]:
        """What no fact has made, by name: markets, prices, and what follows from the markets alone."""
        return {
            "markets": self.markets,
            "quotes": self.quotes,
            "siblings": self._siblings,
            "places": self._places,
            "homes": self.account.homes,
        }

    def relist(self) -> None:
        """Take note that `markets` has markets that it had not; what is held stays shown where it is."""
        self.stood = None
        if all(symbol in self._siblings for symbol in self.markets):
            return
        self._siblings.update(siblings(self.markets))
        self.account.relist(self.currency)
        self._places.update(places(self.markets, self.account.homes))
        self.quotes.relist()

    # -- trading state -------------------------------------------------------------------------

    def halt_of(self, symbol: str | None, bot_id: str | None) -> Halt | None:
        """The strictest halt that applies; None means active."""
        if not self.halts:
            return None
        scopes = [ALL, f"venue:{self.venue}"]
        if symbol is not None:
            scopes.append(f"symbol:{symbol}")
        if bot_id is not None:
            scopes.append(f"bot:{bot_id}")
        found = [self.halts[scope] for scope in scopes if scope in self.halts]
        return max(found, key=lambda halt: _STRICT[halt.state], default=None)

    # -- positions and exits -------------------------------------------------------------------

    def siblings(self, symbol: str) -> tuple[str, ...]:
        """Symbols whose orders act on the same holding: spot markets of one base, else itself."""
        return self._siblings.get(symbol, (symbol,))

    def holding(self, symbol: str, side: Side) -> Decimal:
        """What an order of this side could close [base, contracts]."""
        amount = self.account.amount(symbol)
        return max(amount, ZERO) if side is SELL else max(-amount, ZERO)

    def capacity(
        self, order: Order, besides: Order | None = None, *, waited: bool = False
    ) -> Decimal:
        """What an exit may still ask for (3.2): the position less all working exits.

        One OCO group counts once. Protective legs give way to a market exit: their coins are freed, or
        reduce-only caps them. To what flattens a position other exits do, too. A leg counts only the others.

        Args:
            order: The exit to be judged.
            besides: The version of it that is replaced.
            waited: Whether it has waited for what gives way: on spot, what has not ended by then keeps its coins.
        """
        rest = self.holding(order.symbol, order.side)
        if not rest and besides is None:
            return rest  # as for every entry: there is nothing to close
        market_exit = order.type is MARKET and not order.role.protective
        for symbol in self.siblings(order.symbol):
            load = self.orders.loads.get(symbol)
            if load is None:
                continue
            rest -= load.exits(order.side)
            if not market_exit:
                own = order.oco_group or order.id if order.protective else None
                rest -= load.protective(order.side, own)
        if besides is not None and besides.exit and not besides.protective:
            rest += self.orders.worst_of(besides)
        if not waited or self.markets[order.symbol].contract:
            orders = self.orders
            for other in self.giving_way(order):
                # What it has executed already, and no fill has told yet, is gone.
                executed = max(other.filled - orders.booked(other.id), ZERO)
                rest += orders.worst_of(other) - executed
        return max(rest, ZERO)

    def giving_way(self, order: Order) -> Iterator[Order]:
        """Exits, no legs, that give way to an order which flattens a position: those of ours that wait for their price.

        Not to one that flattens a bot, which has its share of a position and nobody else's.
        """
        if order.source != "flatten" or order.bot_id is not None:
            return
        for symbol in self.siblings(order.symbol):
            for other in self.orders.working_in(symbol):
                ours = other.exit and not (other.protective or other.external)
                if ours and other.side is order.side and other.type != "market":
                    yield other

    def unbooked(self, symbol: str, side: Side) -> Decimal:
        """What orders of a side have executed as their rows show, and no fill has told yet [base, contracts]."""
        orders, total = self.orders, ZERO
        for order_id in orders.gaps:
            order = orders.get(order_id)
            assert order is not None
            if order.side is side and order.symbol in self.siblings(symbol):
                total += order.filled - orders.booked(order_id)
        return total

    def exposure(self, symbol: str) -> Decimal:
        """Worst-case holding of a symbol [base, contracts], unsigned."""
        amount = self.account.amount(symbol)
        load = self.orders.loads.get(symbol)
        if load is None or not (load.buys or load.sells):
            return abs(amount)
        return max(abs(amount + load.buys), abs(amount - load.sells))

    def engaged(self) -> dict[str, Decimal]:
        """Worst-case holdings of the symbols held or being entered [base, contracts], unsigned.

        A spot holding stands under the one symbol that shows it.
        """
        found, places = self.account.tradable(), self._places
        for symbol, load in self.orders.loads.items():
            if load.buys or load.sells:
                place = places.get(symbol, symbol)
                found[place] = self.exposure(place)
        return found

    def place_of(self, symbol: str) -> str:
        """The symbol under which what it buys is shown."""
        return self._places.get(symbol, symbol)

    def standing(self, ts: int) -> Standing:
        """How the account stands; worked out anew after a fact, a price, or a new valuation.

        Many orders are judged between two of those. A placement changes the exposure of its own symbol alone.
        """
        found, equity = self.stood, self.equity(ts)
        if found is None or found.prices != self.quotes.version or found.equity is not equity:
            loss, fall = self.loss_and_fall(equity.value)
            sound = loss is not None and equity.value is not None and equity.value > 0
            found = Standing(equity, loss, fall, sound, {}, set(), self.quotes.version, [])
            for place, held in self.engaged().items():
                found.engage(place, self.at_mark(place, held))
            self.stood = found
        elif found.entered:
            for symbol in found.entered:
                place = self.place_of(symbol)
                found.engage(place, self.at_mark(place, self.exposure(place)))
            found.entered.clear()
        return found

    # -- money ---------------------------------------------------------------------------------

    def free(self, currency: str) -> Decimal | None:
        """What an order may use now: the venue's word less what it cannot know yet."""
        available = self.account.available(currency)
        if available is None:
            return None
        return available - self.reservations.sum(currency)

    def leverage(self, order: Order) -> Decimal:
        """What a contract's margin is counted with: the order's own, else that of its position, which the venue keeps."""
        if order.leverage is not None:
            return order.leverage
        held = self.account.positions.get(order.symbol)
        return ONE if held is None else held.leverage

    def notional(self, symbol: str, amount: Decimal, price: Decimal) -> Decimal | None:
        """Value of an amount [valuation currency]; None while its cash has no price."""
        market = self.markets[symbol]
        worth = self.quotes.worth(market.cash)
        return None if worth is None else amount * abs(market.value(price)) * worth

    def at_mark(self, symbol: str, amount: Decimal) -> Decimal | None:
        """Value of an amount at the mark [valuation currency]; None without a price of it or its cash."""
        quotes, market = self.quotes, self.markets[symbol]
        found, worth = quotes.mark(symbol), quotes.worth(market.cash)
        if found is None or worth is None:
            return None
        return amount * abs(market.value(found[0])) * worth

    def unrealized(self, symbol: str) -> Decimal | None:
        """Profit of an open position at the mark [cash currency]; None without price or basis."""
        position = self.account.positions.get(symbol)
        found = self.quotes.mark(symbol)
        if position is None or position.cost is None or found is None:
            return None
        return position.amount * self.markets[symbol].value(found[0]) - position.cost

    def equity(self, ts: int) -> Equity:
        """Everything valued, unrealised profit of derivatives included [valuation currency].

        Currencies that no market could price are left out (they are listed as unpriced). A price that
        should be there and is missing, or older than `equity_age_s`, makes the whole figure missing.
        """
        cached = self._equity
        if cached is not None and 0 <= ts - cached.ts < EQUITY_FOR:
            return cached
        return self.equity_now(ts)

    def equity_now(self, ts: int) -> Equity:
        """Value afresh: what stands beside figures of this moment must fit them."""
        found = self._equity = self._value(ts)
        return found

    def forget_equity(self) -> None:
        """Value afresh at the next question: money came, went, or was corrected."""
        self._equity = None

    def _value(self, ts: int) -> Equity:
        if not self.account.books:
            return Equity(None, "no balance is known yet", ts)
        oldest, quotes = ts - self.limits.equity_age_s * SECOND, self.quotes
        total = ZERO
        for currency, amount in self.account.books.items():
            if not amount:
                continue
            if currency == self.currency:
                total += amount
                continue
            worth, newest = quotes.valued(currency)
            if worth is None:
                if not quotes.routed(currency):
                    continue
                return Equity(None, f"{currency} has no price", ts)
            if newest < oldest:
                return Equity(None, f"the price of {currency} is too old", ts)
            total += amount * worth
        assets = total
        for symbol, position in self.account.positions.items():
            if position.position_type == "spot" or not position.amount:
                continue
            profit = self.unrealized(symbol)
            worth = self.quotes.worth(self.markets[symbol].cash)
            if profit is None or worth is None:
                return Equity(None, f"{symbol} has no price or no cost basis", ts)
            if self.quotes.touched.get(symbol, 0) < oldest:
                return Equity(None, f"the price of {symbol} is too old", ts)
            total += profit * worth
        return Equity(total, None, ts, assets)

    def daily_pnl(self, equity: Decimal) -> Decimal | None:
        """Equity less equity at day start less net transfers [valuation currency] (3.5)."""
        start = self.account.day_info.equity_start
        if start is None:
            return None
        moved = ZERO
        for currency, amount in self.account.day_transfers.items():
            worth = self.quotes.worth(currency)
            if worth is None:
                continue
            moved += amount * worth
        return equity - start - moved

    def loss_and_fall(self, equity: Decimal | None) -> tuple[Decimal | None, Decimal | None]:
        """The day's loss and the fall from the peak [fractions, above zero is bad]; None when unknown."""
        day = self.account.day_info
        if equity is None or day.equity_start is None or day.equity_start <= 0:
            return None, None
        pnl = self.daily_pnl(equity)
        assert pnl is not None
        peak = day.peak_equity or day.equity_start
        # Transfers are removed: what is compared with the peak is the day's start and its profit.
        return -pnl / day.equity_start, 1 - (day.equity_start + pnl) / peak

    def leg_price(self, symbol: str, role: Role) -> Decimal | None:
        """The nearest price at which a working protective leg of this role acts, None without one."""
        prices = [
            order.stop_price if order.stop_price is not None else order.price
            for order in self.orders.working_in(symbol)
            if order.role is role
        ]
        known = [price for price in prices if price is not None]
        if not known:
            return None
        # A long's stop nearest to the market is the highest one, a short's the lowest.
        long = self.account.amount(symbol) > 0
        return max(known) if long is (role is Role.STOP_LOSS) else min(known)


def siblings(markets: Mapping[str, Market]) -> dict[str, tuple[str, ...]]:
    """For every symbol those whose orders act on the same holding: spot markets of one base, else itself."""
    by_base: dict[str, list[str]] = {}
    for symbol, market in markets.items():
        if not market.contract:
            by_base.setdefault(market.base, []).append(symbol)
    return {
        symbol: (symbol,) if market.contract else tuple(by_base[market.base])
        for symbol, market in markets.items()
    }


def places(markets: Mapping[str, Market], homes: Mapping[str, str]) -> dict[str, str]:
    """For every symbol the one under which what it buys is shown."""
    return {
        symbol: symbol if market.contract else homes.get(market.base, symbol)
        for symbol, market in markets.items()
    }
