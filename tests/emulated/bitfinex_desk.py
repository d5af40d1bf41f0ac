"""What the emulated Bitfinex knows: keys, markets, wallets, orders; REST and sockets stand on it.

Rules of this file:
1 Spot trades in the exchange wallet, derivatives in the margin wallet: two accounts on the floor under one key.
2 One nonce per key, for REST and the socket together; only an admitted call uses its nonce up.
3 What happens to an account is told in Bitfinex's order: `te`, then the order, wallets, positions, then `tu` with the fee.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any

from realtime.emulate.floor import Floor, number_of
from realtime.engine.matching import Working
from realtime.model.errors import VenueRejected
from realtime.model.events import BalanceSeen, Filled, OrderSeen, PositionSeen, VenueEvent
from realtime.model.market import MONEY, MS, ZERO, Market
from realtime.model.orders import OrderType, Side, Status
from tests.emulated import bitfinex_rows as rows
from tests.emulated.bitfinex_rows import Array, Refusal, Ticket


TIMEFRAMES = {
    "1m": "1m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1h", "4h": "4h", "6h": "6h",
    "12h": "12h", "1D": "1d", "7D": "1w", "1W": "1w",
}  # fmt: skip
PRECISIONS = {"P0": 5, "P1": 4, "P2": 3, "P3": 2, "P4": 1}
ASIDE = "#margin"
"""Ends the name of the account behind a margin wallet, and the key nobody signs with."""

Level = tuple[str, str, int]
"""Price, amount, count of orders."""
Told = tuple[str, str, Any]
"""Owner, kind (`on`, `tu` …), data."""


class Desk:
    """Orders and money of every account.

    Args:
        floor: Not open yet. The account of a key has another beside it, whose name ends in `ASIDE`.

    Attributes:
        by_id: Markets by their ids here.
        tickets: By our order id.
        operative: False is maintenance.
        listeners: Told what happens to an account.
    """

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.faults = floor.faults
        self.by_id: dict[str, Market] = {}
        self.tickets: dict[int, Ticket] = {}
        self.operative = True
        self.listeners: list[Callable[[str, str, Any], None]] = []
        self._nonces: dict[str, int] = {}
        self._drafts: dict[str, Ticket] = {}
        self._held: list[Told] | None = None
        self._positions: dict[tuple[str, str], Decimal] = {}
        floor.on_account.append(self._on_account)

    def open(self) -> None:
        """Learn the markets of the floor, which is open."""
        self.by_id = {rows.symbol_id(each): each for each in self.floor.markets.values()}

    @contextmanager
    def holding(self) -> Iterator[list[Told]]:
        """Keep what happens inside the block, so that an answer can go first."""
        held: list[Told] = []
        self._held = held
        try:
            yield held
        finally:
            self._held = None

    def now(self) -> int:
        """The time of this exchange [ns]; its clock may be wrong."""
        return self.floor.now() + self.faults.clock_ms * MS

    def admit(self, key: str, nonce: str, text: str, signature: str) -> str:
        """Whose key signed this text, with a nonce above all before."""
        customer = None if key.endswith(ASIDE) else self.floor.customers.get(key)
        if customer is None or key in self.faults.expired:
            raise Refusal(10_100, "apikey: invalid")
        if rows.sign(customer.secret, text) != signature:
            raise Refusal(10_100, "apikey: digest invalid")
        if not nonce.isdecimal() or int(nonce) <= self._nonces.get(key, 0):
            raise Refusal(10_114, "nonce: small")
        self._nonces[key] = int(nonce)
        return customer.account

    def market(self, symbol: object) -> Market:
        found = self.by_id.get(str(symbol))
        if found is None:
            raise Refusal(10_020, "symbol: invalid")
        return found

    def levels(self, held: Market, side: Side, count: int, precision: str) -> list[Level]:
        """Levels of one side, summed up to the significant digits of a precision."""
        digits, found = PRECISIONS[precision], dict[str, tuple[Decimal, int]]()
        rest = self.floor.pit(held.symbol).own(side)
        for price, amount in self.floor.levels(held.symbol, side, 10_000):
            value = Decimal(price)
            step = Decimal(1).scaleb(value.adjusted() - digits + 1)
            # Away from the touch, so that no level looks better than it is.
            grid = value // step * step
            if side is Side.SELL and grid != value:
                grid += step
            name = rows.plain(grid)
            if name not in found and len(found) == count:
                break
            queue = rest.queues.get(rest.sign * float(price))
            before, orders = found.get(name, (ZERO, 0))
            found[name] = (
                before + Decimal(amount),
                orders + (1 if queue is None else len(queue.orders)),
            )
        return [(name, rows.plain(total), orders) for name, (total, orders) in found.items()]

    def book_rows(self, held: Market, precision: str, count: int) -> dict[tuple[str, str], Array]:
        """The rows of a book by side and what identifies them: a price, or an order."""
        found: dict[tuple[str, str], Array] = {}
        for side in (Side.BUY, Side.SELL):
            if precision == "R0":
                for work in list(self.floor.pit(held.symbol).own(side))[:count]:
                    assert work.price is not None
                    number = number_of(work.id)
                    found[side.value, str(number)] = rows.raw_row(
                        number, work.price, work.remaining, side
                    )
            else:
                for price, amount, orders in self.levels(held, side, count, precision):
                    found[side.value, price] = rows.book_row((price, amount), orders, side)
        return found

    def candle_key(self, key: str) -> tuple[Market, str]:
        """`trade:1m:tBTCUSD`."""
        kind, _, rest = key.partition(":")
        timeframe, _, symbol = rest.partition(":")
        if kind != "trade" or timeframe not in TIMEFRAMES:
            raise Refusal(10_020, "key: invalid")
        return self.market(symbol), TIMEFRAMES[timeframe]

    def noted(self, kind: str, info: object, text: str, status: str = "SUCCESS") -> Array:
        return rows.notification(kind, info, status, text, self.now())

    def accounts(self, account: str) -> tuple[tuple[str, str], ...]:
        """Wallet kinds and the accounts behind them."""
        return ("exchange", account), ("margin", account + ASIDE)

    def wallets(self, account: str) -> Array:
        found = []
        for kind, name in self.accounts(account):
            held = self.floor.exchange.clearing.accounts.get(name)
            for code, wallet in () if held is None else held.wallets.items():
                word = rows.currency(code, derivative=kind == "margin")
                found.append(rows.wallet_row(kind, word, wallet.total, wallet.free))
        return found

    def visible(self, account: str) -> list[Ticket]:
        names = {name for _, name in self.accounts(account)}
        return [
            each
            for each in self.tickets.values()
            if each.work.account in names and self._shown(each.work)
        ]

    def _shown(self, work: Working) -> bool:
        """Whether an order is shown; one that was never matched here (post-only) always is."""
        account = self.floor.exchange.clearing.accounts[work.account]
        known = work.id in account.orders or work.id in account.ended
        return not known or self.floor.work(work.account, work.id) is not None

    def _fills(self, ticket: Ticket) -> list[Filled]:
        fills = self.floor.fills(ticket.work.account)
        return [each for each in fills if each.exchange_order_id == ticket.work.id]

    def row(self, ticket: Ticket) -> Array:
        return rows.order_row(ticket, self._fills(ticket))

    def open_rows(self, account: str, values: Mapping[str, Any], symbol: str | None) -> Array:
        found = self.chosen(account, values, symbol, ended=False)
        return [self.row(each) for each in reversed(found)]

    def chosen(
        self, account: str, values: Mapping[str, Any], symbol: str | None, *, ended: bool
    ) -> list[Ticket]:
        if symbol is not None:
            self.market(symbol)
        ids = values.get("id")
        if not isinstance(ids, list | None):
            raise Refusal(10_020, "id: invalid")
        return [
            each
            for each in self.visible(account)
            if each.work.status.ended is ended
            and (symbol is None or rows.symbol_id(each.market) == symbol)
            and (ids is None or each.id in ids)
        ]

    def position_rows(self, account: str) -> Array:
        name = account + ASIDE
        if name not in self.floor.exchange.clearing.accounts:
            return []
        return [
            rows.position_row(each, self.floor.markets[each.symbol], position_id(each.symbol))
            for each in self.floor.positions(name)
        ]

    def submit(self, account: str, values: Mapping[str, Any]) -> Ticket:
        held = self.market(values.get("symbol"))
        word = str(values.get("type", ""))
        exchange, bare = word.startswith("EXCHANGE "), word.removeprefix("EXCHANGE ")
        if bare not in rows.TYPES:
            raise Refusal(10_020, "type: invalid")
        if exchange is held.contract:
            raise Refusal(10_001, f"Invalid order: {word} is not possible on {rows.pair_id(held)}")
        kind, in_force = rows.TYPES[bare]
        amount = decimal_of(values, "amount")
        if not amount:
            raise Refusal(10_001, "amount: invalid")
        flags = int(values.get("flags") or 0)
        if flags & ~rows.KNOWN_FLAGS:
            raise Refusal(10_020, "flags: invalid")
        price = rows.cut(decimal_of(values, "price") or ZERO) or None
        limit = rows.cut(decimal_of(values, "price_aux_limit") or ZERO) or None
        ts = self.floor.now()
        side = Side.BUY if amount > 0 else Side.SELL
        work = Working(
            id="",
            account=account + ASIDE if held.contract else account,
            client_id=None,
            symbol=held.symbol,
            side=side,
            type=kind,
            amount=abs(amount),
            price=limit if kind is OrderType.STOP_LIMIT else price if kind.priced else None,
            stop_price=price if kind.triggered else None,
            trailing_amount=decimal_of(values, "price_trailing"),
            time_in_force=in_force,
            post_only=bool(flags & rows.POST_ONLY),
            reduce_only=bool(flags & rows.REDUCE_ONLY),
            created_ts=ts,
            updated_ts=ts,
        )
        if kind.priced and work.price is None:
            raise Refusal(10_001, "Invalid price.")
        draft = Ticket(
            id=0,
            work=work,
            market=held,
            word=word,
            cid=cid_of(values.get("cid"), ts // MS),
            gid=values.get("gid"),
            flags=flags,
        )
        return self._place(draft, values.get("lev"))

    def _place(self, draft: Ticket, leverage: Any) -> Ticket:
        """Hand an order to the matching; a post-only one that would take is taken in and cancelled."""
        work = draft.work
        name = f"b{self.floor.exchange.orders_made + 1}"
        self._drafts[name] = draft
        stops = work.type is not OrderType.TRAILING_STOP
        try:
            made = self.floor.place(
                work.account,
                symbol=work.symbol,
                side=work.side,
                type=work.type,
                amount=work.amount,
                client_id=name,
                price=work.price,
                stop_price=work.stop_price if stops else None,
                trailing_amount=work.trailing_amount,
                time_in_force=work.time_in_force,
                post_only=work.post_only,
                reduce_only=work.reduce_only,
                leverage=None if leverage is None else Decimal(str(leverage)),
            )
        except VenueRejected as error:
            rule = str((error.details or {}).get("rule"))
            if rule != "post_only" or not work.type.priced:
                raise self._refusal(rule, draft, error) from None
            self.floor.exchange.orders_made += 1
            work.id = f"x-{self.floor.exchange.orders_made}"
            work.status, work.reason = Status.CANCELED, "post_only"
            draft.id = number_of(work.id)
            self.tickets[draft.id] = draft
            self._tell(work.account, "on", self.row(draft))
            self._tell(work.account, "oc", self.row(draft))
            return draft
        finally:
            self._drafts.pop(name, None)
        return self.tickets.get(number_of(made.id)) or self._ticket(made, draft)

    def _refusal(self, rule: str, draft: Ticket, error: VenueRejected) -> Refusal:
        work, held = draft.work, draft.market
        pair = f"{held.base}/{held.quote}"
        match rule:
            case "insufficient_funds":
                kind = "tradable" if held.contract else "exchange"
                amount = rows.plain(rows.signed(work.side.value, work.amount))
                at = rows.plain(work.price or ZERO)
                text = f"not enough {kind} balance for {amount} {rows.pair_id(held)} at {at}"
            case "min_amount":
                text = f"minimum size for {pair} is {rows.plain(held.min_amount or ZERO)}"
            case "max_amount" | "max_market_amount":
                text = f"maximum size for {pair} is {rows.plain(held.max_amount or ZERO)}"
            case "not_found":
                return Refusal(10_001, "Order not found.")
            case "reduce_only":
                text = "reduce-only order would not reduce a position"
            case _:
                text = error.message
        return Refusal(10_001, f"Invalid order: {text}")

    def _ticket(self, work: Working, draft: Ticket | None = None) -> Ticket:
        """An order's ticket, made when it is first needed; orders that came another way have one too."""
        number = number_of(work.id)
        ticket = self.tickets.get(number)
        if ticket is None:
            draft = draft or self._drafts.get(work.client_id or "")
            if draft is None:
                word = work.type.value.upper().replace("_", " ")
                held = self.floor.markets[work.symbol]
                draft = Ticket(
                    id=0,
                    work=work,
                    market=held,
                    word=word if held.contract else f"EXCHANGE {word}",
                    cid=work.created_ts // MS,
                )
            draft.id, draft.work = number, work
            ticket = self.tickets[number] = draft
        return ticket

    def named(self, account: str, values: Mapping[str, Any]) -> Ticket:
        """An open order by id, or by the client's id and its day."""
        number, cid, day = values.get("id"), values.get("cid"), values.get("cid_date")
        for each in self.visible(account):
            if each.work.status.ended:
                continue
            if number is not None and each.id == int(number):
                return each
            if number is None and cid is not None and each.cid == int(cid) and day == day_of(each):
                return each
        raise Refusal(10_001, "Order not found.")

    def named_all(self, account: str, values: Mapping[str, Any]) -> list[Ticket]:
        ids, gids = values.get("id") or [], values.get("gid") or []
        return [
            each
            for each in self.visible(account)
            if not each.work.status.ended
            and (values.get("all") or each.id in ids or each.gid in gids)
        ]

    def cancel(self, ticket: Ticket) -> None:
        try:
            self.floor.cancel(ticket.work.account, ticket.work.id)
        except VenueRejected as error:
            raise self._refusal("not_found", ticket, error) from None

    def update(self, account: str, values: Mapping[str, Any]) -> Ticket:
        ticket = self.named(account, values)
        work = ticket.work
        amount, delta = decimal_of(values, "amount"), decimal_of(values, "delta")
        if amount is not None and (amount > 0) is not (work.side is Side.BUY):
            raise Refusal(10_001, "Invalid order: amount has the wrong side")
        total = None if amount is None else abs(amount)
        if delta is not None:
            total = work.amount + abs(delta) * (1 if (delta > 0) is (work.side is Side.BUY) else -1)
        price = rows.cut(decimal_of(values, "price") or ZERO) or None
        limit = rows.cut(decimal_of(values, "price_aux_limit") or ZERO) or None
        waits = work.type.triggered and not work.live
        try:
            self.floor.amend(
                work.account,
                work.id,
                amount=total,
                price=limit if waits else price,
                stop_price=price if waits else None,
            )
        except VenueRejected as error:
            rule = str((error.details or {}).get("rule"))
            raise self._refusal(rule, ticket, error) from None
        return ticket

    def worth(self, account: str) -> Array:
        total = sum((wallet.total for wallet in self._quotes(account)), ZERO)
        return [rows.number(total), rows.number(total)]

    def _quotes(self, account: str) -> list[Any]:
        accounts = self.floor.exchange.clearing.accounts
        return [
            wallet
            for _, name in self.accounts(account)
            if name in accounts
            for code, wallet in accounts[name].wallets.items()
            if code in {"USD", "USDT"}
        ]

    def tell_worth(self, account: str) -> None:
        self._tell(account, "bu", self.worth(account.removesuffix(ASIDE)))

    def _on_account(self, account: str, events: Sequence[VenueEvent]) -> None:
        held = self.floor.exchange.clearing.accounts[account]
        settled: list[Array] = []
        changed = False
        with localcontext(MONEY):
            for event in events:
                match event:
                    case OrderSeen():
                        name = event.exchange_order_id
                        work = held.orders.get(name) or held.ended.get(name)
                        if work is not None:
                            self._on_order(account, self._ticket(work), event)
                    case Filled():
                        name = event.exchange_order_id
                        ticket = self._ticket(held.orders.get(name) or held.ended[name])
                        self._tell(account, "te", rows.fill_row(event, ticket, whole=False))
                        settled.append(rows.fill_row(event, ticket))
                    case BalanceSeen():
                        changed = True
                        self._on_balance(account, event)
                    case PositionSeen():
                        self._on_position(account, event)
                    case _:
                        pass  # transfers show in balances
            for row in settled:
                self._tell(account, "tu", row)
            if changed:
                self.tell_worth(account)

    def _on_order(self, account: str, ticket: Ticket, event: OrderSeen) -> None:
        """`on`, `ou` or `oc`; what ends in the moment it comes is only told as ended, behind its trades."""
        work = ticket.work
        if ticket.told is None and not event.status.ended:
            ticket.told = (
                work.amount,
                work.price,
                work.stop_price,
                event.filled,
                Status.OPEN,
                work.live,
            )
            if not work.status.ended:
                self._tell(account, "on", rows.submitted_row(ticket))
        elif ticket.told != ticket.terms:
            ticket.told = ticket.terms
            self._tell(account, "oc" if work.status.ended else "ou", self.row(ticket))

    def _on_balance(self, account: str, event: BalanceSeen) -> None:
        kind = "margin" if account.endswith(ASIDE) else "exchange"
        code = event.balance.currency
        wallet = self.floor.exchange.clearing.accounts[account].wallet(code)
        word = rows.currency(code, derivative=kind == "margin")
        self._tell(account, "wu", rows.wallet_row(kind, word, wallet.total, wallet.free))

    def _on_position(self, account: str, event: PositionSeen) -> None:
        position = event.position
        before = self._positions.get((account, position.symbol), ZERO)
        self._positions[account, position.symbol] = position.amount
        if not (before or position.amount):
            return
        kind = "pc" if not position.amount else "pu" if before else "pn"
        held = self.floor.markets[position.symbol]
        self._tell(account, kind, rows.position_row(position, held, position_id(position.symbol)))

    def order(self, account: str, kind: str, values: Mapping[str, Any]) -> Array:
        """Carry a request for orders out (`on`, `ou`, `oc`, `oc_multi`), and note it.

        Raises:
            Refusal: It is not possible.
        """
        match kind:
            case "on":
                ticket = self.submit(account, values)
                return self.noted("on-req", rows.submitted_row(ticket), submitting(ticket))
            case "ou":
                ticket = self.update(account, values)
                return self.noted("ou-req", self.row(ticket), updating(ticket))
            case "oc":
                ticket = self.named(account, values)
                row = self.row(ticket)
                self.cancel(ticket)
                text = f"Submitted for cancellation; waiting for confirmation (ID: {ticket.id})."
                return self.noted("oc-req", row, text)
            case "oc_multi":
                found = self.named_all(account, values)
                rows_ = [self.row(each) for each in found]
                for each in found:
                    self.cancel(each)
                return self.noted(
                    "oc_multi-req", rows_, f"Submitting {len(found)} order cancellations."
                )
            case _:
                raise Refusal(10_020, f"{kind}: unknown")

    def _tell(self, account: str, kind: str, data: Any) -> None:
        owner = account.removesuffix(ASIDE)
        if self._held is not None:
            self._held.append((owner, kind, data))
            return
        for listener in self.listeners:
            listener(owner, kind, data)


def decimal_of(values: Mapping[str, Any], name: str) -> Decimal | None:
    """A number of a request."""
    raw = values.get(name)
    if raw is None:
        return None
    try:
        value = Decimal(str(raw))
    except ArithmeticError:
        raise Refusal(10_001, f"{name}: invalid") from None
    if not value.is_finite():
        raise Refusal(10_001, f"{name}: invalid")
    return value


def cid_of(raw: object, otherwise: int) -> int:
    """A client's id: a number below 2^45; not checked for being unique, as it is there."""
    if raw is None:
        return otherwise
    text = str(raw)
    if not text.isdecimal() or int(text) >= rows.MAX_CID:
        raise Refusal(10_020, "cid: invalid")
    return int(text)


def day_of(ticket: Ticket) -> str:
    """The day (UTC) an order was made."""
    return f"{datetime.fromtimestamp(ticket.work.created_ts // 1_000_000_000, UTC):%Y-%m-%d}"


def position_id(symbol: str) -> int:
    """A number for a position."""
    return 142_000_000 + sum(symbol.encode())


def submitting(ticket: Ticket) -> str:
    """What Bitfinex says to an order."""
    work = ticket.work
    amount = rows.plain(work.amount)
    return f"Submitting {ticket.word.lower()} {work.side} order for {amount} {ticket.market.base}."


def updating(ticket: Ticket) -> str:
    """What Bitfinex says to a change."""
    work = ticket.work
    amount = rows.plain(work.amount)
    return (
        f"Submitting update to {ticket.word.lower()} {work.side} order for {amount} "
        f"{ticket.market.base}."
    )
