"""Margin of linear perpetuals: when an account is liquidated, and at which price.

Cross positions of one settle currency share what is in the wallet apart from spot holds; an isolated one
has its collateral and nothing else. Liquidation: equity at the mark is at or below maintenance.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

from realtime.engine.market import up
from realtime.engine.matching.account import Account, Holding
from realtime.engine.matching.rules import steps, unit_down, unit_up
from realtime.model.market import ZERO, Market


Marks = Callable[[str], Decimal | None]


def maintenance(held: Holding, market: Market, mark: Decimal) -> Decimal:
    """Least equity this position needs [cash currency]."""
    return abs(held.amount) * market.contract_size * mark * market.maintenance_margin


def crossed(account: Account, markets: Mapping[str, Market], cash: str) -> list[str]:
    """Symbols of cross positions settled in `cash`."""
    return [
        symbol
        for symbol, held in account.holdings.items()
        if held.amount and not held.isolated and markets[symbol].cash == cash
    ]


def backing(account: Account, markets: Mapping[str, Market], cash: str) -> Decimal:
    """Cash that stands behind cross positions: all of it but spot holds and isolated collateral."""
    wallet = account.wallet(cash)
    apart = sum(
        (
            held.collateral
            for symbol, held in account.holdings.items()
            if held.isolated and markets[symbol].cash == cash
        ),
        ZERO,
    )
    return wallet.total - wallet.held - apart


def healthy(
    account: Account,
    markets: Mapping[str, Market],
    marks: Marks,
    symbols: list[str],
    less: Decimal = ZERO,
) -> bool:
    """Whether equity, but for so much of it, is above maintenance for these positions.

    They are one isolated position, or all cross ones of a currency.
    """
    first = account.holdings[symbols[0]]
    cash = markets[symbols[0]].cash
    equity = (first.collateral if first.isolated else backing(account, markets, cash)) - less
    least = ZERO
    for symbol in symbols:
        held, market, mark = account.holdings[symbol], markets[symbol], marks(symbol)
        if mark is None:
            return True  # without a price nobody can say otherwise
        equity += held.profit(mark, market.contract_size)
        least += maintenance(held, market, mark)
    return equity > least or not any(account.holdings[symbol].amount for symbol in symbols)


def liquidation_price(
    account: Account, markets: Mapping[str, Market], marks: Marks, symbol: str
) -> Decimal | None:
    """The mark price at which the position in `symbol` is liquidated, others unchanged.

    Returns:
        [quote], on the tick, never beyond the condition's own price; None where no price above zero does it.
    """
    held, market = account.holdings[symbol], markets[symbol]
    if held.isolated:
        equity, least = held.collateral, ZERO
    else:
        equity, least = backing(account, markets, market.cash), ZERO
        for other in crossed(account, markets, market.cash):
            mark = marks(other)
            if other != symbol and mark is not None:
                equity += account.holdings[other].profit(mark, markets[other].contract_size)
                least += maintenance(account.holdings[other], markets[other], mark)
    # equity + amount * size * price - cost = least + |amount| * size * price * rate, solved for the price
    units = held.amount * market.contract_size
    price = (least - equity + held.cost) / (units - abs(units) * market.maintenance_margin)
    if price <= 0:
        return None
    tick = market.price_tick
    return steps(price, tick) if held.amount > 0 else up(price, tick)


def funding(amount: Decimal, market: Market, mark: Decimal, rate: Decimal) -> Decimal:
    """What a position pays (above zero) or receives: longs pay shorts while the rate is above zero."""
    payment = amount * market.contract_size * mark * rate
    return unit_up(payment) if payment > 0 else -unit_down(-payment)
