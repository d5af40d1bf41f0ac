"""Many orders in one command, each answered by itself."""

from collections.abc import Coroutine, Mapping
from decimal import Decimal
from typing import Final, TypeVar

from realtime.commands import naming
from realtime.commands.order.amend import Amends
from realtime.commands.order.cancel import Cancels
from realtime.commands.order.params import (
    BATCH,
    AmendItem,
    AmendParams,
    BatchParams,
    CancelItem,
    Fields,
    Given,
    Item,
    NameParams,
    PlaceItem,
    PlaceParams,
)
from realtime.commands.order.place import Orders
from realtime.commands.registry import Answer, Call, check_mode, check_time, error_of
from realtime.desk.desk import Desk
from realtime.engine.market import plain
from realtime.model.errors import Failure, Refused
from realtime.model.market import MS


P = TypeVar("P", PlaceParams, AmendParams, NameParams)
ITEM_OPS: Final[Mapping[type, str]] = {
    PlaceItem: "order.place",
    AmendItem: "order.amend",
    CancelItem: "order.cancel",
}


class Batches:
    """The handlers; each item goes to the handler of its own op."""

    def __init__(self, desk: Desk, orders: Orders, amends: Amends, cancels: Cancels) -> None:
        self._desk = desk
        self._orders = orders
        self._amends = amends
        self._cancels = cancels

    def batch(self, call: Call[BatchParams]) -> Given:
        """Do up to twenty items in order; each gets its own answer."""
        before = self._desk.outlet.positions()
        answers: list[tuple[Item, Given | Failure]] = []
        for item in call.params.items:
            try:
                given = self._item(call, item)
            except Failure as failure:
                answers.append((item, failure))
            else:
                answers.append((item, given))
        return self._batched(call, answers, before)

    def _item(self, call: Call[BatchParams], item: Item) -> Given:
        item = self._admitted(call, item)
        match item:
            case PlaceItem():
                return self._orders.place(_with(call, item))
            case AmendItem():
                return self._amends.amend(_with(call, item))
            case CancelItem():
                return self._cancels.cancel(_with(call, item))

    def _admitted(self, call: Call[BatchParams], item: Item) -> Item:
        """Let an item inherit what is said of the batch, and look at it as if it had come alone.

        Raises:
            Refused: `mode_mismatch`, `expired`.
        """
        item = self._as_said(call.params, item)
        check_mode(item, self._desk.engine.mode)
        check_time(item, self._desk.now() // MS, lambda: self._done(call, item))
        return item

    def _as_said(self, params: BatchParams, item: Item) -> Item:
        """Let an item inherit what is said of the whole batch."""
        times = [t for t in (params.expires_at, item.expires_at) if t is not None]
        said = {"dry_run": params.dry_run or item.dry_run, "expires_at": min(times, default=None)}
        return item.model_copy(update=said)

    def _done(self, call: Call[BatchParams], item: Item) -> bool:
        match item:
            case PlaceItem():
                return self._orders.placed_already(_with(call, item))
            case AmendItem():
                return self._amends.amended_already(_with(call, item))
            case CancelItem():
                return self._cancels.canceled_already(_with(call, item))

    def batch_begun(self, call: Call[BatchParams]) -> bool:
        """Tell whether items were carried out already; the others are judged by themselves."""
        for item in call.params.items:
            try:
                if self._done(call, item):
                    return True
            except Refused:  # names no order: its own answer will say so
                continue
        return False

    def batch_effect(self, call: Call[BatchParams]) -> Fields | None:
        """What the items of a batch would place, together; None when they place nothing."""
        effects: list[Fields] = []
        fresh: set[str | None] = set()
        for item in call.params.items:
            try:
                effect = self._item_effect(call, item)
            except Refused:
                # It will be refused alike; but not the amend of an order that this batch places first.
                known = isinstance(item, AmendItem) and item.client_order_id in fresh
                effect = {"symbol": "", "notional": None} if known else None
            if effect is not None:
                effects.append(effect)
                fresh.add(item.client_order_id)
        if not effects:
            return None
        notionals = [effect["notional"] for effect in effects]
        known_all = all(notional is not None for notional in notionals)
        # What an amend leaves out is the order's own: said here, so that another amend voids what was confirmed.
        amends = [
            f"{effect['order_id']}: {effect['amount']} at "
            + " from ".join(
                str(p) for p in (effect["price"], effect["stop_price"]) if p is not None
            )
            for effect in effects
            if "order_id" in effect
        ]
        return {
            "symbols": sorted({str(effect["symbol"]) for effect in effects} - {""}),
            "orders": len(effects),
            **({"amends": amends} if amends else {}),
            "notional": plain(sum((Decimal(str(n)) for n in notionals), Decimal(0)))
            if known_all
            else None,
        }

    def judge(self, call: Call[BatchParams]) -> None:
        """Refuse a batch every item of which would be refused now, and do nothing.

        Where one passes all of them are asked about: what it does may let those behind it pass, too.

        Raises:
            Refused: As the first item; `details.items` has what would be answered of each.
        """
        refusals: list[Refused] = []
        items: list[Fields] = []
        for item in call.params.items:
            try:
                self._judge(call, item)
            except Refused as refused:
                refusals.append(refused)
                items.append(_failed(item, refused))
            else:
                return
        first = refusals[0]
        raise Refused(
            first.code,
            first.message,
            {**(first.details or {}), "items": items},
            retry_after=first.retry_after,
        )

    def _judge(self, call: Call[BatchParams], item: Item) -> None:
        item = self._admitted(call, item)
        if item.dry_run:
            return  # it says what would be refused
        match item:
            case PlaceItem():
                self._orders.judge(_with(call, item))
            case AmendItem():
                self._amends.judge(_with(call, item))
            case CancelItem():
                return

    def _item_effect(self, call: Call[BatchParams], item: Item) -> Fields | None:
        if item.dry_run:
            return None
        match item:
            case PlaceItem():
                return self._orders.effect(_with(call, item))
            case AmendItem():
                return self._amends.amend_effect(_with(call, item))
            case CancelItem():
                return None

    async def _batched(
        self,
        call: Call[BatchParams],
        answers: "list[tuple[Item, Given | Failure]]",
        before: Mapping[str, object],
    ) -> Answer:
        items: list[Fields] = []
        try:
            for at, (item, given) in enumerate(answers):
                try:
                    answer = await answer_of(given)
                except Failure as failure:
                    items.append(_failed(item, failure))
                    self._note_refused(call, at, failure)
                else:
                    items.append({"ok": True, **answer.result})
        finally:
            for _, given in answers:
                if isinstance(given, Coroutine):
                    given.close()  # a question that nobody waits for any more
        changed = naming.changed(before, self._desk.outlet.positions())
        return Answer(result={"items": items}, at=changed or None)

    def _note_refused(self, call: Call[BatchParams], at: int, failure: Failure) -> None:
        """Write down a refused item as if it had come alone; the whole batch is answered, so nobody else does."""
        item, said = call.params.items[at], call.raw["items"]
        if isinstance(failure, Refused) and not (call.params.dry_run or item.dry_run):
            assert isinstance(said, list)  # it was read
            self._desk.refused(ITEM_OPS[type(item)], naming.who_of(call), failure, said[at])


def _failed(item: Item, failure: Failure) -> Fields:
    """Make the answer of an item that was not done."""
    failed: Fields = {"ok": False}
    if item.client_order_id is not None:
        failed["client_order_id"] = item.client_order_id
    return failed | {"error": error_of(failure)}


async def answer_of(given: Given | Failure) -> Answer:
    """Wait for an answer, where it is not there yet.

    Raises:
        Failure: There is none.
    """
    if isinstance(given, Failure):
        raise given
    return given if isinstance(given, Answer) else await given


def _with(call: Call[BatchParams], params: P) -> Call[P]:
    """Make the call of one item."""
    return Call(
        params=params,
        principal=call.principal,
        client=call.client,
        source=call.source,
        session=call.session,
        received=call.received,
        peer=call.peer,
    )


def count_items(raw: Mapping[str, object]) -> int:
    """Count the items of a batch as sent; more than it may have are refused and cost no more."""
    items = raw.get("items")
    return min(len(items), BATCH) if isinstance(items, list) else 1
