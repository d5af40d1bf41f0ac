"""Orders, fills, balances and positions: ccxt's unified rows to ours, and our orders to ccxt's arguments.

Rules of this file:
1 A row that lacks what makes it one (id, symbol, side, amount) is no row: None, never a row with a guess in it.
2 A number is taken at its shortest decimal text; where the venue's own text says more digits, that counts (M4).
3 An order is sent as it is or refused: nothing is dropped silently because a venue has no word for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from realtime.model.account import Balance, Position
from realtime.model.errors import Code, Refused
from realtime.model.events import BalanceSeen, Filled, OrderSeen, PositionSeen, Transferred
from realtime.model.market import MS, SECOND, ZERO, Market
from realtime.model.orders import Order, OrderType, Side, Status, TimeInForce, TriggerBy
from realtime.venues.ccxt import mended
from realtime.venues.ccxt.kin import kin


LAG: Final = 3 * SECOND
"""An answer without a time of its own speaks of this long before it was asked for [ns]: reads may lag."""

HEX: Final = frozenset("0123456789abcdef")


# --- client ids -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a venue wants a client's id.

    Attributes:
        prefix: Before ours in its rows; `sent` says whether we have to write it, too.
        length: Of the hex digits.
        bits: Of the number that it wants instead; None where it takes text.
    """

    prefix: str = ""
    sent: bool = True
    length: int = 32
    bits: int | None = None


FORMS: Final[Mapping[str, Form]] = {
    "bitfinex": Form(bits=45),
    "woo": Form(bits=53),
    "gate": Form(prefix="t-", sent=False, length=28),
    "gateio": Form(prefix="t-", sent=False, length=28),
    "hyperliquid": Form(prefix="0x"),
}
"""Venues that do not take 32 hex digits as they are (I3), by ccxt id."""


@dataclass(slots=True)
class ClientIds:
    """Our client ids as they read at one venue, and back.

    What was shortened or made a number cannot be turned back: those that may come back are remembered.
    """

    form: Form
    _ours: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, exchange_id: str) -> "ClientIds":
        """Make those of a venue by its ccxt id."""
        return cls(FORMS.get(exchange_id, Form()))

    @property
    def reversible(self) -> bool:
        """Whether ours can be read from theirs without having been told."""
        return self.form.bits is None and self.form.length == 32

    def theirs(self, venue_client_id: str) -> str | int:
        """Give what is sent."""
        form = self.form
        if not set(venue_client_id) <= HEX:
            return venue_client_id  # of an order that somebody else placed
        if form.bits is not None:
            number = int(venue_client_id, 16) & ((1 << form.bits) - 1)
            self._ours[str(number)] = venue_client_id
            return number
        short = venue_client_id[: form.length]
        if form.length < 32:
            self._ours[form.prefix + short] = venue_client_id
        return form.prefix + short if form.sent else short

    def ours(self, theirs: object) -> str | None:
        """Give what the ledger knows an order by; None where the row has no client id."""
        if theirs is None or theirs == "":
            return None
        text = str(theirs)
        known = self._ours.get(text) or self._ours.get(self.form.prefix + text)
        if known is not None:
            return known
        plain = text.removeprefix(self.form.prefix).replace("-", "").lower()
        return plain if len(plain) == 32 and set(plain) <= HEX else text


# --- numbers ----------------------------------------------------------------------------------

EXACT: Final = 15
"""Digits that a float holds, whatever they are."""


def number(value: object, info: object = None) -> Decimal | None:
    """Make an exact number of what ccxt has parsed.

    Args:
        value: A float, an integer or a text; None and what is no finite number give None.
        info: The venue's own row: a text in it that is the same float and says more counts.
    """
    if value is None or isinstance(value, bool):
        return None
    try:
        made = Decimal(repr(value) if isinstance(value, float) else str(value))
    except InvalidOperation:
        return None
    if not made.is_finite():
        return None
    if isinstance(value, float):
        longer = _written(value, info)
        if longer is not None:
            return longer
    return made


def _written(value: float, info: object) -> Decimal | None:
    """The venue's text of a float that has more digits than a float holds."""
    if isinstance(info, Mapping):
        info = list(info.values())
    if not isinstance(info, Iterable):
        return None
    for text in info:
        if not isinstance(text, str) or len(text) <= EXACT:
            continue
        try:
            made = Decimal(text)
        except InvalidOperation:
            continue
        if made.is_finite() and len(made.as_tuple().digits) > EXACT and float(text) == value:
            return made
    return None


def stamp(row: Mapping[str, Any], *names: str) -> int | None:
    """Give the first time [ms] that a row has, in ns."""
    for name in names:
        value = row.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value) * MS
    return None


# --- rows to ours -----------------------------------------------------------------------------

STATUS: Final[Mapping[str, Status]] = {
    "open": Status.OPEN,
    "canceling": Status.OPEN,
    "closed": Status.FILLED,
    "filled": Status.FILLED,
    "canceled": Status.CANCELED,
    "expired": Status.EXPIRED,
    "rejected": Status.REJECTED,
}
"""ccxt's words; what is not here, None included, says nothing about an order."""

UPDATED: Final[Mapping[str, tuple[str, ...]]] = {
    "bybit": ("lastUpdateTimestamp", "lastTradeTimestamp"),
}
"""Where a row of a venue says when it was changed, not only when it last filled."""

TRADE_CLIENT_IDS: Final = ("orderLinkId", "clOrdId", "clientOrderId", "cl_ord_id", "clOid", "c")
"""Where the venue's own row of a fill has the order's client id; ccxt leaves it out."""

SEQUENCES: Final[Mapping[str, tuple[str, ...]]] = {"bybit": ("seq",), "kraken": ("trade_id",)}
"""Where the venue's own row of a fill has a number that rises from one to the next; an id is none, or is drawn by lot."""

FEES_TURNED: Final = frozenset({"bitfinex"})
"""Venues whose fees ccxt takes over from the stream with the venue's sign, on which a charge is negative."""

CLIENT_ID_IN: Final[Mapping[str, str]] = {"kraken": "cl_ord_id"}
"""Where the venue's own row of an order has the client's id that ccxt reads from another field."""

LASTING: Final = (
    "symbol",
    "side",
    "type",
    "amount",
    "price",
    "triggerPrice",
    "filled",
    "average",
    "cost",
)
"""What a later row of a stream may leave out, because an earlier one has said it."""
TERMS: Final = ("price", "triggerPrice")
"""Of these, what an amend may change and a row may do without."""
REMEMBERED: Final = 2_000
"""Orders whose last row is kept for that."""

REASONS: Final = ("rejectReason", "cancelReason", "cancelSource", "reason")
"""Where a venue says why an order ended."""
NO_REASON: Final = frozenset({"", "EC_NoError", "UNKNOWN", "NONE"})


@dataclass(slots=True, kw_only=True)
class Rows:
    """Reads one venue's rows.

    Attributes:
        venue: Name in our rows.
        exchange: ccxt id.
        markets: By symbol; rows of others are nobody's.
        refused: Rows that were none, by kind: counted, shown in `monitoring`.
        last: What is known of an order from its earlier rows, by the venue's id.
    """

    venue: str
    exchange: str
    markets: Mapping[str, Market]
    ids: ClientIds
    refused: dict[str, int] = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)

    def order(
        self, row: Mapping[str, Any], *, now: int, evidence: str = "stream"
    ) -> OrderSeen | None:
        """Read an order.

        Args:
            row: ccxt's.
            now: When it came in; of an answer, when it was asked for [ns].
            evidence: `stream`, or `found` for an answer.

        Returns:
            None where it is no row of a market here, or says nothing about its state.
        """
        info = row.get("info")
        row = self._completed(mended.order(self.exchange, row))
        market, side = self._place(row)
        exchange_order_id = row.get("id")
        status = status_of(row)
        amount = number(row.get("amount"), info)
        filled = number(row.get("filled"), info) or ZERO
        if amount is None and status is not None and status.ended and filled:
            amount = filled
        if (
            market is None
            or side is None
            or not exchange_order_id
            or status is None
            or amount is None
        ):
            self._no("order")
            return None
        kind = type_of(row)
        average = number(row.get("average"), info)
        cost = number(row.get("cost"), info)
        if cost is None:
            cost = filled * abs(market.value(average)) if average else ZERO
        updated = stamp(row, *UPDATED.get(self.exchange, ("lastUpdateTimestamp",)))
        asof = updated if updated is not None else now - (0 if evidence == "stream" else LAG)
        reason = None
        if status.ended and status is not Status.FILLED:
            reason = reason_of(info) or row.get("reason")
        return OrderSeen(
            venue=self.venue,
            symbol=market.symbol,
            exchange_order_id=str(exchange_order_id),
            venue_client_id=self.ids.ours(self._client_id(row, info)),
            side=side,
            type=kind.value,
            status=status,
            amount=amount,
            price=number(row.get("price"), info) if kind.priced else None,
            stop_price=trigger_of(row) if kind.triggered else None,
            filled=filled,
            cost=cost,
            reduce_only=row.get("reduceOnly") is True,
            asof=asof,
            code=Code.VENUE_REJECTED if status is Status.REJECTED else None,
            reason=reason,
            evidence=evidence,
            ts=now,
        )

    def amending(self, exchange_order_id: str) -> None:
        """Forget what an amend may change: whether it has, only a later row or answer tells."""
        known = self.last.get(exchange_order_id, {})
        for name in TERMS:
            known.pop(name, None)

    def _completed(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add what earlier rows of the same order have said: some streams tell changes alone."""
        order_id = row.get("id")
        if not order_id:
            return row
        known = self.last.setdefault(str(order_id), {})
        known.update({name: row[name] for name in LASTING if row.get(name) is not None})
        if len(self.last) > REMEMBERED:
            del self.last[next(iter(self.last))]
        return {**row, **known}

    def _client_id(self, row: Mapping[str, Any], info: object) -> object:
        name = CLIENT_ID_IN.get(self.exchange)
        return row.get("clientOrderId") if name is None else _first(info, (name,))

    def fill(
        self, row: Mapping[str, Any], *, now: int, streamed: bool = False
    ) -> list[Filled | Transferred]:
        """Read an own trade; nothing where it is no row.

        A fee in a second currency is booked beside the fill, as what it is: money that went.

        Args:
            row: ccxt's.
            now: When it came in [ns].
            streamed: Whether a stream told it; ccxt parses those apart from answers.
        """
        info = row.get("info")
        market, side = self._place(row)
        trade_id, order_id = row.get("id"), row.get("order")
        amount, price = number(row.get("amount"), info), number(row.get("price"), info)
        if market is None or side is None or not trade_id or not order_id:
            self._no("fill")
            return []
        if not amount or amount < 0 or price is None:
            self._no("fill")
            return []
        sign = -1 if streamed and self.exchange in FEES_TURNED else 1
        fees = [(currency, cost * sign) for currency, cost in fees_of(row, market)]
        currency, fee = fees[0] if fees else (market.cash, ZERO)
        ts = stamp(row, "timestamp") or now
        # Their order decides what a derivative has realized, and many happen in one millisecond.
        told = number(_first(info, SEQUENCES.get(self.exchange, ())), None)
        ts += int(told or 0) % MS
        client_id = row.get("clientOrderId") or mended.fill_client_id(self.exchange, info)
        client_id = client_id or _first(info, TRADE_CLIENT_IDS)
        made: list[Filled | Transferred] = [
            Filled(
                venue=self.venue,
                symbol=market.symbol,
                trade_id=str(trade_id),
                exchange_order_id=str(order_id),
                venue_client_id=self.ids.ours(client_id),
                side=side,
                amount=amount,
                price=price,
                fee=fee,
                fee_currency=currency,
                maker=row.get("takerOrMaker") == "maker",
                ts=ts,
            )
        ]
        for other, cost in fees[1:]:
            made.append(
                Transferred(
                    venue=self.venue,
                    currency=other,
                    amount=-cost,
                    kind="fee",
                    symbol=market.symbol,
                    id=f"fee-{market.symbol}-{trade_id}-{other}",
                    ts=ts,
                )
            )
        return made

    def balances(
        self, balance: Mapping[str, Any], *, now: int, streamed: bool = False
    ) -> list[BalanceSeen] | None:
        """Read ccxt's balance; None where it has no shape of one.

        Only what a currency says itself counts: `used` or `total` may be missing, and are worked out. A stream that
        tells a total alone (Kraken's) does not say what is free of it: such a currency is left out.
        """
        info = balance.get("info")
        if not isinstance(info, Mapping | list) or not info:
            self._no("balance")
            return None
        ts = stamp(balance, "timestamp") or now
        known = mended.balances(self.exchange, info) or {}
        made: list[BalanceSeen] = []
        for currency, held in balance.items():
            if not isinstance(held, Mapping) or currency in {"info", "free", "used", "total"}:
                continue
            free, used = number(held.get("free")), number(held.get("used"))
            total = number(held.get("total"))
            if currency in known:
                total, used = known[currency]
                free = total - used
            if free is None and total is not None and not (streamed and used is None):
                free = total - (used or ZERO)
            if free is None:
                continue
            if total is not None:
                used = total - free
            row = Balance(
                venue=self.venue,
                currency=currency,
                available=free,
                reserved=max(used or ZERO, ZERO),
                ts=ts,
                source="ws" if streamed else "poll",
            )
            made.append(BalanceSeen(balance=row))
        return made

    def position(self, row: Mapping[str, Any], *, now: int) -> PositionSeen | None:
        """Read a derivative position; one of no contracts is flat."""
        info = row.get("info")
        market = self.markets.get(str(row.get("symbol")))
        contracts = number(row.get("contracts"), info)
        if market is None or not market.contract or contracts is None:
            self._no("position")
            return None
        side = row.get("side")
        if contracts and side not in {"long", "short"}:
            self._no("position")
            return None
        amount = -abs(contracts) if side == "short" else abs(contracts)
        entry = number(row.get("entryPrice"), info)
        cost = market.value(entry) * amount if entry else None
        return PositionSeen(
            position=Position(
                venue=self.venue,
                symbol=market.symbol,
                position_type="swap",
                amount=amount,
                cost=cost if amount else ZERO,
                contract_size=market.contract_size,
                leverage=number(row.get("leverage")) or Decimal(1),
                margin_mode=str(row.get("marginMode") or "cross"),
                collateral=number(row.get("collateral")),
                maintenance_margin=number(row.get("maintenanceMargin")),
                liquidation_price=number(row.get("liquidationPrice")) or None,
                ts=stamp(row, "lastUpdateTimestamp", "timestamp") or now,
            )
        )

    def _place(self, row: Mapping[str, Any]) -> tuple[Market | None, Side | None]:
        side = row.get("side")
        known = Side(side) if side in {"buy", "sell"} else None
        return self.markets.get(str(row.get("symbol"))), known

    def _no(self, kind: str) -> None:
        self.refused[kind] = self.refused.get(kind, 0) + 1


def status_of(row: Mapping[str, Any]) -> Status | None:
    """Read a status; the amounts tell whether `closed` was filled, and whether `canceled` came too late."""
    status = STATUS.get(str(row.get("status")))
    amount, filled = number(row.get("amount")), number(row.get("filled"))
    if status not in {Status.FILLED, Status.CANCELED} or amount is None or filled is None:
        return status
    if not amount:
        return status
    return Status.FILLED if filled >= amount else Status.CANCELED


def type_of(row: Mapping[str, Any]) -> OrderType:
    """Read a type: ccxt says market or limit and gives a trigger beside it; some venues' words come through."""
    kind = str(row.get("type") or "limit").lower().replace("-", "_")
    limit = "limit" in kind or kind == "lmt"
    if "trailing" in kind:
        return OrderType.TRAILING_STOP
    if "take" in kind or (row.get("takeProfitPrice") and trigger_of(row)):
        return OrderType.TAKE_PROFIT_LIMIT if limit else OrderType.TAKE_PROFIT
    if trigger_of(row) is not None or "stop" in kind:
        return OrderType.STOP_LIMIT if limit else OrderType.STOP
    return OrderType.LIMIT if limit else OrderType.MARKET


def trigger_of(row: Mapping[str, Any]) -> Decimal | None:
    """Read the price that an order waits for; zero means that it does not wait."""
    return number(row.get("triggerPrice"), row.get("info")) or None


def fees_of(row: Mapping[str, Any], market: Market) -> list[tuple[str, Decimal]]:
    """Read a trade's fees by currency, the market's own currencies first; negative is a rebate."""
    listed = row.get("fees") or ([row["fee"]] if row.get("fee") else [])
    sums: dict[str, Decimal] = {}
    for fee in listed:
        cost, currency = number(fee.get("cost"), row.get("info")), fee.get("currency")
        if cost and currency:
            sums[currency] = sums.get(currency, ZERO) + cost
    first = (market.cash, market.base)
    return sorted(sums.items(), key=lambda item: (item[0] not in first, item[0]))


def has_fee(row: Mapping[str, Any]) -> bool:
    """Whether an own trade tells what it cost; streams of some venues do not."""
    listed = row.get("fees") or ([row["fee"]] if row.get("fee") else [])
    return any(fee.get("cost") is not None for fee in listed)


def totals_only(balance: Mapping[str, Any]) -> bool:
    """Whether a balance has a currency of which only the total is told."""
    return any(
        isinstance(held, Mapping)
        and held.get("total") is not None
        and held.get("free") is None
        and held.get("used") is None
        for currency, held in balance.items()
        if currency not in {"info", "free", "used", "total"}
    )


def reason_of(info: object) -> str | None:
    """Read why an order ended, in the venue's word."""
    reason = _first(info, REASONS)
    return None if reason is None or str(reason) in NO_REASON else str(reason)


def _first(info: object, names: Iterable[str]) -> object | None:
    if not isinstance(info, Mapping):
        return None
    return next((info[name] for name in names if info.get(name)), None)


# --- our orders to ccxt -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a venue calls things in ccxt.

    Attributes:
        client_id: Name of the client id in `params`.
        stop, take: Names of the trigger of a stop and of a target; None: it has none.
        directed: Whether triggers of derivatives need a direction.
        trailing: Whether a trailing stop is an order of its own there.
        good_till: Name of the end of a GTD order, and its unit [ns]; None: it has none.
        triggered_apart: Whether triggers are listed, found and cancelled with `trigger: true`.
        by: Name of the price that triggers, and its values.
    """

    client_id: str = "clientOrderId"
    stop: str | None = "triggerPrice"
    take: str | None = "triggerPrice"
    directed: bool = False
    trailing: bool = True
    good_till: tuple[str, int] | None = None
    triggered_apart: bool = False
    by: Mapping[str, str] = field(default_factory=dict)
    by_name: str = "triggerBy"


_BINANCE_FUTURES = Words(
    take="takeProfitPrice",
    good_till=("goodTillDate", MS),
    triggered_apart=True,
    by_name="workingType",
    by={"last": "CONTRACT_PRICE", "mark": "MARK_PRICE"},
)

WORDS: Final[Mapping[str, Words]] = {
    "binance": Words(take="takeProfitPrice"),
    "binanceus": Words(take="takeProfitPrice"),
    "binanceusdm": _BINANCE_FUTURES,
    "binancecoinm": _BINANCE_FUTURES,
    # Its trailing stop belongs to the position and has no id; a target of a spot order is a trigger like any other.
    "bybit": Words(
        directed=True,
        trailing=False,
        triggered_apart=True,
        by={"last": "LastPrice", "mark": "MarkPrice"},
    ),
    "okx": Words(triggered_apart=True),
    "kraken": Words(stop="stopLossPrice", take="takeProfitPrice", good_till=("expiretm", SECOND)),
    "krakenfutures": Words(take="takeProfitPrice", by_name="triggerSignal"),
    # A trigger there is a stop: one on the far side would fire at once.
    "bitfinex": Words(take=None),
    "kucoin": Words(stop="stopLossPrice", take="takeProfitPrice", triggered_apart=True),
}
"""By ccxt id; a venue that is not here gets ccxt's unified words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Arguments of ccxt's `create_order`; `cost` instead of an amount for a market buy by cost."""

    symbol: str
    type: str
    side: str
    amount: Decimal | None
    price: Decimal | None
    cost: Decimal | None
    params: dict[str, Any]


def asked(order: Order, market: Market, exchange: Any, ids: ClientIds) -> Asked:
    """Say an order in ccxt's words.

    Args:
        order: Ours.
        market: Its market.
        exchange: The ccxt instance: its `id` and `has`.
        ids: Of the venue.

    Raises:
        Refused: `not_supported`, before anything is sent; an attached leg is then emulated (B5).
    """
    words = WORDS.get(kin(exchange.id), Words())
    params: dict[str, Any] = {words.client_id: ids.theirs(order.venue_client_id)}
    if order.post_only:
        params["postOnly"] = True
    if order.reduce_only and market.contract:
        params["reduceOnly"] = True
    _time_in_force(order, words, exchange, params)
    if order.type is OrderType.TRAILING_STOP:
        _trailing(order, words, exchange, params)
    elif order.type.triggered:
        _trigger(order, market, words, exchange, params)
    if order.cost_limit is not None and not exchange.has.get("createMarketBuyOrderWithCost"):
        raise unsupported(exchange, "market buys by cost")
    return Asked(
        symbol=order.symbol,
        type="limit" if order.type.priced else "market",
        side=order.side.value,
        amount=None if order.cost_limit is not None else order.amount,
        price=order.price if order.type.priced else None,
        cost=order.cost_limit,
        params=params,
    )


def _time_in_force(order: Order, words: Words, exchange: Any, params: dict[str, Any]) -> None:
    if order.time_in_force is TimeInForce.GTD:
        if words.good_till is None or order.good_till_ts is None:
            raise unsupported(exchange, "time_in_force GTD")
        name, unit = words.good_till
        params[name] = order.good_till_ts // unit
        params["timeInForce"] = "GTD"
    elif order.time_in_force is not TimeInForce.GTC:
        params["timeInForce"] = order.time_in_force.value


def _trigger(
    order: Order, market: Market, words: Words, exchange: Any, params: dict[str, Any]
) -> None:
    target = order.type in {OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
    name = words.take if target else words.stop
    if name is None or not can_trigger(exchange):
        raise unsupported(exchange, f"orders of type {order.type}")
    assert order.stop_price is not None, "the gate asks for it"
    params[name] = float(order.stop_price)
    if market.contract and words.directed:
        rises = (order.side is Side.BUY) is not target
        params["triggerDirection"] = "ascending" if rises else "descending"
    _trigger_by(order, market, words, exchange, params)


def _trigger_by(
    order: Order, market: Market, words: Words, exchange: Any, params: dict[str, Any]
) -> None:
    """Name the price that triggers where the venue lets one choose; spot knows the last one only."""
    if not market.contract:
        return
    if order.trigger_by.value in words.by:
        params[words.by_name] = words.by[order.trigger_by.value]
    elif order.trigger_by is not TriggerBy.LAST:
        raise unsupported(exchange, f"trigger_by {order.trigger_by}")


def _trailing(order: Order, words: Words, exchange: Any, params: dict[str, Any]) -> None:
    by_amount = order.trailing_amount is not None
    has = exchange.has.get(
        "createTrailingAmountOrder" if by_amount else "createTrailingPercentOrder"
    )
    if not words.trailing or not has:
        raise unsupported(exchange, "trailing stops")
    if order.trailing_amount is not None:
        params["trailingAmount"] = float(order.trailing_amount)
    elif order.trailing_rate is not None:
        params["trailingPercent"] = float(order.trailing_rate * 100)


def can_trigger(exchange: Any) -> bool:
    """Whether the venue holds orders that wait for a price."""
    return bool(exchange.has.get("createTriggerOrder") or exchange.has.get("createStopOrder"))


def unsupported(exchange: Any, what: str) -> Refused:
    """Make the refusal of what a venue does not have."""
    return Refused(Code.NOT_SUPPORTED, f"{exchange.id} has no {what}", {"venue": exchange.id})
