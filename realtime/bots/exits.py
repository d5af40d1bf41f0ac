"""How a bot leaves the market: its orders withdrawn, what it holds closed, and nothing of anybody else."""

import asyncio
from collections.abc import Awaitable, Container, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from realtime.bots import holdings
from realtime.bots.runner import Row
from realtime.desk.crew import Crew
from realtime.desk.desk import Desk
from realtime.desk.trading import Canceled, Trading
from realtime.engine.market import down
from realtime.model.account import Position
from realtime.model.errors import Code, Refused
from realtime.model.events import Who
from realtime.model.market import ZERO
from realtime.model.orders import Order


STOP_S: Final = 30.0
"""How long an answer to an exit is waited for; it goes on by itself."""
AGAIN_S: Final = 1.0
AGAIN: Final = 120
"""How often a cancel that missed its order is sent again: it may have overtaken it on the way."""


class Exits:
    """Withdraws and closes for bots, through the gate as everybody."""

    def __init__(self, *, desk: Desk, trading: Trading, crew: Crew) -> None:
        self._desk = desk
        self._trading = trading
        self._crew = crew

    def resting(self, bot_id: str) -> list[Order]:
        """Working orders of a bot but its attached exits."""
        return [o for o in self._trading.working(bot_id=bot_id) if not o.protective]

    def withdraw(self, doomed: Sequence[Order], who: Who) -> Awaitable[Canceled]:
        """Cancel orders, and those again that the cancel missed; the first are on their way when this returns."""
        return self._withdrawn(doomed, self._trading.cancel_many(doomed, who), who)

    async def _withdrawn(
        self, doomed: Sequence[Order], canceling: Awaitable[Canceled], who: Who
    ) -> Canceled:
        canceled = await canceling
        if canceled.failed or canceled.unknown:
            missed = {*canceled.failed, *canceled.unknown}
            ids = [order.id for order in doomed if order.client_order_id in missed]
            self._crew.spawn(self._insist(ids, who), "cancels again")
        return canceled

    async def _insist(self, ids: Sequence[str], who: Who) -> None:
        """Cancel until all have ended: an order on its way is overtaken by its cancel, and rests afterwards."""
        for _ in range(AGAIN):
            await asyncio.sleep(AGAIN_S)
            found = [self._desk.engine.orders.get(order_id) for order_id in ids]
            left = [order for order in found if order is not None and not order.status.ended]
            if not left:
                return
            await self._trading.cancel_many(left, who)

    def owned(
        self, bot_id: str, *, withdrawn: bool = False
    ) -> Iterator[tuple[str, Position, Decimal]]:
        """Tell what there is to close of a bot: symbol, position and how much of it, in lots.

        Args:
            bot_id: Whose.
            withdrawn: Whether its exits that work are taken as canceled; else what they close is left to them.
        """
        engine = self._desk.engine
        for symbol in engine.shares.by_symbol(bot_id):
            market, position = engine.markets.get(symbol), holdings.position_of(engine, symbol)
            own = holdings.held(engine, bot_id, symbol)
            if market is not None and holdings.is_cash(engine, market):
                position = Position(venue=engine.venue, symbol=symbol, amount=own)
            if market is None or position is None:
                continue
            leaving = ZERO if withdrawn else holdings.leaving(engine, bot_id, symbol)
            there = abs(position.amount) if (position.amount > 0) is (own > 0) else ZERO
            amount = down(min(max(abs(own) - leaving, ZERO), there), market.amount_step)
            if amount:
                yield symbol, position, amount

    def _opposed(self, bot_id: str, owned: Container[str]) -> Iterator[str]:
        """Tell contracts of a bot that no order closes, because the account's own position is on the other side or none."""
        engine = self._desk.engine
        for symbol in engine.shares.by_symbol(bot_id):
            market, own = engine.markets.get(symbol), abs(holdings.held(engine, bot_id, symbol))
            if market is None or not market.contract or symbol in owned:
                continue
            if own - holdings.leaving(engine, bot_id, symbol) >= market.amount_step:
                yield symbol

    async def close(self, bot_id: str, who: Who, *, flat: bool = False) -> list[Row]:
        """Close what a bot holds, and nothing else; `flat` passes a halt."""
        engine = self._desk.engine
        results: list[Row] = []
        waiting: dict[str, asyncio.Future[Order]] = {}
        for symbol, share in engine.shares.by_symbol(bot_id).items():
            if symbol not in engine.markets and share.amount:
                error = f"no market {symbol} any more"
                results.append({"symbol": symbol, "code": Code.NOT_FOUND, "error": error})
        found = list(self.owned(bot_id))
        for symbol in self._opposed(bot_id, {symbol for symbol, _, _ in found}):
            error = f"the account has no position in {symbol} on the side of the bot"
            results.append({"symbol": symbol, "code": Code.CONFLICT, "error": error})
        for symbol, position, amount in found:
            asked = replace(who, bot_id=bot_id)
            source = "flatten" if flat else "bot"
            placing = self._trading.closing(
                position, asked, source=source, fields={"symbol": symbol, "amount": amount}
            )
            try:
                given = self._trading.place_always(placing, lambda out: out.order, lambda o: o)
            except Refused as refused:
                results.append({"symbol": symbol, "code": refused.code, "error": refused.message})
            else:
                if isinstance(given, asyncio.Future):
                    waiting[symbol] = given
        if waiting:
            await asyncio.wait(waiting.values(), timeout=STOP_S)
        for symbol, future in waiting.items():
            if future.done() and future.exception() is None:
                order = future.result()
                results.append(
                    {"symbol": symbol, "order_id": order.id, "status": order.status.value}
                )
        return results
