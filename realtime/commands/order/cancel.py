"""Canceling one order, or many."""

from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Final

from realtime.commands import naming
from realtime.commands.order.known import Known, kept, refused
from realtime.commands.order.params import CancelAllParams, Fields, Given, NameParams
from realtime.commands.registry import Answer, Call, Failed
from realtime.desk.answers import Outcome
from realtime.desk.trading import Canceled
from realtime.model.errors import Code, Refused
from realtime.model.events import CancelFailed
from realtime.model.orders import Asked, Status


OF_ARGUMENTS: Final = frozenset({Code.INVALID, Code.NOT_FOUND})
"""Words of a venue about its own call: read as ours, they would be about the client's arguments, which were right."""


class Cancels(Known):
    """The handlers."""

    def cancel(self, call: Call[NameParams]) -> Given:
        """Cancel an order; one that has ended answers with its final state."""
        order = self._find(call.params)
        if order is None:
            return self._canceled_long_ago(call.params)
        if call.params.dry_run:
            effect = {"orders": 0 if order.status.ended else 1}
            return Answer(result=self._row(order) | {"dry_run": True, "effect": effect})
        before = self._desk.outlet.positions()
        waiting = self._trading.cancel(order, naming.who_of(call), partial(self._canceled, before))
        if waiting is None:
            return Answer(result=self._row(order) | {"changed": False})
        return waiting

    def canceled_already(self, call: Call[NameParams]) -> bool:
        """Tell whether an order has ended, or is being canceled."""
        order = self._find(call.params)
        return order is None or order.status.ended or order.cancel_state is not Asked.NONE

    async def _canceled_long_ago(self, params: NameParams) -> Answer:
        """Answer for an order that only the journal may know: with its final state."""
        row = await self._gone(params)
        told: Fields = {"changed": False}
        if params.dry_run:
            told = {"dry_run": True, "effect": {"orders": 0}}
        return Answer(result=row | told)

    def _canceled(self, before: Mapping[str, object], outcome: Outcome) -> Answer:
        order, at = outcome.order, naming.changed(before, outcome.at)
        match outcome.fact:
            case CancelFailed(unknown=True, command=command):
                raise Failed(
                    Code.OUTCOME_UNKNOWN,
                    f"no answer from {order.venue} to the cancel; being looked up",
                    {"client_order_id": order.client_order_id, "command": command},
                    at=at,
                )
            case CancelFailed(code=code, reason=reason, retry_after=retry_after):
                if code is None or code in OF_ARGUMENTS:
                    code = Code.VENUE_REJECTED
                raise refused(self._row(order), code, reason, retry_after, at=at)
            case _:
                changed = order.status is Status.CANCELED
                answer = Answer(result=self._row(order) | {"changed": changed}, at=at)
                return kept(outcome, answer)

    def cancel_all(self, call: Call[CancelAllParams]) -> Given:
        """Cancel all orders that match."""
        params = call.params
        symbol = params.symbol
        if symbol is not None:
            symbol = naming.market_of(self._desk.engine.markets, symbol).symbol
        if params.venue is not None and params.venue != self._trading.venue:
            raise Refused(Code.NOT_FOUND, f"no venue {params.venue}", {"what": "venue"})
        doomed = self._trading.working(symbol=symbol, bot_id=params.bot_id, side=params.side)
        if params.dry_run:
            names = [order.client_order_id for order in doomed]
            return Answer(
                result={"dry_run": True, "effect": {"orders": len(names), "canceled": names}}
            )
        before = self._desk.outlet.positions()
        return self._all_canceled(self._trading.cancel_many(doomed, naming.who_of(call)), before)

    async def _all_canceled(
        self, waiting: Awaitable[Canceled], before: Mapping[str, object]
    ) -> Answer:
        done = await waiting
        at = naming.changed(before, self._desk.outlet.positions())
        return Answer(result=canceled_row(done), at=at)


def canceled_row(done: Canceled) -> Fields:
    """Make the answer of many cancels."""
    row: Fields = {"canceled": done.canceled, "failed": done.failed}
    if done.unknown:
        row["unknown"] = done.unknown
    if done.ended:
        row["ended"] = done.ended
    return row
