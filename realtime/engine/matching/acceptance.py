"""What an order or an amend must look like to be taken in; raises the refusal, changes nothing."""

from decimal import Decimal

from realtime.engine.matching.account import Account
from realtime.engine.matching.orders import Working
from realtime.engine.matching.pit import Pit
from realtime.engine.matching.rules import (
    check_amount,
    check_band,
    check_cost,
    check_price,
    refusal,
)
from realtime.model.market import ZERO, Market
from realtime.model.orders import OrderType, Side, TimeInForce


# Read off its enum's class a member costs ten times as much, and an order reads twenty of them.
_TRAILING_STOP, _GTD, _SELL = OrderType.TRAILING_STOP, TimeInForce.GTD, Side.SELL


def check_order(
    account: Account,
    pit: Pit,
    work: Working,
    leverage: Decimal | None,
    reference: Decimal | None,
) -> None:
    """Check a new order against the market's price; a reduce-only one is cut to the position it may reduce."""
    market = pit.market
    if not market.active:
        raise refusal("MarketClosed", "market_inactive", f"{market.symbol} is not trading")
    exit_only = work.reduce_only or (not market.contract and work.side is _SELL)
    if pit.stale and not exit_only:
        raise refusal("ExchangeNotAvailable", "stale", f"no fresh prices of {market.symbol}")
    _check_shape(work)
    if leverage is not None and not (
        1 <= leverage <= (market.max_leverage if market.contract else 1)
    ):
        raise refusal("InvalidOrder", "max_leverage", f"leverage {leverage} is out of range")
    if work.reduce_only:
        _check_reduce(account, market, work)
    if work.oco_group is not None:
        _check_group(account, work)
    if work.price is not None:
        check_price(market, work.price)
        check_band(market, work.price, reference)
    if work.stop_price is not None:
        check_price(market, work.stop_price)
    if work.cost_limit is not None:
        if market.contract or work.side is _SELL or work.type is not OrderType.MARKET:
            raise refusal("InvalidOrder", "cost", "only a spot market buy can be given by cost")
        check_cost(market, work.cost_limit)
        return
    check_amount(market, work.amount, is_market=not work.type.priced)
    price = work.price or work.stop_price or reference
    if price is not None and not work.reduce_only:
        check_cost(market, work.amount * price * market.contract_size)


def _check_shape(work: Working) -> None:
    kind = work.type
    if kind is _TRAILING_STOP:
        trailing = [x for x in (work.trailing_amount, work.trailing_rate) if x is not None]
        wrong = len(trailing) != 1 or trailing[0] <= 0
    else:
        wrong = kind.triggered and work.stop_price is None
    if wrong or (kind.priced and work.price is None):
        raise refusal("InvalidOrder", "price", f"a price is missing for this {kind.value} order")
    if work.post_only and (
        not kind.priced or work.time_in_force in {TimeInForce.IOC, TimeInForce.FOK}
    ):
        raise refusal("InvalidOrder", "post_only", "post-only needs an order that rests")
    if work.time_in_force is _GTD and (
        work.good_till_ts is None or work.good_till_ts <= work.created_ts
    ):
        raise refusal("InvalidOrder", "good_till_ts", "GTD needs a time in the future")


def _check_reduce(account: Account, market: Market, work: Working) -> None:
    if market.contract:
        most = closable(account, work)
        if not most:
            raise refusal("InvalidOrder", "reduce_only", "there is no position to reduce")
        work.amount = min(work.amount, most)
    elif work.side is Side.BUY:
        raise refusal("InvalidOrder", "reduce_only", "a spot buy cannot reduce")


def _check_group(account: Account, work: Working) -> None:
    for leg in account.orders.values():
        same = leg.symbol == work.symbol and leg.side is work.side
        if leg.oco_group == work.oco_group and not same:
            # They share one hold, so they have to hold the same thing.
            raise refusal("InvalidOrder", "oco_group", "legs of a group differ in symbol or side")


def closable(account: Account, work: Working) -> Decimal:
    """How much of its position an order of this side can close."""
    held = account.holding(work.symbol).amount
    return max(-held if work.side is Side.BUY else held, ZERO)


def check_amend(
    pit: Pit, work: Working, amount: Decimal, price: Decimal | None, stop: Decimal | None
) -> None:
    """Check the targets of an amend."""
    market = pit.market
    if amount < work.filled:
        raise refusal(
            "InvalidOrder", "filled", f"amount {amount} is below the filled {work.filled}"
        )
    if work.dormant:
        raise refusal("InvalidOrder", "pending", "the order is not in the book yet")
    check_amount(market, amount, is_market=not work.type.priced)
    if price is not None:
        if not work.type.priced:
            raise refusal("InvalidOrder", "price", f"a {work.type.value} order has no price")
        check_price(market, price)
        check_band(market, price, pit.reference)
        if not work.reduce_only:
            check_cost(market, amount * price * market.contract_size)
    if stop is not None and stop != work.stop_price:
        if work.live or not work.type.triggered:
            raise refusal("InvalidOrder", "stop_price", "the order does not wait for a trigger")
        check_price(market, stop)
