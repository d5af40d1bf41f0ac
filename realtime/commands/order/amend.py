"""Changing an order that works."""

from collections.abc import Mapping
from decimal import Decimal
from functools import partial

from realtime.commands import naming
from realtime.commands.order.draft import trigger_of
from realtime.commands.order.known import Known, kept, refused
from realtime.commands.order.params import AmendParams, Fields, Given
from realtime.commands.registry import Answer, Call, Failed
from realtime.desk.answers import Outcome
from realtime.engine.market import figure, text
from realtime.model.errors import Code, Refused
from realtime.model.events import Amend, AmendDone, AmendFailed
from realtime.model.orders import Asked, Order, Trigger


class Amends(Known):
    """The handlers."""

    def amend(self, call: Call[AmendParams]) -> Given:
        """Change an order to absolute targets."""
        params = call.params
        order = self._find(params)
        if order is None:
            return self._amended_long_ago(params)
        wish = self._wish(call, order)
        if params.dry_run:
            changes = self._trading.judge_amend(wish)
            effect = {"orders": int(changes), "symbols": [order.symbol]}
            told = {"changed": changes, "method": "native", "dry_run": True, "effect": effect}
            return Answer(result=self._row(order) | told)
        before = self._desk.outlet.positions()

        def same() -> Answer:
            row = self._row(self._known(order.id))
            return Answer(result=row | {"changed": False, "method": "native"})

        return self._trading.amend(wish, partial(self._amended, before), same)

    def _wish(self, call: Call[AmendParams], order: Order) -> Amend:
        params = call.params
        return Amend(
            order_id=order.id,
            amount=params.amount,
            price=params.price,
            stop_price=params.stop_price,
            stop_loss=trigger_of(params.stop_loss),
            take_profit=trigger_of(params.take_profit),
            expires_at=naming.ns(params.expires_at),
            who=naming.who_of(call),
            ts=self._desk.now(),
        )

    def judge(self, call: Call[AmendParams]) -> None:
        """Refuse what `amend` would refuse now, and do nothing; one that has to wait for its turn passes.

        Raises:
            Refused: As the gate says.
        """
        order = self._find(call.params)
        if order is not None and not self._trading.waits(order.id):
            self._trading.judge_amend(self._wish(call, order))

    def amended_already(self, call: Call[AmendParams]) -> bool:
        """Tell whether an order has all these targets, or is about to get them.

        One that only the journal may know has ended, so that this call changes nothing.
        """
        order = self._find(call.params)
        return order is None or not self._targets(call.params, order)

    def _targets(self, params: AmendParams, order: Order) -> set[str]:
        """Name the targets that differ from the order and from an amend of it under way."""
        under_way = {
            "amount": order.amend_amount,
            "price": order.amend_price,
            "stop_price": order.amend_stop_price,
        }
        return {
            name
            for name, target in targets_of(params).items()
            if target not in {getattr(order, name), under_way.get(name)}
        }

    async def _amended_long_ago(self, params: AmendParams) -> Answer:
        """Answer for an order that only the journal may know: it has what it has."""
        row = await self._gone(params)
        if any(target != target_in(row, name) for name, target in targets_of(params).items()):
            raise Refused(
                Code.CONFLICT,
                f"order {row['client_order_id']} is {row['status']}; "
                "only an open order can be amended",
                {"status": row["status"]},
            )
        told: Fields = {"changed": False, "method": "native"}
        if params.dry_run:
            told |= {"dry_run": True, "effect": {"orders": 0, "symbols": [row["symbol"]]}}
        return Answer(result=row | told)

    def amend_effect(self, call: Call[AmendParams]) -> Fields | None:
        """What an amend would place, judged as the replacement it is (R5).

        None where nothing is placed: for a resend, for attached stops alone, and for less of the same,
        which is as good as a cancel.
        """
        params = call.params
        order = self._find(params)
        if order is None:
            return None  # it has ended long ago, or never was
        replaced = self._targets(params, order) & {"amount", "price", "stop_price"}
        amount = params.amount or order.amount
        if not replaced or (replaced == {"amount"} and amount < order.amount):
            return None
        market = self._desk.engine.markets[order.symbol]
        price = params.price or order.price or params.stop_price or order.stop_price
        if price is None:
            mark = self._desk.engine.mark(order.symbol)
            price = None if mark is None else mark[0]
        cost = None if price is None else amount * market.contract_size * price
        return {
            "symbol": order.symbol,
            "orders": 1,
            "order_id": order.id,
            "amount": text(amount, market.amount_step),
            "price": figure(params.price or order.price),
            "stop_price": figure(params.stop_price or order.stop_price),
            "notional": self.valued(order.symbol, cost),
        }

    def _amended(self, before: Mapping[str, object], outcome: Outcome) -> Answer:
        order, at = outcome.order, naming.changed(before, outcome.at)
        match outcome.fact:
            case AmendFailed(unknown=True, command=command) if (
                order.status.ended or order.amend_state is not Asked.NONE
            ):
                raise Failed(
                    Code.OUTCOME_UNKNOWN,
                    f"no answer from {order.venue} to the amend; both versions count",
                    {"command": command, "client_order_id": order.client_order_id},
                    at=at,
                )
            case AmendFailed(unknown=False, code=code, reason=reason, retry_after=retry_after):
                code = code or Code.VENUE_REJECTED
                raise refused(self._row(order), code, reason, retry_after, at=at)
            case AmendDone(method=method):
                pass
            case _:
                method = "native"
        told = {"changed": True, "method": method}
        return kept(outcome, Answer(result=self._row(order) | told, at=at))


def targets_of(params: AmendParams) -> Fields:
    """Name what an amend asks for."""
    wanted: Fields = {
        "amount": params.amount,
        "price": params.price,
        "stop_price": params.stop_price,
        "stop_loss": trigger_of(params.stop_loss),
        "take_profit": trigger_of(params.take_profit),
    }
    return {name: target for name, target in wanted.items() if target is not None}


def target_in(row: Mapping[str, object], name: str) -> object:
    """Read from a row what an amend of `name` would have to ask for to change nothing."""
    match row[name]:
        case {"price": price, "limit": limit}:
            return Trigger(price=Decimal(str(price)), limit=Decimal(str(limit)))
        case str() as text if name in {"stop_loss", "take_profit"}:
            return Trigger(price=Decimal(text))
        case str() as text:
            return Decimal(text)
        case _:
            return None
