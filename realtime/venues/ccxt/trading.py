"""Calls of one account at one exchange: orders out, what the exchange knows in.

Rules of this file:
1 A placement, an amend or a cancel is one request, never repeated; what came of it is judged in `errors.py` alone.
2 An answer counts by its shape: a body that is no JSON, or lacks what the question asks for, is no information (S1-S4).
3 A look-up that has never found a known order proves no absence (A2): each of its parts is proven by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any, Final

import orjson

from realtime.engine.orders import STRANGE
from realtime.model.account import Balance
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.events import Ack, BalanceSeen, Filled, OrderSeen, PositionSeen, Transferred
from realtime.model.market import MS, SECOND, Market
from realtime.model.orders import Approved, ApprovedAmend, Order, OrderType
from realtime.venues.base import Leave, Now
from realtime.venues.ccxt import private
from realtime.venues.ccxt.errors import LONGEST, Exists, classify
from realtime.venues.ccxt.exchange import Sent, faults, sending
from realtime.venues.ccxt.kin import kin
from realtime.venues.ccxt.private import Asked, ClientIds, Rows, Words, unsupported
from realtime.venues.ccxt.way import LANE, Lane, Tell


SHAPES: Final[Mapping[str, tuple[str, ...]]] = {
    "bybit": ("retCode", "result"),
    "okx": ("code", "data"),
    "kraken": ("error",),
}
"""Fields that every answer of a venue has."""

REPLACING: Final = frozenset({"binance", "binanceus"})
"""Venues whose amend is another order in the place of the old one."""

KEEPING: Final = frozenset({"kraken"})
"""Venues whose answer to an amend names the amend, not the order, which keeps its id."""

CANCEL_BY: Final[Mapping[str, str]] = {
    "bybit": "orderLinkId",
    "binance": "origClientOrderId",
    "binanceus": "origClientOrderId",
    "binanceusdm": "origClientOrderId",
    "binancecoinm": "origClientOrderId",
    "okx": "clOrdId",
    "kraken": "clientOrderId",
}
"""Name of the client id in a cancel; a venue that is not here is asked for the order first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """How a venue is asked for one order by our client id.

    Attributes:
        one: Name of the client id where one question covers working and ended orders; None: two lists.
        listed: Name of the client id as a filter of the lists; None: the lists are read and compared.
    """

    one: str | None = None
    listed: str | None = None


LOOK_UPS: Final[Mapping[str, LookUp]] = {
    "binance": LookUp(one="origClientOrderId"),
    "binanceus": LookUp(one="origClientOrderId"),
    "binanceusdm": LookUp(one="origClientOrderId"),
    "binancecoinm": LookUp(one="origClientOrderId"),
    "okx": LookUp(one="clOrdId"),
    "bybit": LookUp(listed="orderLinkId"),
    # `fetch_order` sends the id as `userref` there, which is another field: its "no" is true of every order (A2).
    "kraken": LookUp(listed="clientOrderId"),
}
"""By ccxt id; other venues have their lists read."""

BY_SYMBOL: Final = frozenset({"binance", "binanceus", "binanceusdm", "binancecoinm"})
"""Venues that tell own trades of one symbol at a time."""
PAGED: Final = frozenset({"bybit", "okx"})
"""Venues whose list of working orders has pages that ccxt turns."""
BY_COIN: Final = frozenset({"bybit"})
"""Venues whose lists of contracts' orders and positions are those of one settlement coin."""
WEEK: Final = 7 * 86_400 * SECOND
SPANS: Final[Mapping[str, int]] = {"bybit": WEEK - 60 * SECOND}
"""The longest stretch that own trades can be asked for at once [ns]."""
NO_TIMER: Final = frozenset({"bybit"})
"""Venues whose switch is no timer: it waits for the end of a socket, and cannot be switched off by ccxt's call."""
LEAST: Final = 10
"""An answer of fewer rows is the last page: the smallest page of any venue unless told otherwise (XT's is 10)."""
LENGTHS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("binance", "binanceus", "binanceusdm", "binancecoinm", "bybit", "okx"), 50),
    **dict.fromkeys(("kraken", "kucoin", "gate", "bitget", "htx"), 50),
    "bitfinex": 1_000,
}
"""The same where pages are known to be that long at least, by ccxt id; the tables of ccxt's comments and tests."""
TOLD: Final = frozenset({"bitfinex"})
"""Venues that give short pages (25 rows) unless they are told this length."""
PAGES: Final = 40
FRESH: Final = 3600 * SECOND
"""Without a fill of before, trades are read back so far [ns]."""
TIMEOUT_MS: Final = 9_000
"""Of a request; the way out waits a second longer [ms]."""

Again = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Reads something, once or more often."""


async def once(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Read something once."""
    return await ask()


def lane_of(order: Order) -> Lane:
    """Name the lane of a placement: protective legs before exits before entries."""
    if order.protective:
        return Lane.PROTECT
    return Lane.EXIT if order.exit else Lane.ENTRY


def _trigger(order: Order) -> Decimal | None:
    """Give the trigger that is sent; a trailing stop's own is the venue's to keep."""
    return None if order.type is OrderType.TRAILING_STOP else order.stop_price


class Proof:
    """Which parts of the look-up by client id have found a known order (A2).

    It holds for one account with one key, as long as that is accepted: another one may see less.
    """

    def __init__(self, parts: Iterable[str]) -> None:
        self._parts = frozenset(parts)
        self._open = set(self._parts)

    @property
    def complete(self) -> bool:
        """Whether a "no" means that there is no such order."""
        return not self._open

    def wants(self, part: str) -> bool:
        """Whether a part is not proven yet."""
        return part in self._open

    def found(self, part: str) -> None:
        """Note that a part has found an order that was known."""
        self._open.discard(part)

    def forget(self) -> None:
        """Take all parts for not proven, because what the key may has changed."""
        self._open |= self._parts


class Trading:
    """One account's calls.

    Args:
        venue: Name in rows.
        exchange: ccxt instance with the keys; the only one that has them (V1).
        markets: By symbol.
        types: Kinds of market traded: `spot`, `swap`, `future`.
        now: The time [ns].
        tell: Takes alerts.
        redact: Takes secrets out of a text.
        check_clock: Raises where nothing may be signed.
        again: Reads, and reads again where a number was refused (`calls.Calls.read`).
        leave: Asked right before a placement or an amend leaves.
    """

    def __init__(
        self,
        *,
        venue: str,
        exchange: Any,
        markets: Mapping[str, Market],
        types: Sequence[str],
        now: Now,
        tell: Tell,
        redact: Callable[[str], str] = str,
        check_clock: Callable[[], None] = lambda: None,
        again: Again | None = None,
        leave: Leave = lambda _approved: None,
    ) -> None:
        self.exchange = exchange
        self._kin = kin(exchange.id)
        self.ids = ClientIds.of(self._kin)
        self.rows = Rows(venue=venue, exchange=self._kin, markets=markets, ids=self.ids)
        self._markets = markets
        self._types = tuple(types)
        self._now = now
        self._tell = tell
        self._redact = redact
        self._check_clock = check_clock
        self._again = again or once
        self._leave = leave
        self._words = private.WORDS.get(self._kin, Words())
        self._look_up = LOOK_UPS.get(self._kin, LookUp())
        self._page = LENGTHS.get(self._kin, LEAST)
        self._length = self._page if self._kin in TOLD else None
        self.proof = Proof(("one",) if self._look_up.one is not None else ("working", "ended"))
        # Where this account has been: symbols with orders, currencies and positions once told.
        self.symbols: set[str] = set()
        self._currencies: set[str] = set()
        self._positions: set[str] = set()
        self._leverage: dict[str, Decimal] = {}
        self.asked_at = 0
        """When the last answer that counts was asked for [ns]."""
        exchange.timeout = TIMEOUT_MS
        exchange.options["defaultType"] = self._types[0]
        exchange.options["warnOnFetchOpenOrdersWithoutSymbol"] = False

    # -- orders ------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> Ack:
        """Place an order, at most once.

        Raises:
            Refused: Nothing was sent: clock, words the venue does not have, a number it would change.
            VenueRejected: The venue said no.
            VenueUnknown: Nobody knows.
        """
        order = approved.order
        self._check_clock()
        market = self._markets.get(order.symbol)
        if market is None:
            raise Refused(Code.NOT_FOUND, f"{self.exchange.id} has no {order.symbol} here")
        asked = private.asked(order, market, self.exchange, self.ids)
        self._exact(order, asked.amount, asked.price, _trigger(order))
        self.symbols.add(order.symbol)
        lane = lane_of(order)
        await self._set_leverage(order, market, lane)
        row = await self._act(lane, lambda: self._create(asked), lambda: self._leave(approved))
        if row is None:
            return await self._existing(order)
        return self._ack(row, order)

    async def _create(self, asked: Asked) -> Any:
        if asked.cost is not None:
            return await self.exchange.create_market_buy_order_with_cost(
                asked.symbol, float(asked.cost), asked.params
            )
        assert asked.amount is not None
        return await self.exchange.create_order(
            asked.symbol,
            asked.type,
            asked.side,
            float(asked.amount),
            None if asked.price is None else float(asked.price),
            asked.params,
        )

    async def _existing(self, order: Order) -> Ack:
        """The venue says that it has an order with this client id: it is looked up, never refused."""
        try:
            found = await self.find(order)
        except (Refused, VenueRejected) as error:
            # The question was refused, not the order: that is there.
            raise VenueUnknown(
                f"{self.exchange.id} has {order.id} and was not asked for it: {error.message}",
                error.details,
            ) from error
        if found is None:
            raise VenueUnknown(f"{self.exchange.id} has {order.id} and does not show it")
        return Ack(
            exchange_order_id=found.exchange_order_id,
            status=found.status,
            filled=found.filled,
            cost=found.cost,
            ts=self._now(),
        )

    def _exact(self, order: Order, *numbers: Decimal | None) -> None:
        """Refuse an order whose numbers ccxt would change on their way out."""
        amount, *prices = numbers
        exchange, symbol = self.exchange, order.symbol
        sent: list[tuple[str, Decimal, str]] = []
        try:
            if amount is not None:
                sent.append(("amount", amount, exchange.amount_to_precision(symbol, float(amount))))
            sent += [
                ("price", price, exchange.price_to_precision(symbol, float(price)))
                for price in prices
                if price is not None
            ]
        except faults(AssertionError) as error:  # no such market there, no grid, less than one step
            text = f"{order.client_order_id} cannot be written as {exchange.id} wants it: {error}"
            raise Refused(Code.INVALID, text[:LONGEST], {"symbol": symbol}) from error
        for name, ours, theirs in sent:
            if Decimal(theirs) != ours:
                text = (
                    f"{name} {ours} of {order.client_order_id} would go out as {theirs}; not sent"
                )
                data = {"order_id": order.id, "symbol": symbol, name: str(ours), "sent": theirs}
                self._tell("critical", "precision_changed", text, data)
                raise Refused(Code.INVALID, text, data)

    async def _set_leverage(self, order: Order, market: Market, lane: Lane) -> None:
        """Set what an order asks for where it is not set; a venue keeps it by symbol."""
        wanted = order.leverage
        if wanted is None or not market.contract or self._leverage.get(order.symbol) == wanted:
            return
        if not self.exchange.has.get("setLeverage"):
            raise unsupported(self.exchange, "leverage")
        if order.exit:
            return  # it opens nothing
        try:
            await self._call(lane, lambda: self.exchange.set_leverage(float(wanted), order.symbol))
        except VenueRejected as rejected:
            told = dict(rejected.details or {})
            if told.get("class") != "NoChange" and "not modified" not in rejected.message:
                raise  # and "not modified" is what was wished for
        except VenueUnknown as unknown:
            raise VenueRejected(
                Code.VENUE_UNAVAILABLE,
                f"the leverage could not be set, the order was not sent: {unknown.message}",
                unknown.details,
            ) from unknown
        self._leverage[order.symbol] = wanted

    async def amend(self, approved: ApprovedAmend) -> Ack:
        """Change an order to absolute targets.

        Raises:
            Refused: The venue has no amend, or replaces an order that has filled in part.
        """
        order, exchange = approved.order, self.exchange
        self._check_clock()
        if exchange.has.get("editOrder") is not True:
            raise unsupported(exchange, "amends; cancel the order and place another")
        replaces = self._kin in REPLACING
        if replaces and order.filled:
            raise Refused(
                Code.NOT_SUPPORTED,
                f"{exchange.id} replaces orders to change them, and {order.client_order_id} has filled "
                "in part; cancel it and place another",
            )
        if order.exchange_order_id is None:
            raise Refused(Code.CONFLICT, f"the venue's id of {order.client_order_id} is not known")
        target = replace(
            order,
            amount=approved.amount or order.amount,
            price=approved.price or order.price,
            stop_price=approved.stop_price or order.stop_price,
        )
        asked = private.asked(target, self._markets[order.symbol], exchange, self.ids)
        self._exact(target, asked.amount, asked.price, _trigger(target))
        params = dict(asked.params)
        if not replaces:
            params.pop(self._words.client_id, None)
            params.pop("timeInForce", None)
            params.pop("triggerDirection", None)
        self.rows.amending(order.exchange_order_id)
        row = await self._act(
            lane_of(order),
            lambda: exchange.edit_order(
                order.exchange_order_id,
                order.symbol,
                asked.type,
                asked.side,
                float(target.amount),
                None if asked.price is None else float(asked.price),
                params,
            ),
            lambda: self._leave(approved),
        )
        if row is None:
            raise VenueUnknown(f"{exchange.id} says that {order.client_order_id} exists already")
        ack = self._ack(row, order)
        if self._kin in KEEPING:
            ack = replace(ack, exchange_order_id=order.exchange_order_id)
        return replace(ack, method="cancel_replace" if replaces else "native")

    async def cancel(self, order: Order) -> Ack:
        """Cancel an order, by the venue's id or by ours.

        Raises:
            VenueRejected: `not_found`, when it has ended or never was.
        """
        params, order_id = dict[str, Any](), order.exchange_order_id
        if order_id is None:
            name = CANCEL_BY.get(self._kin)
            if name is not None:
                params[name] = self.ids.theirs(order.venue_client_id)
            else:
                seen = await self.find(order, lane=Lane.CANCEL)
                if seen is None:
                    raise VenueRejected(Code.NOT_FOUND, f"no order {order.client_order_id}")
                order_id = seen.exchange_order_id
        apart = self._apart(order)
        try:
            row = await self._cancel(order, order_id, params | ({"trigger": True} if apart else {}))
        except VenueRejected as rejected:
            if not apart or rejected.code is not Code.NOT_FOUND:
                raise
            row = await self._cancel(order, order_id, params)  # once triggered it is like any other
        if isinstance(row, list):
            row = row[0] if row else {}
        known = row.get("id") if isinstance(row, Mapping) else None
        status = private.status_of(row) if isinstance(row, Mapping) else None
        return Ack(
            exchange_order_id=str(known or order_id or ""),
            status=status if status is not None and status.ended else None,
            ts=self._now(),
        )

    async def _cancel(self, order: Order, order_id: str | None, params: dict[str, Any]) -> Any:
        return await self._act(
            Lane.CANCEL, lambda: self.exchange.cancel_order(order_id, order.symbol, params)
        )

    def _apart(self, order: Order) -> bool:
        return self._words.triggered_apart and order.type in {
            OrderType.STOP,
            OrderType.STOP_LIMIT,
            OrderType.TAKE_PROFIT,
            OrderType.TAKE_PROFIT_LIMIT,
            OrderType.TRAILING_STOP,
        }

    def _ack(self, row: Any, order: Order) -> Ack:
        """Take an answer; one without an id of the venue proves nothing (S3)."""
        order_id = row.get("id") if isinstance(row, Mapping) else None
        if not order_id:
            raise VenueUnknown(f"{self.exchange.id} answered {order.id} without an id of its own")
        info = row.get("info")
        return Ack(
            exchange_order_id=str(order_id),
            status=private.status_of(row),
            filled=private.number(row.get("filled"), info),
            cost=private.number(row.get("cost"), info),
            ts=self._now(),
        )

    async def dead_mans_switch(self, seconds: float | None) -> bool:
        """Arm the venue's own dead man's switch, renew it, or (None) switch it off.

        It cancels protective orders, too: who arms it has none resting here (trading document 2.8).

        Returns:
            Whether the venue has one.
        """
        if self.exchange.has.get("cancelAllOrdersAfter") is not True or self._kin in NO_TIMER:
            return False
        ms = 0 if seconds is None else int(seconds * 1000)
        await self._call(Lane.CANCEL, lambda: self.exchange.cancel_all_orders_after(ms))
        return True

    # -- questions ---------------------------------------------------------------------------------

    async def find(self, order: Order, *, lane: Lane = Lane.RECONCILE) -> OrderSeen | None:
        """Look an order up, working or ended.

        Returns:
            None is the venue's own "no", of every part of the look-up.

        Raises:
            VenueUnknown: No information.
        """
        asked_at = self._now()
        self.symbols.add(order.symbol)
        for part, ask in self._parts(order):
            row = await ask(lane)
            if row is None:
                continue
            seen = self.rows.order(row, now=asked_at, evidence="found")
            if seen is None:
                raise VenueUnknown(f"{self.exchange.id} answered with an order that says nothing")
            if part is not None and seen.venue_client_id == order.venue_client_id:
                self.proof.found(part)
            return seen
        return None

    async def prove(self, order: Order, part: str) -> None:
        """Ask one part of the look-up for an order that it must know (A2); some venues list ended orders as working, too.

        Raises:
            VenueUnknown: No information.
        """
        for name, ask in self._parts(order):
            if name != part or not self.proof.wants(part):
                continue
            row = await ask(Lane.POLL)
            if row is None:
                continue
            seen = self.rows.order(row, now=self._now(), evidence="found")
            if seen is not None and seen.venue_client_id == order.venue_client_id:
                self.proof.found(part)

    def _parts(self, order: Order) -> list[tuple[str | None, Callable[[Lane], Awaitable[Any]]]]:
        """Name the questions about an order, in the order of asking; no part is proven by an order without a client id."""
        look_up, theirs = self._look_up, self.ids.theirs(order.venue_client_id)
        nameless = order.venue_client_id.startswith(STRANGE)
        if nameless and order.exchange_order_id is not None:
            return [
                (None, lambda lane: self._listed(lane, order, "working", {})),
                (None, lambda lane: self._listed(lane, order, "ended", {})),
            ]
        if look_up.one is not None:
            params = {look_up.one: theirs}
            sides = [params | ({"trigger": True} if self._apart(order) else {})]
            if self._apart(order):
                sides.append(params)  # once triggered it is an order like any other
            return [("one", partial(self._one, order=order, params=asked)) for asked in sides]
        params = {} if look_up.listed is None else {look_up.listed: theirs}
        return [
            ("working", lambda lane: self._listed(lane, order, "working", params)),
            ("ended", lambda lane: self._listed(lane, order, "ended", params)),
        ]

    async def _one(self, lane: Lane, order: Order, params: Mapping[str, Any]) -> Any:
        try:
            return await self._call(
                lane, lambda: self.exchange.fetch_order(None, order.symbol, dict(params))
            )
        except VenueRejected as rejected:
            if rejected.code is Code.NOT_FOUND:
                return None
            raise

    async def _listed(self, lane: Lane, order: Order, part: str, params: Mapping[str, Any]) -> Any:
        """Find an order in one of the two lists."""
        since = None if params else (order.created_ts - 60 * SECOND) // MS
        rows = await self._list(lane, part, order.symbol, since, params)
        theirs = str(self.ids.theirs(order.venue_client_id))
        known = {theirs, self.ids.form.prefix + theirs}
        for row in rows:
            same = order.exchange_order_id is not None and row.get("id") == order.exchange_order_id
            if same or str(row.get("clientOrderId")) in known:
                return row
        if not params and len(rows) >= self._page:
            raise VenueUnknown(f"{self.exchange.id} lists more orders than one answer shows")
        return None

    async def _list(
        self, lane: Lane, part: str, symbol: str, since: int | None, params: Mapping[str, Any]
    ) -> list[Any]:
        exchange = self.exchange
        asked = dict(params)
        if part == "working":
            ask = exchange.fetch_open_orders
            since = None
        else:
            names = ("fetchCanceledAndClosedOrders", "fetchClosedOrders", "fetchOrders")
            has = next((name for name in names if exchange.has.get(name) is True), None)
            if has is None:
                raise VenueUnknown(f"{exchange.id} does not list orders that have ended")
            ask = {
                "fetchCanceledAndClosedOrders": exchange.fetch_canceled_and_closed_orders,
                "fetchClosedOrders": exchange.fetch_closed_orders,
                "fetchOrders": exchange.fetch_orders,
            }[has]
        length = None if part == "working" else self._length
        return await self._rows(lane, lambda: ask(symbol, since, length, asked))

    async def open_orders(self, lane: Lane = Lane.RECONCILE) -> list[OrderSeen]:
        """All working orders of the account.

        Raises:
            VenueUnknown: An answer is missing or is none; never fewer orders than there are.
        """
        asked_at = self._now()
        found: dict[str, OrderSeen] = {}
        for params in self._sides():
            rows = await self._rows(
                lane, partial(self.exchange.fetch_open_orders, None, None, None, params)
            )
            for row in rows:
                seen = self.rows.order(row, now=asked_at, evidence="found")
                if seen is not None:
                    found[seen.exchange_order_id] = seen
                    self.symbols.add(seen.symbol)
                elif row.get("symbol") not in self.exchange.markets:
                    raise VenueUnknown(f"{self.exchange.id} lists an order of an unknown market")
                elif row["symbol"] in self._markets:
                    raise VenueUnknown(f"{self.exchange.id} lists an order that says nothing")
        return list(found.values())

    def _sides(self) -> list[dict[str, Any]]:
        """Name the questions that together list all working orders."""
        paged: dict[str, Any] = {"paginate": True} if self._kin in PAGED else {}
        several = len(self._types) > 1
        kinds: list[dict[str, Any]] = [
            paged | ({"type": kind} if several else {}) | coin
            for kind in self._types
            for coin in self._coins(kind)
        ]
        if self._words.triggered_apart and self._kin != "bybit":
            # Bybit lists both together unless it is asked for one of them.
            kinds += [kind | {"trigger": True} for kind in kinds]
        return kinds

    def _coins(self, kind: str) -> list[dict[str, str]]:
        """Name the coins that contracts are settled in, where ccxt asks for those of one coin unless told otherwise."""
        if self._kin not in BY_COIN or kind == "spot":
            return [{}]
        contracts = [m for m in self._markets.values() if m.contract and not m.inverse]
        coins = sorted({market.settle for market in contracts if market.settle})
        return [{"settleCoin": coin} for coin in coins] or [{}]

    async def fills(self, since: int, lane: Lane = Lane.RECONCILE) -> list[Filled | Transferred]:
        """Fills from `since` [ns] on, oldest first, each once.

        Raises:
            VenueUnknown: An answer is missing, or there are more than can be read.
        """
        now = self._now()
        since = now - FRESH if since <= 0 else min(since, now)
        span = SPANS.get(self._kin, now - since + SECOND)
        symbols: list[str | None] = [None]
        if self._kin in BY_SYMBOL:
            symbols = sorted(self.symbols)  # type: ignore[assignment]  # a list of the wider kind
        kinds: list[dict[str, Any]] = [{}]
        if symbols == [None] and len(self._types) > 1:
            kinds = [{"type": kind} for kind in self._types]
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for symbol in symbols:
            for kind in kinds:
                start = since
                while start < now:
                    end = min(start + span, now)
                    bounds = dict(kind)
                    if end < now:
                        bounds["until"] = end // MS
                    await self._pages(lane, symbol, start // MS, bounds, found)
                    start = end
        made: list[Filled | Transferred] = []
        for row in sorted(found.values(), key=lambda row: row.get("timestamp") or 0):
            made += self.rows.fill(row, now=now)
        # Of one millisecond ccxt sorts them by their ids, which some venues draw by lot.
        made.sort(key=lambda fact: fact.ts)
        return made

    async def _pages(
        self,
        lane: Lane,
        symbol: str | None,
        since: int,
        params: Mapping[str, Any],
        found: dict[tuple[str, str], Mapping[str, Any]],
    ) -> None:
        """Read all pages of own trades: venues begin with the oldest or with the newest, and do not say so."""
        first, last, forward = since, params.get("until"), True
        seen: dict[tuple[str, str], Mapping[str, Any]] = {}
        for _ in range(PAGES):
            asked = dict(params) | ({} if last is None else {"until": last})
            rows = await self._rows(
                lane, partial(self.exchange.fetch_my_trades, symbol, first, self._length, asked)
            )
            before = len(seen)
            seen.update({(str(row.get("symbol")), str(row.get("id"))): row for row in rows})
            found.update(seen)
            stamps = [int(row["timestamp"]) for row in seen.values() if row.get("timestamp")]
            whole = len(rows) < self._page or len(seen) == before or not stamps
            if whole and (not forward or first == since):
                return
            if forward and not whole:
                first = max(stamps)  # on from the newest seen
                continue
            forward = False
            first, last = since, min(stamps)  # and back from the oldest seen
        raise VenueUnknown(f"{self.exchange.id} has more trades than {PAGES} answers show")

    async def balances(self, lane: Lane = Lane.RECONCILE) -> list[BalanceSeen]:
        """All balances; a currency that was told before and is not any more has nothing left."""
        asked_at = self._now()
        answer = await self._call(lane, self.exchange.fetch_balance)
        rows = self.rows.balances(answer, now=asked_at) if isinstance(answer, Mapping) else None
        if rows is None:
            raise VenueUnknown(f"{self.exchange.id} answered with no balance")
        told = {row.balance.currency for row in rows}
        for currency in sorted(self._currencies - told):
            gone = Balance(venue=self.rows.venue, currency=currency, ts=asked_at, source="poll")
            rows.append(BalanceSeen(balance=gone))
        self._currencies |= told
        return rows

    async def positions(self, lane: Lane = Lane.RECONCILE) -> list[PositionSeen]:
        """All derivative positions; one that was told before and is not any more is flat."""
        if self._types == ("spot",) or not self.exchange.has.get("fetchPositions"):
            return []
        asked_at = self._now()
        seen: dict[str, PositionSeen] = {}
        for kind in self._types:
            if kind == "spot":
                continue
            for coin in self._coins(kind):
                rows = await self._rows(
                    lane, partial(self.exchange.fetch_positions, None, {"type": kind, **coin})
                )
                for row in rows:
                    made = self.rows.position(row, now=asked_at)
                    if made is not None:
                        seen[made.position.symbol] = self._one_way(
                            made, seen.get(made.position.symbol)
                        )
        return self.flat(seen, asked_at)

    def _one_way(self, row: PositionSeen, other: PositionSeen | None) -> PositionSeen:
        """Take the side that is held where a venue lists both.

        Raises:
            VenueUnknown: Both are: what one order would do to which of them is not ours to guess.
        """
        if other is None or not other.position.amount:
            return row
        if not row.position.amount:
            return other
        raise VenueUnknown(
            f"{self.exchange.id} holds {row.position.symbol} long and short at once (hedge mode), which is not "
            "supported: close one side and set one-way mode at the exchange"
        )

    def flat(self, seen: Mapping[str, PositionSeen], ts: int) -> list[PositionSeen]:
        """Add what is not listed any more to a whole list of positions."""
        rows = dict(seen)
        for symbol in sorted(self._positions - set(seen)):
            row = self.rows.position({"symbol": symbol, "contracts": 0, "info": {}}, now=ts)
            if row is not None:
                rows[symbol] = row
        self._positions |= {symbol for symbol, row in seen.items() if row.position.amount}
        return list(rows.values())

    # -- calls -------------------------------------------------------------------------------------

    async def _rows(self, lane: Lane, ask: Callable[[], Awaitable[Any]]) -> list[Any]:
        rows = await self._call(lane, ask)
        if not isinstance(rows, list):
            raise VenueUnknown(f"{self.exchange.id} answered with no list")
        return rows

    async def _call(self, lane: Lane, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask, and give the answer if it has the shape of one."""
        asked_at = self._now()
        answer = await self._made(lane, lambda: self._again(ask))
        if isinstance(answer, Exists):
            raise VenueUnknown(f"{self.exchange.id}: {answer.message}")
        self.asked_at = max(self.asked_at, asked_at)
        return answer

    async def _act(
        self,
        lane: Lane,
        ask: Callable[[], Awaitable[Any]],
        door: Callable[[], None] | None = None,
    ) -> Any:
        """Place, change or cancel; None where the venue says that the order is there already."""
        answer = await self._made(lane, ask, acts=True, door=door)
        return None if isinstance(answer, Exists) else answer

    async def _made(
        self,
        lane: Lane,
        ask: Callable[[], Awaitable[Any]],
        *,
        acts: bool = False,
        door: Callable[[], None] | None = None,
    ) -> Any:
        token = LANE.set(lane)
        try:
            with sending(door) as sent:
                try:
                    answer = await ask()
                except asyncio.CancelledError:
                    if sent.requests or not acts:
                        raise
                    # Whoever waited for it has lost patience, and it still waits here: that is certain.
                    raise Refused(
                        Code.BUSY,
                        f"its turn at {self.exchange.id} did not come in time; it was not sent",
                        retry_after=1.0,
                    ) from None
                except Exception as error:
                    verdict = self._judged(error, sent)
                    if isinstance(verdict, Exists):
                        return verdict
                    raise verdict from error
        finally:
            LANE.reset(token)
        # What is asked in several questions is no answer without one of them.
        if (sent.unread and not acts) or (sent.requests and not shaped(self._kin, sent.text)):
            raise VenueUnknown(
                f"{self.exchange.id} answered with something unreadable",
                {"class": "BadResponse", "status": sent.status},
            )
        return answer

    def _judged(
        self, error: Exception, sent: Sent
    ) -> Refused | VenueRejected | VenueUnknown | Exists:
        if isinstance(error, Refused) and not sent.requests:
            return error
        if isinstance(error, VenueRejected | VenueUnknown):
            return error
        return classify(self.exchange.id, error, sent, redact=self._redact)


def shaped(exchange_id: str, text: str | None) -> bool:
    """Whether an answer is one of the venue: JSON, with the fields that all of its answers have (S1-S4)."""
    try:
        body = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        return False
    if isinstance(body, list):
        return True
    return isinstance(body, dict) and all(name in body for name in SHAPES.get(exchange_id, ()))
