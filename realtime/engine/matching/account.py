"""Accounts of the paper exchange: wallets, holds, positions in linear derivatives.

Rules of this file:
1 total = free + used, always; free is never shown below zero, and spot holds never exceed the total.
2 Money only moves between accounts, the fee box, the insurance fund and the outside world, to the last unit.
3 A position keeps sums (M7); the trade that flattens it removes all of its cost.
"""

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from realtime.engine.forgotten import Keys, Sizes, key
from realtime.engine.matching.orders import Working
from realtime.engine.matching.rules import refusal, signed, unit_down, unit_up
from realtime.model.errors import VenueRejected
from realtime.model.market import ZERO, Market
from realtime.model.orders import Side


# Read off its enum's class a member costs ten times as much, and an order reads twenty of them.
_BUY = Side.BUY


class SelfTrade(StrEnum):
    """What happens when an account would trade with itself."""

    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"


@dataclass(slots=True)
class Wallet:
    """One currency.

    Attributes:
        held: For spot orders.
        margin: For derivatives settled in this currency: positions and orders.
    """

    total: Decimal = ZERO
    held: Decimal = ZERO
    margin: Decimal = ZERO

    @property
    def free(self) -> Decimal:
        """What may be spent; never below zero (a loss may exceed what is free, never what is there)."""
        free = self.total - self.held - self.margin
        return free if free >= 0 else ZERO


@dataclass(slots=True)
class Holding:
    """The net position in one derivative.

    Attributes:
        cost: Signed entry value [cash currency], contract size included.
        buys, sells: Worst-case value of working orders that are not reduce-only.
        collateral: Set apart for it when isolated.
        margin: What it holds in the wallet now.
        funded_ts: Fundings up to this time are settled [ns]; 0 while it is not held and none is owed.
    """

    amount: Decimal = ZERO
    cost: Decimal = ZERO
    leverage: Decimal = Decimal(1)
    isolated: bool = False
    collateral: Decimal = ZERO
    buys: Decimal = ZERO
    sells: Decimal = ZERO
    margin: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    opened_ts: int = 0
    funded_ts: int = 0

    def profit(self, mark: Decimal, size: Decimal) -> Decimal:
        """Unrealised profit at a mark price."""
        return self.amount * size * mark - self.cost

    def required(self, market: Market) -> Decimal:
        """Margin of the worst of: filled buys, filled sells, nothing filled; plus the fees of orders."""
        own = abs(self.cost)
        worst = max(self.cost + self.buys, self.sells - self.cost, own)
        fees = (self.buys + self.sells) * max(market.taker, ZERO)
        if self.isolated:
            return self.collateral + unit_up((worst - own) / self.leverage + fees)
        return unit_up(worst / self.leverage + fees)


@dataclass(slots=True)
class Account:
    """One account. `credit` is for liquidity: no limit on funds, no fees, no private events.

    Attributes:
        ended: Orders that are over, in the order of their ends.
        forgotten: Keys of the ids of those that were over long ago.
        stale: How many were forgotten since their fills were last cleared away.
    """

    id: str
    credit: bool = False
    self_trade: SelfTrade = SelfTrade.CANCEL_NEWEST
    wallets: dict[str, Wallet] = field(default_factory=dict)
    holdings: dict[str, Holding] = field(default_factory=dict)
    orders: dict[str, Working] = field(default_factory=dict)
    ended: OrderedDict[str, Working] = field(default_factory=OrderedDict)
    client_ids: dict[str, str] = field(default_factory=dict)
    forgotten: Keys = field(default_factory=Keys)
    stale: int = 0
    group_held: dict[str, Decimal] = field(default_factory=dict)
    volume: Decimal = ZERO
    seq: int = 0
    # What the next flush tells.
    changed_wallets: dict[str, None] = field(default_factory=dict)
    changed_holdings: dict[str, None] = field(default_factory=dict)

    def wallet(self, currency: str) -> Wallet:
        """A wallet, made when first asked for."""
        held = self.wallets.get(currency)
        if held is None:
            held = self.wallets[currency] = Wallet()
        return held

    def holding(self, symbol: str) -> Holding:
        """A position, flat when first asked for."""
        held = self.holdings.get(symbol)
        if held is None:
            held = self.holdings[symbol] = Holding()
        return held

    def pay(self, currency: str, amount: Decimal) -> None:
        """Add to a total (or take from it)."""
        held = self.wallets.get(currency) or self.wallet(currency)
        held.total += amount
        self.changed_wallets[currency] = None

    # --- what is over ---------------------------------------------------------------------------

    def forget(self, sizes: Sizes, ts: int) -> int:
        """Let go of orders that were over long ago, `sizes.a_call` at most; returns how many."""
        ended = self.ended
        for count in range(sizes.a_call):
            if len(ended) <= sizes.ended:
                return count
            work = next(iter(ended.values()))
            if work.updated_ts >= sizes.before(len(ended), ts):
                return count
            del ended[work.id]
            self.forgotten.add(key("venue", work.id))
            if work.client_id is not None:
                del self.client_ids[work.client_id]
                self.forgotten.add(key("client", work.client_id))
        return sizes.a_call

    def forgot(self, kind: str, name: str) -> bool:
        """Whether an order had this id (`client` or `venue`) that is forgotten."""
        return bool(self.forgotten) and key(kind, name) in self.forgotten

    # --- holds --------------------------------------------------------------------------------

    def afford(self, currency: str, amount: Decimal) -> None:
        """Check that an amount is free, and hold nothing.

        Raises:
            VenueRejected: It is not.
        """
        _afford(currency, amount, self.wallet(currency).free)

    def hold(self, market: Market, order: Working, *, check: bool = False) -> None:
        """Hold what the rest of `order` needs now, more or less than before.

        Args:
            market: The order's.
            order: Ended orders need nothing.
            check: Whether no more than is free may be held; else whatever is needed is.

        Raises:
            VenueRejected: More is needed than is free; nothing has changed then.
        """
        if market.contract:
            self._hold_margin(market, order, check)
        else:
            self._hold_spot(market, order, check)

    def _hold_spot(self, market: Market, order: Working, check: bool) -> None:  # noqa: FBT001 - as `hold`
        currency = market.quote if order.side is Side.BUY else market.base
        wallet = self.wallet(currency)
        group = order.oco_group
        if group is None:
            before, need = order.held, _need(order)
        else:
            # Legs of one group exclude each other, so they share one hold: the largest.
            legs = [leg for leg in self.orders.values() if leg.oco_group == group]
            before = self.group_held.get(group, ZERO)
            need = max((_need(leg) for leg in legs), default=ZERO)
        if check and need > before:
            _afford(currency, need - before, wallet.free)
        if group is None:
            order.held = need
        elif need:
            self.group_held[group] = need
        else:
            self.group_held.pop(group, None)
        if need != before:
            wallet.held += need - before
            self.changed_wallets[currency] = None

    def _hold_margin(self, market: Market, order: Working, check: bool) -> None:  # noqa: FBT001 - as `hold`
        held = self.holding(order.symbol)
        free = self.wallet(market.cash).free if check else None
        before = order.exposure
        after = ZERO
        if not order.status.ended and not order.reduce_only:
            after = order.dearest * order.remaining * market.contract_size
        _expose(held, order, after)
        try:
            if free is not None:
                _afford(market.cash, held.required(market) - held.margin, free)
        except VenueRejected:
            _expose(held, order, before)
            raise
        self.remargin(market)

    def follow(self, market: Market, order: Working) -> None:
        """Hold what a trailing stop needs where it has come to; what was held stays where that is not free."""
        with suppress(VenueRejected):
            self.hold(market, order, check=True)

    def expose(self, market: Market, order: Working, exposure: Decimal) -> None:
        """Hold again what was held for an order in a derivative, wherever its price has come to since."""
        _expose(self.holding(market.symbol), order, exposure)
        self.remargin(market)

    def remargin(self, market: Market) -> None:
        """Hold what the position in `market` and its orders require now."""
        held, wallet = self.holding(market.symbol), self.wallet(market.cash)
        required = held.required(market)
        if required != held.margin:
            wallet.margin += required - held.margin
            held.margin = required
            self.changed_wallets[market.cash] = None

    def square(self, symbol: str) -> None:
        """Note of a position that is not held any more that none of its fundings is owed."""
        held = self.holdings[symbol]
        if held.funded_ts and not held.amount:
            held.funded_ts = 0
            self.changed_holdings[symbol] = None

    # --- fills --------------------------------------------------------------------------------

    def settle(
        self,
        market: Market,
        side: Side,
        price: Decimal,
        amount: Decimal,
        value: Decimal,
        fee: Decimal,
        ts: int,
    ) -> None:
        """Book one fill.

        Args:
            market: Where it happened.
            side: Of the order.
            price: [quote]
            amount: [base, contracts]
            value: Of both together [cash currency].
            fee: [cash currency; base on a spot buy]
            ts: [ns]
        """
        self.volume += value
        if market.contract:
            self._trade(market, side, price, amount, fee, ts)
        elif side is _BUY:
            self._move(market.quote, -value, market.base, amount - fee)
        else:
            self._move(market.base, -amount, market.quote, value - fee)

    def _move(self, given: str, paid: Decimal, got: str, received: Decimal) -> None:
        # As `pay` twice: both sides of each trade come through here.
        wallets, changed = self.wallets, self.changed_wallets
        (wallets.get(given) or self.wallet(given)).total += paid
        (wallets.get(got) or self.wallet(got)).total += received
        changed[given] = changed[got] = None

    def _trade(
        self, market: Market, side: Side, price: Decimal, amount: Decimal, fee: Decimal, ts: int
    ) -> None:
        held = self.holding(market.symbol)
        change = signed(side, amount)
        before = abs(held.amount)
        closing = min(before, amount) if held.amount * change < 0 else ZERO
        profit = ZERO
        if closing:
            whole = closing == before
            sign = 1 if held.amount > 0 else -1
            removed = held.cost if whole else unit_down(held.cost * closing / before)
            profit = sign * price * closing * market.contract_size - removed
            held.cost -= removed
            held.amount -= sign * closing
            share = held.collateral if whole else unit_down(held.collateral * closing / before)
            held.collateral -= share
            if held.isolated:
                # What a part has lost beyond its share comes out of the rest: nothing else stands behind it.
                lacking = max(unit_up(fee - profit) - share, ZERO)
                held.collateral -= min(lacking, held.collateral)
        opening = amount - closing
        if opening:
            if not held.amount:
                held.opened_ts = ts
            added = signed(side, price * opening * market.contract_size)
            held.cost += added
            held.amount += signed(side, opening)
            if held.isolated:
                held.collateral += unit_up(abs(added) / held.leverage)
        held.realized += profit - fee
        held.fees += fee
        self.pay(market.cash, profit - fee)
        self.changed_holdings[market.symbol] = None
        if not self.credit:
            self.remargin(market)


def _need(order: Working) -> Decimal:
    """What a spot order needs: quote for a buy, base for a sell (fees come out of what is received)."""
    if order.status.ended:
        return ZERO
    if order.side is Side.SELL:
        return order.remaining
    return order.dearest * order.remaining


def _afford(currency: str, more: Decimal, free: Decimal) -> None:
    if more > free:
        raise refusal(
            "InsufficientFunds",
            "insufficient_funds",
            f"needs {more:f} {currency}, available {free:f} {currency}",
            needed=format(more, "f"),
            available=format(free, "f"),
            currency=currency,
        )


def _expose(held: Holding, order: Working, exposure: Decimal) -> None:
    if order.side is Side.BUY:
        held.buys += exposure - order.exposure
    else:
        held.sells += exposure - order.exposure
    order.exposure = exposure
