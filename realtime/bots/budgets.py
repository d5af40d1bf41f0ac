"""Budgets: how much of the account a bot may use, judged before the gate for every order that names a bot.

Rules of this file: (1) a budget is the most that all positions and working entries of the bot may be worth, at their
worst, changed by what the bot has earned; (2) what only makes a bot's own position smaller always passes; (3) a bot
with a budget cannot sell what is another's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext

from realtime.bots import holdings
from realtime.engine.engine import Engine
from realtime.engine.market import plain
from realtime.model.bots import BotSpec
from realtime.model.errors import Code, Refused
from realtime.model.market import MONEY, ZERO, Market
from realtime.model.orders import Order, OrderType, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A budget now [valuation currency].

    Attributes:
        limit: As configured; None is no budget.
        capital: The limit and the profit since the bot's first fill; None without a limit.
        used: Positions and working entries at their worst; None while a price is missing.
        left: None without a limit or without a price.
    """

    limit: Decimal | None
    capital: Decimal | None
    used: Decimal | None
    left: Decimal | None


@dataclass(frozen=True, slots=True)
class _Load:
    """What one bot has under way in one symbol [base, contracts], and what its orders are worth.

    Attributes:
        buys, sells: Working orders but attached exits, at their worst.
        price: The highest price among mark and orders; None when unknown.
    """

    buys: Decimal
    sells: Decimal
    price: Decimal | None


class Budgets:
    """Judges orders of bots.

    Args:
        engine: Knows shares, working orders and prices; read only.
        spec: Gives what a bot is told; None for a name that is no bot.
    """

    def __init__(self, engine: Engine, spec: Callable[[str], BotSpec | None]) -> None:
        self._engine = engine
        self._spec = spec

    def room(self, bot_id: str) -> Room:
        """Give what a bot may still use."""
        spec = self._spec(bot_id)
        with localcontext(MONEY):
            used = self._used(bot_id, None)
            if spec is None or spec.budget is None:
                return Room(limit=None, capital=None, used=used, left=None)
            capital = self._capital(bot_id, spec.budget)
            left = None if used is None else max(capital - used, ZERO)
            return Room(limit=spec.budget, capital=capital, used=used, left=left)

    def check(self, order: Order) -> None:
        """Judge an order that is to be placed, or what an amend would make of it.

        Raises:
            Refused: `risk_rejected`, rule `bot_budget` (more than the budget, or a price is missing) or
                `bot_holding` (it would sell what the bot does not have).
        """
        bot_id = order.bot_id
        spec = None if bot_id is None else self._spec(bot_id)
        if bot_id is None or spec is None or spec.budget is None or order.protective:
            return
        with localcontext(MONEY):
            if self.reduces(bot_id, order):
                return
            self._check_holding(bot_id, order)
            capital = self._capital(bot_id, spec.budget)
            used = self._used(bot_id, order)
            if used is None or used > capital:
                currency = self._engine.valuation_currency
                told = "not known, a price is missing" if used is None else f"{plain(used)}"
                raise Refused(
                    Code.RISK_REJECTED,
                    f"bot {bot_id} would use {told} {currency}, its budget is {plain(capital)}",
                    {
                        "rule": "bot_budget",
                        "limit": plain(capital),
                        "value": None if used is None else plain(used),
                        "unit": currency,
                        "bot_id": bot_id,
                        "failed": ["bot_budget"],
                    },
                )

    def _capital(self, bot_id: str, limit: Decimal) -> Decimal:
        return max(limit + self._engine.shares.earned(bot_id).realized, ZERO)

    def reduces(self, bot_id: str, order: Order) -> bool:
        """Whether an order fits into the bot's own position, together with its other exits."""
        held = holdings.held(self._engine, bot_id, order.symbol)
        own = max(held, ZERO) if order.side is Side.SELL else max(-held, ZERO)
        others = sum(
            (
                _rest(other)
                for other in self._working(bot_id, order)
                if other.symbol == order.symbol and other.side is order.side
            ),
            ZERO,
        )
        return order.cost_limit is None and order.remaining + others <= own

    def _check_holding(self, bot_id: str, order: Order) -> None:
        market = self._engine.markets.get(order.symbol)
        if market is None or market.contract or order.side is Side.BUY:
            return  # the gate refuses an unknown symbol, and contracts may be sold short
        held = max(holdings.held(self._engine, bot_id, order.symbol), ZERO)
        raise Refused(
            Code.RISK_REJECTED,
            f"bot {bot_id} holds {plain(held)} {market.base} with its working exits, "
            f"it cannot sell {plain(order.remaining)}",
            {
                "rule": "bot_holding",
                "limit": plain(held),
                "value": plain(order.remaining),
                "unit": market.base,
                "bot_id": bot_id,
                "failed": ["bot_holding"],
            },
        )

    def _working(self, bot_id: str, besides: Order | None) -> list[Order]:
        """Working orders of a bot but its attached exits and the order that is judged."""
        return [
            order
            for order in self._engine.orders.working()
            if order.bot_id == bot_id
            and not order.protective
            and (besides is None or order.id != besides.id)
        ]

    def _used(self, bot_id: str, order: Order | None) -> Decimal | None:
        """Sum up positions and entries at their worst [valuation currency], with an order more."""
        working = self._working(bot_id, order)
        if order is not None:
            working.append(order)
        shares = self._engine.shares.by_symbol(bot_id)
        total = ZERO
        filled = [one.symbol for one, _ in holdings.unbooked(self._engine) if one.bot_id == bot_id]
        for symbol in {*shares, *filled, *(one.symbol for one in working)}:
            market = self._engine.markets.get(symbol)
            if market is None:
                continue
            held = holdings.held(self._engine, bot_id, symbol)
            load = self._load(market, [one for one in working if one.symbol == symbol])
            amount = max(abs(held + load.buys), abs(held - load.sells))
            if not amount:
                continue
            worth = self._engine.worth(market.cash)
            if load.price is None or worth is None:
                return None
            total += amount * load.price * market.contract_size * worth
        return total

    def _load(self, market: Market, orders: Iterable[Order]) -> _Load:
        mark = self._engine.mark(market.symbol)
        prices = [] if mark is None else [mark[0]]
        buys = sells = ZERO
        for order in orders:
            asked = (order.price or order.stop_price, order.amend_price, order.amend_stop_price)
            prices += [price for price in asked if price is not None]
            amount = _rest(order)
            if order.cost_limit is not None and order.type is OrderType.MARKET and prices:
                amount = order.cost_limit / market.contract_size / prices[0]
            if order.side is Side.BUY:
                buys += amount
            else:
                sells += amount
        return _Load(buys, sells, max(prices, default=None))


def _rest(order: Order) -> Decimal:
    """What may still fill [base, contracts], the larger version of an amend under way."""
    return max(order.remaining, (order.amend_amount or ZERO) - order.filled)
