"""Placing an order, and judging one without placing it; other ops that place do it here, too."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial

import orjson

from realtime.commands import naming
from realtime.commands.order.draft import placing_of
from realtime.commands.order.known import Known, kept, refused
from realtime.commands.order.params import Fields, Given, PlaceParams
from realtime.commands.registry import Answer, Call, Failed
from realtime.desk.answers import Outcome
from realtime.engine import rows
from realtime.engine.decide import Forgotten
from realtime.model.errors import Code, Refused
from realtime.model.events import Place, Rejected, Unknown, Withheld
from realtime.model.orders import Order, Status, venue_client_id


class Orders(Known):
    """The handlers of placements and previews."""

    def place(self, call: Call[PlaceParams]) -> Given:
        """Place an order; answered when the venue has answered."""
        markets = self._desk.engine.markets
        if call.params.dry_run:
            self._desk.check_room()
            placing = placing_of(call, self._trading, markets)
            shown = self.judged(placing)
            would = bool(shown["valid"]) and "duplicate" not in shown
            effect = self._effect(placing.order, shown) | {"orders": int(would)}
            return Answer(result=shown | {"dry_run": True, "effect": effect})
        return self.send(placing_of(call, self._trading, markets, self._desk.order_id))

    def send(self, placing: Place) -> Given:
        """Place a draft and make its answer."""
        before = self._desk.outlet.positions()
        try:
            return self._trading.place(placing, partial(self._placed, before), self._placed_before)
        except Forgotten:
            return self.placed_long_ago(placing.order.client_order_id)

    async def placed_long_ago(self, client_order_id: str) -> Answer:
        """Answer a repeated placement whose order only the journal knows any more.

        Raises:
            Failure: As the order had failed; `busy`, when the journal cannot tell.
        """
        found = await self._desk.store.order(client_order_id=client_order_id)
        if found is None:
            raise Refused(
                Code.BUSY,
                f"{client_order_id} was placed long ago, and its outcome cannot be read from the journal",
                {"client_order_id": client_order_id},
                retry_after=1.0,
            )
        answer = self._as_told(orjson.loads(found.body))
        return replace(answer, result={**answer.result, "duplicate": True})

    def _placed(self, before: Mapping[str, object], outcome: Outcome) -> Answer:
        order = outcome.order
        at = naming.changed(before, outcome.at)
        match outcome.fact:
            case Unknown(command=command) if order.status is Status.UNKNOWN:
                raise Failed(
                    Code.OUTCOME_UNKNOWN,
                    f"no answer from {order.venue}; the order may be live. "
                    "Do not resend under a new id.",
                    {"command": command, "client_order_id": order.client_order_id},
                    at=at,
                )
            case Rejected(code=code, reason=reason, retry_after=retry_after):
                raise refused(self._row(order), code, reason, retry_after, at=at, placing=True)
            case Withheld(code=Code() as code, reason=reason) if (
                order.status is not Status.CANCELED
            ):
                raise refused(self._row(order), code, reason, at=at, placing=True)
            case Unknown():
                # Evidence came before the time-out: what it shows is the answer.
                return replace(kept(outcome, self._as_it_is(order)), at=at)
            case _:
                engine = self._desk.engine
                result = rows.summary(order, engine.markets[order.symbol], engine.mode)
                if outcome.warnings:
                    result["warnings"] = list(outcome.warnings)
                return kept(outcome, Answer(result=result, at=at))

    def _placed_before(self, order: Order) -> Answer:
        """Answer a repeated placement by what the order has come to."""
        if order.status is Status.UNKNOWN:
            owed = self._desk.engine.orders.owed.get(order.id, [])
            details: Fields = {"client_order_id": order.client_order_id}
            if owed:
                details["command"] = owed[-1][0]
            raise Failed(Code.OUTCOME_UNKNOWN, "still unknown; being looked up", details)
        answer = self._as_it_is(order)
        return replace(answer, result={**answer.result, "duplicate": True})

    def _as_it_is(self, order: Order) -> Answer:
        return self._as_told(self._row(order))

    def _as_told(self, row: Fields) -> Answer:
        """Answer a placement by the row of its order."""
        failed = row["status"] in {Status.REJECTED, Status.EXPIRED}
        if failed and row["code"] is not None and not Decimal(str(row["filled"])):
            code = Code(str(row["code"]))
            raise refused(row, code, str(row["reason"] or code), placing=True)
        return Answer(result={name: row[name] for name in rows.SUMMARY})

    # -- preview -------------------------------------------------------------------------------

    def preview(self, call: Call[PlaceParams]) -> Answer:
        """Judge a placement by the gate's own code, without placing it."""
        placing = placing_of(call, self._trading, self._desk.engine.markets)
        return Answer(result=self.judged(placing))

    def judged(self, placing: Place) -> Fields:
        """Show what the gate says about a draft."""
        engine = self._desk.engine
        market = engine.markets[placing.order.symbol]
        shown = dict(rows.preview_row(engine.preview(placing), market))
        shown["basis"] = self._desk.outlet.positions()
        try:
            duplicate = engine.repeated(placing) is not None
        except Forgotten:
            duplicate = True
        except Refused as refused:
            rules = shown["failed"]
            assert isinstance(rules, list)
            told = {"valid": False, "code": refused.code, "message": refused.message}
            return shown | told | {"failed": [refused.code, *rules]}
        if duplicate:
            fine: Fields = {"valid": True, "code": None, "message": None, "failed": []}
            return shown | fine | {"duplicate": True}
        try:
            self._trading.guard(placing.order, placing.who)
        except Refused as refused:
            rule = (refused.details or {}).get("rule", refused.code)
            rules = shown["failed"]
            assert isinstance(rules, list)
            told = {"valid": False, "code": refused.code, "message": refused.message}
            return shown | told | {"failed": [rule, *rules]}
        return shown

    def effect(self, call: Call[PlaceParams]) -> Fields | None:
        """What a placement would change, for policies with a threshold; None for a resend."""
        if self.placed_already(call):
            return None
        placing = placing_of(call, self._trading, self._desk.engine.markets)
        return self._effect(placing.order, self.judged(placing))

    def judge(self, call: Call[PlaceParams]) -> None:
        """Refuse what `place` would refuse now, and do nothing.

        Raises:
            Refused: As the gate says.
        """
        if not self.placed_already(call):
            self._trading.judge(placing_of(call, self._trading, self._desk.engine.markets))

    def _effect(self, order: Order, shown: Fields) -> Fields:
        """Say what a placement would change, from its preview."""
        notional = self.valued(order.symbol, shown["cost"]) or shown["notional_after"]
        return {"symbol": order.symbol, "orders": 1, "notional": notional}

    def placed_already(self, call: Call[PlaceParams]) -> bool:
        """Tell whether this id was used: whatever comes of this call, nothing is placed."""
        return self.used(call.params.client_order_id)

    def used(self, client_order_id: str | None) -> bool:
        """Tell whether an order has this id, here or at the venue (I3)."""
        if client_order_id is None:
            return False
        orders = self._desk.engine.orders
        at_venue = venue_client_id(self._trading.venue, client_order_id)
        known = orders.by_client_id(client_order_id) or orders.by_venue_client_id(at_venue)
        return known is not None or self.forgot(client_order_id)
