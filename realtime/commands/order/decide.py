"""An operator's decisions about orders."""

from realtime.commands import naming
from realtime.commands.order.known import Known
from realtime.commands.order.params import AdoptParams, Fields, GetParams, ResolveParams
from realtime.commands.registry import Answer, Call
from realtime.model.errors import Code, Refused
from realtime.model.events import Adopt, Resolve
from realtime.model.orders import Status


class Decisions(Known):
    """The handlers."""

    async def resolve(self, call: Call[ResolveParams]) -> Answer:
        """Decide an order whose outcome nobody knows; later evidence overrules it."""
        params = call.params
        return await self._decide(
            Resolve(
                order_id=await self._decidable(params.order_id),
                status=Status(params.status),
                filled=params.filled,
                reason=params.reason,
                who=naming.who_of(call),
                ts=self._desk.now(),
            )
        )

    async def adopt(self, call: Call[AdoptParams]) -> Answer:
        """Give an external order an owner."""
        params = call.params
        return await self._decide(
            Adopt(
                order_id=await self._decidable(params.order_id),
                bot_id=params.bot_id,
                who=naming.who_of(call),
                ts=self._desk.now(),
            )
        )

    def resolve_effect(self, call: Call[ResolveParams]) -> Fields | None:
        """What a resolution would change."""
        order = self._desk.engine.orders.get(call.params.order_id)
        if order is None or order.status is not Status.UNKNOWN:
            return None
        return {"orders": 1, "symbols": [order.symbol], "status": call.params.status}

    async def _decidable(self, order_id: str) -> str:
        """Demand that an operator can still say something about an order.

        Raises:
            Refused: `not_found`; `conflict`, when it ended long ago.
        """
        if self._desk.engine.orders.get(order_id) is None:
            row = await self._gone(GetParams(order_id=order_id))
            raise Refused(
                Code.CONFLICT,
                f"order {row['client_order_id']} is {row['status']} and ended long ago",
                {"status": row["status"]},
            )
        return order_id

    async def _decide(self, wish: Resolve | Adopt) -> Answer:
        before = self._desk.outlet.positions()
        effects = self._desk.post(wish)
        await self._desk.settled()
        at = naming.changed(before, self._desk.outlet.positions())
        result = self._row(self._known(wish.order_id)) | {"changed": bool(effects)}
        return Answer(result=result, at=at or None)
