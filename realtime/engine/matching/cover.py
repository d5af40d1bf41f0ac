"""Whether what an order needs is there: what it would trade now, and the funds that are held for it.

Rules of this file:
1 An order that is refused has changed nothing: neither what is held, nor a leverage that came with it.
  So is one that would have a cross position liquidated at once by the money that it takes from behind it.
2 What a market order needs is what the book would charge for it, not more.
"""

from dataclasses import replace
from decimal import Decimal

from realtime.engine.matching.account import Account, SelfTrade
from realtime.engine.matching.clearing import Clearing
from realtime.engine.matching.orders import Working
from realtime.engine.matching.perpetuals import crossed, healthy
from realtime.engine.matching.pit import Pit, Step
from realtime.engine.matching.rules import bound as band_bound, refusal, unit_up
from realtime.model.errors import VenueRejected
from realtime.model.market import ZERO, Market
from realtime.model.orders import OrderType, Side, Status


# Read off its enum's class a member costs ten times as much, and an order reads twenty of them.
_SELL, _MARKET, _LIMIT, _CANCEL_OLDEST = (
    Side.SELL,
    OrderType.MARKET,
    OrderType.LIMIT,
    SelfTrade.CANCEL_OLDEST,
)

Plan = list[Step]
"""What an order would trade now, best price first."""


def worst_price(market: Market, work: Working, reference: Decimal | None) -> Decimal | None:
    """The worst price an order takes: its own, else the market's bound; None for any."""
    return work.price if work.type.priced else band_bound(market, work.side, reference)


def look(account: Account, pit: Pit, work: Working, bound: Decimal | None) -> Plan:
    """What an order of `account` would trade now, up to a price; changes nothing."""
    past_own = account.self_trade is _CANCEL_OLDEST
    return pit.plan(work, bound, past_own=past_own, credit=account.credit)


def check_passive(account: Account, pit: Pit, work: Working, price: Decimal) -> None:
    """Check that a post-only order would rest at another price, too.

    Raises:
        VenueRejected: It would take.
    """
    shadow = replace(work, price=price, status=Status.OPEN)
    if look(account, pit, shadow, price):
        raise _would_take()


def lever(clearing: Clearing, account: Account, market: Market, leverage: Decimal) -> None:
    """Change the leverage of a position and of its orders.

    Raises:
        VenueRejected: Out of range, its margin is not free, or it would be liquidated at once; nothing has changed then.
    """
    if not market.contract or not 1 <= leverage <= market.max_leverage:
        raise refusal("InvalidOrder", "max_leverage", f"leverage {leverage} is out of range")
    held, wallet = account.holding(market.symbol), account.wallet(market.cash)
    before = held.leverage, held.collateral
    held.leverage = leverage
    if held.isolated:
        held.collateral = unit_up(abs(held.cost) / leverage)
    broke = held.isolated and not healthy(account, clearing.markets, clearing.mark, [market.symbol])
    if broke or held.required(market) - held.margin > wallet.free:
        held.leverage, held.collateral = before
        raise refusal(
            "InsufficientFunds",
            "insufficient_funds",
            f"leverage {leverage} needs more margin than {wallet.free:f} {market.cash}",
        )
    account.remargin(market)


def reserve(
    clearing: Clearing,
    account: Account,
    pit: Pit,
    work: Working,
    leverage: Decimal | None,
    limit: Decimal | None,
    *,
    live: bool,
) -> Plan | None:
    """Hold the funds of a new order, or leave everything as it was; gives what a market order would trade.

    Raises:
        VenueRejected: They are not there, or a post-only order would take.
    """
    market, plan = pit.market, None
    held = account.holding(market.symbol) if market.contract else None
    before = None if held is None else (held.leverage, held.collateral)
    if held is not None and leverage is not None and leverage != held.leverage:
        lever(clearing, account, market, leverage)
    account.orders[work.id] = work
    try:
        if work.type is _MARKET:
            work.live = True
            plan = afford(account, pit, work, limit)
        if work.post_only and work.type is _LIMIT and look(account, pit, work, work.price):
            raise _would_take()
        alone = work.oco_group is None and not market.contract
        if not market.contract:
            check_backing(clearing, account, market, work, plan)
        if alone and live and work.type is _MARKET:
            # Over in this very step: nothing has to be held. What a buy needs the book has told.
            if work.side is _SELL:
                account.afford(market.base, work.amount)
        else:
            account.hold(market, work, check=True)
    except VenueRejected:
        del account.orders[work.id]
        if held is not None and before is not None:
            # As it was, whether or not anybody who asks for it now could pay for it.
            held.leverage, held.collateral = before
            account.remargin(market)
        raise
    if held is not None and before is not None and held.leverage != before[0]:
        account.changed_holdings[market.symbol] = None
    return plan


def check_backing(
    clearing: Clearing, account: Account, market: Market, work: Working, plan: Plan | None = None
) -> None:
    """Check that what a spot order needs, more than it holds, leaves enough behind cross positions.

    Raises:
        VenueRejected: They would be liquidated at once.
    """
    currency = market.base if work.side is _SELL else market.quote
    if account.wallet(currency).margin:
        need = work.remaining if work.side is _SELL else work.dearest * work.remaining
        if plan is not None:
            spent = sum((step.price * step.amount for step in plan), ZERO)
            need = max(need, spent, work.cost_limit or ZERO)
        group = work.oco_group
        held = work.held if group is None else account.group_held.get(group, ZERO)
        leave(clearing, account, currency, need - held)


def leave(clearing: Clearing, account: Account, currency: str, amount: Decimal) -> None:
    """Check that so much less would still keep the cross positions that a currency stands behind.

    Raises:
        VenueRejected: They would be liquidated at once.
    """
    if amount <= 0:
        return
    markets = clearing.markets
    symbols = crossed(account, markets, currency)
    if symbols and not healthy(account, markets, clearing.mark, symbols, amount):
        raise refusal(
            "InsufficientFunds",
            "insufficient_funds",
            f"without {amount:f} {currency} what is held in {', '.join(symbols)} would be liquidated",
            needed=format(amount, "f"),
            currency=currency,
        )


def afford(account: Account, pit: Pit, work: Working, limit: Decimal | None) -> Plan | None:
    """Check the funds of a market order against what the book would charge; gives that, where it was looked at.

    Raises:
        VenueRejected: They are not free.
    """
    if not pit.market.contract and work.side is _SELL:
        return None  # what it pays with is counted in the base, whatever the book is
    plan = look(account, pit, work, limit)
    if pit.market.contract:
        work.worst = plan[-1].price if plan else pit.reference
    else:
        needed = work.cost_limit or ZERO
        spent = ZERO
        for step in plan:
            spent += step.price * step.amount
        needed = max(spent, needed)
        free = account.wallet(pit.market.quote).free
        if needed > free:
            quote = pit.market.quote
            raise refusal(
                "InsufficientFunds",
                "insufficient_funds",
                f"needs {needed:f} {quote}, available {free:f} {quote}",
            )
    return plan


def _would_take() -> VenueRejected:
    return refusal("OrderImmediatelyFillable", "post_only", "a post-only order would take")
