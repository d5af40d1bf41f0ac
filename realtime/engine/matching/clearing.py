"""Who owns what and who is told: the accounts of the exchange, its own boxes, and the private streams.

Events of one account carry one sequence without holes. Order of one change: the order as accepted, its
fills, the order as it is now, balances, positions (X7.1).
"""

from decimal import Decimal

from realtime.engine.bars import MINUTE
from realtime.engine.forgotten import Sizes
from realtime.engine.matching.account import Account, Holding, SelfTrade
from realtime.engine.matching.orders import Working
from realtime.engine.matching.perpetuals import (
    backing,
    crossed,
    funding,
    liquidation_price,
    maintenance,
)
from realtime.engine.matching.pit import Pit
from realtime.engine.matching.rules import Tier, fee_of, signed, tiered
from realtime.model.account import Balance, Position
from realtime.model.events import (
    BalanceSeen,
    Filled,
    OrderSeen,
    PositionSeen,
    Transferred,
    VenueEvent,
)
from realtime.model.frozen import frozen
from realtime.model.market import ZERO, Funding, Market
from realtime.model.orders import Side, Status


# Read off its enum's class a member costs ten times as much, and an order reads twenty of them.
_FILLED = Status.FILLED

Traded = dict[int, tuple[Decimal, Decimal, Decimal]]
"""By minute [ns]: highest and lowest price, and amount."""
MINUTES = 10_000
"""Minutes of a symbol of which what was traded is remembered: a week of trading without a pause."""


@frozen
class Told:
    """One event of one account's private stream."""

    account: str
    seq: int
    event: VenueEvent


class Clearing:
    """Books money. Never matches.

    Attributes:
        fees: Taken from accounts, by currency (rebates lower it).
        insurance: Paid for what liquidated accounts could not; below zero when it paid.
        outside: What the outside world received or gave in trades with our accounts.
        backed: What stood behind the cross positions of an account and a currency when they were told.
        moved: Accounts and currencies of which that may have changed since.
        traded: What owners traded with orders that are forgotten, by symbol.
    """

    def __init__(self, *, venue: str, pits: dict[str, Pit], tiers: tuple[Tier, ...]) -> None:
        self.venue = venue
        self.pits = pits
        self.markets: dict[str, Market] = {symbol: pit.market for symbol, pit in pits.items()}
        self.tiers = tiers
        self.accounts: dict[str, Account] = {}
        self.owners: list[Account] = []
        self.fills: dict[str, list[Filled]] = {}
        self.fees: dict[str, Decimal] = {}
        self.insurance: dict[str, Decimal] = {}
        self.outside: dict[str, Decimal] = {}
        self.told: list[Told] = []
        self.transfers = 0
        self._touched: dict[str, Working] = {}
        self.backed: dict[tuple[str, str], Decimal] = {}
        self.moved: dict[tuple[str, str], None] = {}
        self.traded: dict[str, Traded] = {}

    def add(self, account: Account) -> None:
        """Open an account."""
        self.accounts[account.id] = account
        if not account.credit:
            self.owners.append(account)
            self.fills[account.id] = []

    def mark(self, symbol: str) -> Decimal | None:
        """The price a position is judged at."""
        return self.pits[symbol].reference

    # --- money --------------------------------------------------------------------------------

    def fill(
        self,
        pit: Pit,
        order: Working,
        price: Decimal,
        amount: Decimal,
        value: Decimal,
        trade_id: str,
        *,
        maker: bool,
        ts: int,
    ) -> None:
        """Book one side of a trade and tell its owner; `value` is what price and amount come to [cash currency]."""
        account, market, side = self.accounts[order.account], pit.market, order.side
        fee_rate = market.maker if maker else market.taker
        if self.tiers:
            fee_rate = tiered(fee_rate, self.tiers, account.volume)
        fee, currency = fee_of(market, side, price, amount, fee_rate)
        account.settle(market, side, price, amount, value, fee, ts)
        _move(self.fees, currency, fee)
        event = Filled(
            venue=self.venue,
            symbol=order.symbol,
            trade_id=trade_id,
            exchange_order_id=order.id,
            venue_client_id=order.client_id,
            side=side,
            amount=amount,
            price=price,
            fee=fee,
            fee_currency=currency,
            maker=maker,
            ts=ts,
        )
        self.fills[account.id].append(event)
        self.tell(account, event)

    def export(self, market: Market, side: Side, price: Decimal, amount: Decimal) -> None:
        """Book the outside world's part of a trade with an order of `side`."""
        sign = 1 if side is Side.BUY else -1
        _move(self.outside, market.cash, sign * price * amount * market.contract_size)
        if not market.contract:
            _move(self.outside, market.base, -sign * amount)

    def transfer(
        self,
        account: Account,
        currency: str,
        amount: Decimal,
        kind: str,
        symbol: str | None,
        ts: int,
    ) -> None:
        """Move money in (above zero) or out and tell the owner."""
        account.pay(currency, amount)
        if kind == "insurance":
            _move(self.insurance, currency, -amount)
        else:
            _move(self.outside, currency, -amount)
        self.transfers += 1
        self.tell(
            account,
            Transferred(
                venue=self.venue,
                currency=currency,
                amount=amount,
                kind=kind,
                symbol=symbol,
                id=f"{kind}-{self.transfers}",
                ts=ts,
            ),
        )

    def fund(self, market: Market, mark: Decimal, rate: Decimal, ts: int) -> None:
        """Let whoever holds a perpetual pay the funding that falls due at `ts` [ns], or get it."""
        for account in self.accounts.values():
            held = account.holdings.get(market.symbol)
            if held is not None and held.amount and held.funded_ts < ts:
                self.pay(account, held, market, funding(held.amount, market, mark, rate), ts)

    def make_up(self, account: Account, market: Market, told: Funding) -> None:
        """Let an owner pay or get a funding of before that nobody has settled, for what was held at that time."""
        held = account.holdings[market.symbol]
        if not 0 < held.funded_ts < told.ts:
            return
        amount = held.amount
        for fill in reversed(self.fills[account.id]):
            if fill.ts < told.ts:
                break
            if fill.symbol == market.symbol:
                amount -= signed(fill.side, fill.amount)
        if amount:
            payment = funding(amount, market, Decimal(told.mark), Decimal(told.rate))
            self.pay(account, held, market, payment, told.ts)

    def pay(
        self, account: Account, held: Holding, market: Market, payment: Decimal, ts: int
    ) -> None:
        """Take a funding that fell due at `ts` [ns] from an account, or give it."""
        held.funded_ts = ts
        if held.isolated:
            # What is not free has to come out of the collateral: the rest of the wallet is not its own.
            lacking = max(payment - account.wallet(market.cash).free, ZERO)
            held.collateral -= min(lacking, held.collateral)
            account.remargin(market)
        account.changed_holdings[market.symbol] = None
        self.transfer(account, market.cash, -payment, "funding", market.symbol, ts)

    def worth(self) -> dict[str, Decimal]:
        """Everything there is, by currency, entry values of positions taken off: constant for ever (X9.4)."""
        total: dict[str, Decimal] = {}
        for box in (self.fees, self.insurance, self.outside):
            for currency, amount in box.items():
                _move(total, currency, amount)
        for account in self.accounts.values():
            for currency, wallet in account.wallets.items():
                _move(total, currency, wallet.total)
            for symbol, held in account.holdings.items():
                _move(total, self.markets[symbol].cash, -held.cost)
        return total

    # --- forgetting -------------------------------------------------------------------------------

    def forget(self, account: Account, sizes: Sizes, ts: int) -> None:
        """Let go of an account's oldest orders, and now and then of their fills, all at once."""
        account.stale += account.forget(sizes, ts)
        if account.stale > sizes.ended // 8:
            there = account.orders.keys() | account.ended.keys()
            kept: list[Filled] = []
            for fill in self.fills[account.id]:
                if fill.exchange_order_id in there:
                    kept.append(fill)
                else:
                    self._sum_up(fill)
            self.fills[account.id] = kept
            account.stale = 0

    def _sum_up(self, fill: Filled) -> None:
        """Remember of a fill what the bar of its minute has of it."""
        minutes = self.traded.setdefault(fill.symbol, {})
        minute, price = fill.ts // MINUTE * MINUTE, fill.price
        high, low, volume = minutes.get(minute, (price, price, ZERO))
        minutes[minute] = (max(high, price), min(low, price), volume + fill.amount)
        if len(minutes) > MINUTES:
            del minutes[next(iter(minutes))]

    # --- telling ------------------------------------------------------------------------------

    def tell(self, account: Account, event: VenueEvent) -> None:
        """Append to an owner's stream."""
        if not account.credit:
            account.seq += 1
            self.told.append(Told(account.id, account.seq, event))

    def touch(self, order: Working) -> None:
        """Remember to tell how `order` stands."""
        self._touched[order.id] = order

    def flush(self, ts: int, *, prompt: bool = False) -> None:
        """Tell orders, balances and positions that changed.

        Args:
            ts: [ns]
            prompt: Leave out orders that nothing was told of but the fills that fill them, and sums to the next call.
        """
        if self._touched:
            for order in self._touched.values():
                if not (prompt and _said(order)):
                    self.tell(self.accounts[order.account], self.seen(order, order.updated_ts))
            self._touched.clear()
        if prompt:
            return
        for account in self.owners:
            if account.changed_wallets:
                for currency in account.changed_wallets:
                    self.tell(account, BalanceSeen(balance=self.balance(account, currency, ts)))
                    if account.wallets[currency].margin:
                        self._move(account, currency)
                account.changed_wallets.clear()
            if account.changed_holdings:
                for symbol in account.changed_holdings:
                    self.tell(account, PositionSeen(position=self.position(account, symbol, ts)))
                account.changed_holdings.clear()

    def _move(self, account: Account, currency: str) -> None:
        """Note that what stands behind cross positions may have changed, unless all of them are told now anyway."""
        key, told = (account.id, currency), account.changed_holdings
        if all(name in told for name in crossed(account, self.markets, currency)):
            self.backed[key] = backing(account, self.markets, currency)
            self.moved.pop(key, None)
        else:
            self.moved[key] = None

    def stand(self) -> None:
        """Have cross positions told when the money behind them has changed: with it moves their liquidation price.

        Not at each change: to tell all of them costs as much as their number squared.
        """
        for key in self.moved:
            account = self.accounts[key[0]]
            money = backing(account, self.markets, key[1])
            if self.backed.get(key) != money:
                self.backed[key] = money
                names = crossed(account, self.markets, key[1])
                account.changed_holdings.update(dict.fromkeys(names))
        self.moved.clear()

    def seen(self, order: Working, ts: int, evidence: str = "stream") -> OrderSeen:
        """An order's row."""
        return OrderSeen(
            venue=self.venue,
            symbol=order.symbol,
            exchange_order_id=order.id,
            venue_client_id=order.client_id,
            side=order.side,
            type=str(order.type),
            status=order.status,
            amount=order.amount,
            price=order.price,
            stop_price=order.stop_price,
            filled=order.filled,
            cost=order.cost,
            reduce_only=order.reduce_only,
            asof=order.updated_ts,
            code=order.code,
            reason=order.reason,
            evidence=evidence,
            ts=ts,
        )

    def balance(self, account: Account, currency: str, ts: int) -> Balance:
        """A balance's row."""
        wallet = account.wallet(currency)
        free = wallet.free
        return Balance(
            venue=self.venue,
            currency=currency,
            available=free,
            reserved=wallet.total - free,
            ts=ts,
        )

    def position(self, account: Account, symbol: str, ts: int) -> Position:
        """A position's row; flat ones have amount zero."""
        held, market = account.holdings[symbol], self.markets[symbol]
        mark = self.mark(symbol)
        return Position(
            venue=self.venue,
            symbol=symbol,
            position_type=market.type,
            amount=held.amount,
            cost=held.cost,
            contract_size=market.contract_size,
            realized_pnl=held.realized,
            fees_paid=held.fees,
            leverage=held.leverage,
            margin_mode="isolated" if held.isolated else "cross",
            collateral=_collateral(held),
            maintenance_margin=None if mark is None else maintenance(held, market, mark),
            liquidation_price=(
                liquidation_price(account, self.markets, self.mark, symbol) if held.amount else None
            ),
            opened_ts=held.opened_ts,
            ts=ts,
        )


def _said(order: Working) -> bool:
    """Whether the fills of an order that came with them tell its end: they do not where its amount may have been cut."""
    filled = order.status is _FILLED and order.cost_limit is None
    cut = order.reduce_only or order.oco_group is not None
    return filled and not cut and not order.type.triggered


def _collateral(held: Holding) -> Decimal:
    return held.collateral if held.isolated else abs(held.cost) / held.leverage


def _move(box: dict[str, Decimal], currency: str, amount: Decimal) -> None:
    box[currency] = box.get(currency, ZERO) + amount


def new_account(
    identity: str, *, credit: bool = False, self_trade: SelfTrade = SelfTrade.CANCEL_NEWEST
) -> Account:
    """An empty account."""
    return Account(identity, credit=credit, self_trade=self_trade)
