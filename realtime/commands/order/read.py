"""Looking orders up: one, those of now, those of before."""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from realtime.commands import naming, pages
from realtime.commands.order.known import Known
from realtime.commands.order.params import Fields, GetParams, Given, HistoryParams, ListParams
from realtime.commands.registry import Answer, Call
from realtime.engine import rows
from realtime.model.errors import Refused
from realtime.model.orders import Order


PAGES: Final = 10
SCANNED: Final = 500
"""Orders looked at per page of the journal, when those of one end are wanted; so many pages per answer."""


class Lists(Known):
    """The handlers."""

    def get(self, call: Call[GetParams]) -> Given:
        """Give one order with its fills, or a page of them."""
        naming.check_named(call.params)
        try:
            order = naming.order_of(self._desk, call.params)
        except Refused:
            return self._stored(call.params)
        market = self._desk.engine.markets[order.symbol]
        mode = self._desk.engine.mode
        fills = [rows.fill_row(fill, market, mode) for fill in self._desk.engine.fills_of(order.id)]
        return Answer(result=_paged(self._row(order) | {"fills": fills}, *_asked(call.params)))

    async def _stored(self, params: GetParams) -> Answer:
        (row,) = await self._with_fills([await self._gone(params)])
        return Answer(result=_paged(row, *_asked(params)))

    def page(self, call: Call[ListParams]) -> Given:
        """List orders: working (and just ended) ones oldest first, or those of one end newest first."""
        params = call.params
        symbol = params.symbol
        if symbol is not None:
            symbol = naming.market_of(self._desk.engine.markets, symbol).symbol
        if params.status not in {"open", "pending", "unknown", "all"}:
            return self._ended(params.status, symbol, params)
        wanted = [
            order
            for order in self._trading.working(symbol=symbol, bot_id=params.bot_id)
            if params.status in {"open", "all"} or order.status.value == params.status
        ]
        if params.status == "all":
            wanted += self._recently_ended(symbol, params.bot_id)
        wanted.sort(key=_rank)
        if params.cursor is not None:
            last = pages.rank(params.cursor)
            wanted = [order for order in wanted if _rank(order) > last]
        page = wanted[: params.limit]
        cursor = "{}.{}".format(*_rank(page[-1])) if len(wanted) > len(page) else None
        return Answer(
            result={"orders": [self._row(order) for order in page], "next_cursor": cursor}
        )

    def _recently_ended(self, symbol: str | None, bot_id: str | None) -> list[Order]:
        return [
            order
            for order in self._desk.engine.orders.recent(self._desk.now())
            if order.status.ended
            and (symbol is None or order.symbol == symbol)
            and (bot_id is None or order.bot_id == bot_id)
        ]

    async def _ended(self, status: str, symbol: str | None, params: ListParams) -> Answer:
        """Give a page of orders with one end; of a rare one the page may be short and still go on."""
        kept: list[Fields] = []
        cursor = params.cursor
        for _ in range(PAGES):
            page = await self._desk.store.orders(symbol=symbol, limit=SCANNED, cursor=cursor)
            for entry in page.rows:
                row = orjson.loads(entry.body)
                if row["status"] == status and params.bot_id in {None, row["bot_id"]}:
                    kept.append(row)
                if len(kept) == params.limit:
                    last = entry is page.rows[-1] and page.next_cursor is None
                    at = None if last else f"{entry.ts}.{entry.key}"
                    return Answer(result={"orders": kept, "next_cursor": at})
            cursor = page.next_cursor
            if cursor is None:
                break
        return Answer(result={"orders": kept, "next_cursor": cursor})

    async def history(self, call: Call[HistoryParams]) -> Answer:
        """List ended orders with their fills, newest first."""
        params = call.params
        symbol = params.symbol
        if symbol is not None:
            symbol = naming.market_of(self._desk.engine.markets, symbol).symbol
        page = await self._desk.store.orders(
            symbol=symbol,
            since=naming.ns(params.since),
            until=naming.ns(params.until),
            limit=params.limit,
            cursor=params.cursor,
        )
        found = await self._with_fills([orjson.loads(entry.body) for entry in page.rows])
        orders = [_fitted(row) for row in found]
        cursor = page.next_cursor
        if (count := pages.fitting(orders)) < len(orders):
            orders, last = orders[:count], page.rows[count - 1]
            cursor = f"{last.ts}.{last.key}"
        return Answer(result={"orders": orders, "next_cursor": cursor})

    async def _with_fills(self, found: Sequence[Fields]) -> list[Fields]:
        """Add the fills of orders, oldest first: of those in memory from there, of all others in one question."""
        engine = self._desk.engine
        gone = [str(row["id"]) for row in found if engine.orders.get(str(row["id"])) is None]
        fills: dict[str, list[Fields]] = {}
        for entry in await self._desk.store.fills_of(gone) if gone else ():
            fill: Fields = orjson.loads(entry.body)
            # The real one has taken its place: an order that lacks it is not forgotten.
            if not fill["inferred"]:
                fills.setdefault(str(fill["order_id"]), []).append(fill)
        for row in found:
            order_id = str(row["id"])
            for booked in engine.fills_of(order_id):
                shown = rows.fill_row(booked, engine.markets[booked.symbol], engine.mode)
                fills.setdefault(order_id, []).append(dict(shown))
        return [row | {"fills": fills.get(str(row["id"]), [])} for row in found]


def _rank(order: Order) -> tuple[int, str]:
    """Place of an order in a list: it never moves, so what comes or goes between pages shifts nothing."""
    return order.created_ts, order.id


def _asked(params: GetParams) -> tuple[int, int]:
    """Read which fills are asked for: behind how many, and how many."""
    return pages.place(params.cursor), params.limit


def _paged(row: Fields, first: int, most: int) -> Fields:
    """Leave the fills that were asked for, as many as fit into one message; say where `order.get` goes on."""
    fills: Any = row["fills"]
    page = fills[first : first + most]
    last = first + pages.fitting(page)
    more = str(last) if last < len(fills) else None
    return row | {"fills": fills[first:last], "next_cursor": more}


def _fitted(row: Fields) -> Fields:
    """Leave the fills that fit into one message; only where some do not, say where `order.get` goes on."""
    fills: Any = row["fills"]
    count = pages.fitting(fills)
    return row if count == len(fills) else _paged(row, 0, count)
