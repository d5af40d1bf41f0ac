"""What the emulated Kraken knows of orders: names, tickets, executions, fees; REST and sockets stand on it.

Rules of this file:
1 The matching knows an order by our txid; `cl_ord_id` and `userref` are kept here, as they are unique among open orders.
2 Both sides of a trade pay in quote currency: markets charge nothing, the fee is taken here.
3 Values of requests come as a mapping with REST's names, whichever way they came.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from realtime.emulate.floor import Floor
from realtime.engine.matching import Working
from realtime.engine.matching.rules import unit_up
from realtime.model.errors import VenueRejected
from realtime.model.events import BalanceSeen, Filled, OrderSeen, VenueEvent
from realtime.model.market import MONEY, SECOND, ZERO, Level
from realtime.model.orders import Side, Status, TimeInForce
from tests.emulated import kraken_rows as rows
from tests.emulated.kraken_rows import Execution, Pair, Refusal, Row, Ticket


OnRow = Callable[[str, Row], None]
"""Told (account, row of a private stream)."""
WHOLE = 10_000
NUMBERS = {"limit_price", "order_qty", "trigger_price"}


@dataclass(kw_only=True)
class Draft:
    """An order as a request wishes it."""

    pair: Pair
    side: Side
    word: str
    volume: Decimal
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trailing_amount: Decimal | None = None
    trailing_rate: Decimal | None = None
    viqc: bool = False
    post_only: bool = False
    reduce_only: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_ts: int | None = None
    userref: int | None = None
    cl_ord_id: str | None = None
    validate: bool = False


class Desk:
    """Orders and money of every account.

    Args:
        floor: Not open yet; its markets charge no fees.
        maker, taker: Fee rates, 0..1.

    Attributes:
        by_name: Pairs by all of their names.
        tickets: By account and txid.
        executions: By account and execution id.
        on_execution, on_ledger: Told rows of the two private streams.
    """

    def __init__(self, floor: Floor, *, maker: Decimal, taker: Decimal) -> None:
        self.floor = floor
        self.faults = floor.faults
        self.maker = maker
        self.taker = taker
        self.by_name: dict[str, Pair] = {}
        self.tickets: dict[str, dict[str, Ticket]] = {}
        self.executions: dict[str, dict[str, Execution]] = {}
        self.on_execution: list[OnRow] = []
        self.on_ledger: list[OnRow] = []
        self._drafts: dict[str, Draft] = {}
        self._count = 0
        self._ledger = 0
        self._dead: dict[str, asyncio.TimerHandle] = {}
        self._wallets: dict[tuple[str, str], Decimal] = {}
        floor.on_account.append(self._on_account)

    def open(self) -> None:
        """Learn the markets of the floor, which is open."""
        self.by_name = rows.crossing(rows.pair_of(each) for each in self.floor.markets.values())
        self._count = self.floor.now()

    def close(self) -> None:
        """Let no timer fire any more."""
        for waiting in self._dead.values():
            waiting.cancel()

    @property
    def pairs(self) -> list[Pair]:
        """Every market once."""
        return [self.by_name[symbol] for symbol in self.floor.markets]

    def now(self) -> int:
        """The time of this exchange [ns]; its clock may be wrong."""
        return self.floor.now() + self.faults.clock_ms * 1_000_000

    def pair(self, name: object) -> Pair:
        """A pair by any of its names.

        Raises:
            Refusal: There is none.
        """
        pair = self.by_name.get(str(name))
        if pair is None:
            raise Refusal("EQuery:Unknown asset pair")
        return pair

    def levels(self, pair: Pair, side: Side, count: int) -> list[Level]:
        """The best levels of a side, with the digits that are sent."""
        return rows.texts(self.floor.levels(pair.name, side, count), pair)

    def visible(self, account: str) -> list[Ticket]:
        """Tickets of orders that are shown, oldest first."""
        tickets = self.tickets.get(account, {}).values()
        return [each for each in tickets if self.floor.work(account, each.work.id) is not None]

    def executions_of(self, account: str) -> list[Execution]:
        """Fills of orders that are shown, oldest first."""
        shown = {each.exchange_order_id for each in self.floor.fills(account)}
        executions = self.executions.get(account, {}).values()
        return [each for each in executions if each.fill.exchange_order_id in shown]

    def name(self, draft: Draft, values: Mapping[str, Any]) -> None:
        """What the client calls an order: a number, or a text, not both."""
        userref, cl_ord_id = values.get("userref"), values.get("cl_ord_id")
        userref = values.get("order_userref", userref)
        if userref is not None and cl_ord_id is not None:
            raise Refusal("EGeneral:Invalid arguments:cl_ord_id and userref are exclusive")
        if userref is not None:
            try:
                draft.userref = int(userref)
            except ValueError:
                raise Refusal("EGeneral:Invalid arguments:userref") from None
        if cl_ord_id is not None:
            draft.cl_ord_id = rows.check_cl_ord_id(str(cl_ord_id))

    def check_deadline(self, values: Mapping[str, Any]) -> None:
        raw = values.get("deadline")
        if raw is not None and rows.from_iso(str(raw)) < self.now():
            raise Refusal("EService:Deadline elapsed")

    def place(self, account: str, draft: Draft) -> Ticket:
        """Hand an order to the matching."""
        kind, market_ = rows.TYPES[draft.word], draft.pair.market
        if draft.cl_ord_id is not None and any(
            each.cl_ord_id == draft.cl_ord_id and not each.work.status.ended
            for each in self.tickets.get(account, {}).values()
        ):
            raise Refusal("EGeneral:Invalid arguments:cl_ord_id not unique")
        if kind.priced and draft.price is None:
            raise Refusal("EGeneral:Invalid arguments:price")
        if draft.side is Side.BUY:
            self._afford(account, draft)
        self._count += 1
        txid = rows.token("O", account, str(self._count))
        if draft.validate:
            ts = self.floor.now()
            work = Working(
                id=txid, account=account, client_id=txid, symbol=market_.symbol, side=draft.side,
                type=kind, amount=draft.volume, price=draft.price, stop_price=draft.stop_price,
                created_ts=ts, updated_ts=ts,
            )  # fmt: skip
            return self._ticket_of(txid, work, draft)
        self._drafts[txid] = draft
        try:
            work = self.floor.place(
                account,
                symbol=market_.symbol,
                side=draft.side,
                type=kind,
                amount=ZERO if draft.viqc else draft.volume,
                client_id=txid,
                price=draft.price,
                stop_price=draft.stop_price,
                trailing_amount=draft.trailing_amount,
                trailing_rate=draft.trailing_rate,
                cost=draft.volume if draft.viqc else None,
                time_in_force=draft.time_in_force,
                good_till_ts=draft.expire_ts,
                post_only=draft.post_only,
                reduce_only=draft.reduce_only,
            )
            return self._ticket(account, work)
        finally:
            self._drafts.pop(txid, None)

    def _afford(self, account: str, draft: Draft) -> None:
        """Refuse a buy whose fee could not be paid, beside the fees of the other buys."""
        wallet = self.floor.exchange.clearing.accounts[account].wallet(draft.pair.market.quote)
        reserved = sum(
            (
                each.work.remaining * each.work.dearest * self.taker
                for each in self.tickets.get(account, {}).values()
                if not each.work.status.ended
                and each.work.side is Side.BUY
                and each.pair.market.quote == draft.pair.market.quote
            ),
            ZERO,
        )
        limit = draft.price or draft.stop_price
        if draft.viqc:
            cost = draft.volume
        elif limit is not None:
            cost = draft.volume * limit
        else:
            cost, left = ZERO, draft.volume
            for price, amount in self.floor.levels(draft.pair.name, Side.SELL, WHOLE):
                take = min(left, Decimal(amount))
                cost += take * Decimal(price)
                left -= take
        if cost * (1 + self.taker) + reserved > wallet.free:
            raise Refusal("EOrder:Insufficient funds")

    def _ticket_of(self, txid: str, work: Working, draft: Draft | None) -> Ticket:
        draft = draft or Draft(
            pair=self.by_name[work.symbol],
            side=work.side,
            word=rows.WORDS[work.type],
            volume=work.amount,
        )
        return Ticket(
            txid=txid,
            work=work,
            pair=draft.pair,
            userref=draft.userref,
            cl_ord_id=draft.cl_ord_id,
            word=draft.word,
            expire_ts=draft.expire_ts,
            fills=[],
            viqc=draft.volume if draft.viqc else None,
        )

    def _ticket(self, account: str, work: Working) -> Ticket:
        """An order's ticket, made when it is first needed; orders that came another way have one too."""
        tickets = self.tickets.setdefault(account, {})
        name = work.client_id or ""
        txid = name if name in self._drafts or name in tickets else rows.token("O", work.id)
        ticket = tickets.get(txid)
        if ticket is None:
            ticket = tickets[txid] = self._ticket_of(txid, work, self._drafts.get(txid))
        return ticket

    def named(self, account: str, values: Mapping[str, Any]) -> list[Ticket]:
        """Open orders by txid, cl_ord_id or userref.

        Raises:
            Refusal: There is none.
        """
        open_ones = [each for each in self.visible(account) if not each.work.status.ended]
        name = values.get("txid", values.get("order_id"))
        cl_ord_id, userref = values.get("cl_ord_id"), values.get("order_userref")
        found = [
            each
            for each in open_ones
            if each.txid == name
            or (name is not None and str(each.userref) == str(name))
            or (cl_ord_id is not None and each.cl_ord_id == cl_ord_id)
            or (userref is not None and each.userref == userref)
        ]
        if not found:
            raise Refusal("EOrder:Unknown order")
        return found

    def amend(self, account: str, values: Mapping[str, Any]) -> Row:
        self.check_deadline(values)
        ticket = self.named(account, values)[0]
        wanted = {name: rows.decimal_of(values, name) for name in NUMBERS}
        if not any(value is not None for value in wanted.values()):
            raise Refusal("EGeneral:Invalid arguments")
        work, passive = ticket.work, ticket.work.post_only
        work.post_only = passive or truth(values.get("post_only"))
        try:
            self.floor.amend(
                account,
                work.id,
                amount=wanted["order_qty"],
                price=wanted["limit_price"],
                stop_price=wanted["trigger_price"],
            )
        except VenueRejected:
            work.post_only = passive
            raise
        self._count += 1
        return {"amend_id": rows.token("T", "amend", str(self._count))}

    def edit(self, account: str, values: Mapping[str, Any]) -> Row:
        """Cancel, and place what remains anew under another id."""
        self.check_deadline(values)
        old = self.named(account, values)[0]
        work = old.work
        draft = Draft(
            pair=old.pair,
            side=work.side,
            word=old.word,
            volume=rows.decimal_of(values, "volume") or work.remaining,
            price=rows.decimal_of(values, "price") or work.price,
            stop_price=work.stop_price,
            post_only=work.post_only,
            reduce_only=work.reduce_only,
            userref=old.userref,
        )
        self.floor.cancel(account, work.id)
        new = self.place(account, draft)
        return {
            "descr": {"order": rows.sentence(new)},
            "txid": new.txid,
            "originaltxid": old.txid,
            "orders_cancelled": 1,
            "status": "ok",
        }

    def cancel(self, account: str, values: Mapping[str, Any]) -> Row:
        found = self.named(account, values)
        for each in found:
            self.floor.cancel(account, each.work.id)
        return {"count": len(found)}

    def cancel_all(self, account: str, _: Mapping[str, Any]) -> Row:
        open_ones = list(self.floor.exchange.clearing.accounts[account].orders)
        for order_id in open_ones:
            self.floor.cancel(account, order_id)
        return {"count": len(open_ones)}

    def cancel_after(self, account: str, values: Mapping[str, Any]) -> Row:
        timeout = int(values.get("timeout", 0))
        waiting = self._dead.pop(account, None)
        if waiting is not None:
            waiting.cancel()
        now, then = self.now(), "0"
        if timeout:
            loop = asyncio.get_running_loop()
            self._dead[account] = loop.call_later(timeout, self.cancel_all, account, {})
            then = rows.iso(now + timeout * SECOND)[:19] + "Z"
        return {"currentTime": rows.iso(now)[:19] + "Z", "triggerTime": then}

    def _on_account(self, account: str, events: Sequence[VenueEvent]) -> None:
        held = self.floor.exchange.clearing.accounts[account]
        with localcontext(MONEY):
            for event in events:
                match event:
                    case OrderSeen():
                        name = event.exchange_order_id
                        work = held.orders.get(name) or held.ended.get(name)
                        if work is not None:
                            self._on_order(account, self._ticket(account, work), event)
                    case Filled():
                        name = event.exchange_order_id
                        self._on_fill(account, held.orders.get(name) or held.ended[name], event)
                    case BalanceSeen():
                        self._on_balance(account, event.balance.currency, event.balance.ts)
                    case _:
                        pass  # transfers show in balances; there are no positions

    def _on_order(self, account: str, ticket: Ticket, event: OrderSeen) -> None:
        told: list[Row] = []
        if ticket.told is None:
            told.append(rows.pending_row(ticket))
            told.append(rows.sparse_row(ticket, "new", "new", event.asof))
        elif ticket.told != ticket.terms and not event.status.ended and ticket.viqc is None:
            told.append(rows.amended_row(ticket, event.asof))
        ticket.told = ticket.terms
        if event.status.ended and not ticket.ended_told:
            ticket.ended_told = True
            ticket.closed_ts = event.asof
            word = {Status.FILLED: "filled", Status.EXPIRED: "expired"}.get(
                event.status, "canceled"
            )
            told.append(rows.sparse_row(ticket, word, word, event.asof))
        for row in told:
            self._told(self.on_execution, account, row)

    def _on_fill(self, account: str, work: Working, fill: Filled) -> None:
        ticket = self._ticket(account, work)
        rate = self.maker if fill.maker else self.taker
        fee = unit_up(fill.price * fill.amount * rate)
        clearing = self.floor.exchange.clearing
        clearing.transfer(
            clearing.accounts[account], ticket.pair.market.quote, -fee, "fee", fill.symbol, fill.ts
        )
        clearing.flush(fill.ts)
        item = Execution(
            exec_id=rows.token("T", account, fill.trade_id, str(len(ticket.fills))),
            trade_id=int(fill.trade_id[2:]),
            fill=fill,
            fee=fee,
            ticket=ticket,
        )
        ticket.fills.append(item)
        ticket.fee += fee
        self.executions.setdefault(account, {})[item.exec_id] = item
        self._told(self.on_execution, account, trade_of(item))

    def _on_balance(self, account: str, currency: str, ts: int) -> None:
        total = self.floor.exchange.clearing.accounts[account].wallet(currency).total
        change = total - self._wallets.get((account, currency), ZERO)
        self._wallets[account, currency] = total
        if not change:
            return  # only what is held has changed: Kraken tells totals
        self._ledger += 1
        row = rows.ledger_row(currency, total, change, self._ledger, ts)
        self._told(self.on_ledger, account, row)

    def _told(self, listeners: list[OnRow], account: str, row: Row) -> None:
        for listener in listeners:
            listener(account, row)


def truth(value: object) -> bool:
    """A flag of a form; Python's clients write it with a capital."""
    return str(value).lower() in {"true", "1"}


def trade_of(item: Execution) -> Row:
    """A fill's row, with the order's sums up to it."""
    fills = item.ticket.fills
    upto = fills[: fills.index(item) + 1]
    return rows.trade_row(
        item,
        cum_qty=sum((each.fill.amount for each in upto), ZERO),
        cum_cost=sum((each.cost for each in upto), ZERO),
    )
