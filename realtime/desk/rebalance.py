"""Plans that bring a portfolio to its targets: written down, sent row by row, followed to their end.

Rules of this file: (1) an order of a plan is one of everybody's: it goes through the one way in and the same gate;
(2) its client's id is made of the plan's id and the row's number, so sending it again sends nothing new; (3) a row
is on its way to the disk before its order is; (4) sells come first, and where one of them did not sell all it
should, nothing is bought: what was to pay for it is not there; (5) a buy is cut to what the gate passes, when it is
planned and again when it is sent, for prices have moved; (6) a plan that was cut off goes on while it is
young, else it ends and says what it did not do.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Any, Final

import orjson

from realtime.desk.codec import dumps
from realtime.desk.crew import Crew
from realtime.desk.desk import Desk
from realtime.desk.fit import MEANS, SIZES, fit
from realtime.desk.trading import Trading
from realtime.engine.allocation import Change, Holding
from realtime.engine.engine import Engine
from realtime.engine.market import text
from realtime.engine.rows import money
from realtime.model.errors import Code, Refused
from realtime.model.events import Place, Who
from realtime.model.market import MONEY, MS, SECOND, ZERO
from realtime.model.orders import Order, OrderType, Role, Side, Status
from realtime.model.principal import TokenLimits, limits_of
from realtime.store.rows import Projection


KIND: Final = "Plan"
"""Kind of a journal row that is a plan as it is then."""
KEPT: Final = 1_000
"""Plans that are remembered."""
POLL_S: Final = 0.2
"""How often orders under way are looked at: nobody tells when the last of many ends."""
YOUNG_S: Final = 900
"""How long after it was made a plan may still send orders: its prices are of then [s]."""
PASSING: Final = frozenset({Code.BUSY, Code.RATE_LIMITED})
"""Refusals that pass by themselves."""
WAIT_S: Final = 1.0
NANO: Final = Decimal("1e-9")
"""Grid on which amounts of a market are shown that is not there any more."""


class State(StrEnum):
    """How far a plan is."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One change of a plan and what came of it.

    Attributes:
        change: As planned.
        amount: To be sent, unsigned [base, contracts]; what the gate would not have passed is cut off.
        status: `hold`, `waiting`, `refused`, `skipped`, or that of its order.
        filled: [base, contracts]; average: [quote], None while nothing has filled.
        code: Of a refusal; note: why it was refused, skipped or cut.
    """

    change: Change
    amount: Decimal
    client_order_id: str | None = None
    order_id: str | None = None
    status: str = "hold"
    filled: Decimal = ZERO
    average: Decimal | None = None
    code: str | None = None
    note: str | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in {"hold", "refused", "skipped"} or (
            self.status != "waiting" and Status(self.status).ended
        )

    @property
    def fine(self) -> bool:
        """Whether all of it is done."""
        return self.status in {"hold", "filled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan.

    Attributes:
        value: Of the portfolio when it was made [valuation currency].
        content: What was asked, for the comparison with repeats.
        order_type: `market` or `limit`.
        ts, ended_ts: [ns].
        reason: Why it did not do all of it.
        limits: Of the token that asked for it: they hold of its orders in every later process, too.
    """

    id: str
    state: State
    value: Decimal
    order_type: str
    content: Mapping[str, Any]
    subject: str
    client: str
    ts: int
    rows: tuple[Row, ...]
    ended_ts: int | None = None
    reason: str | None = None
    limits: TokenLimits | None = None

    @property
    def who(self) -> Who:
        """Who its orders are of."""
        return Who(subject=self.subject, client=self.client, source="rebalance", limits=self.limits)


# --- making ---------------------------------------------------------------------------------------


def holdings(engine: Engine, symbols: Iterable[str]) -> dict[str, Holding]:
    """Value what is held and what is wanted.

    Args:
        engine: To be read.
        symbols: Wanted ones, unified, in order; their places name a refusal.

    Raises:
        Refused: `venue_unavailable` without a price; `not_supported` for a coin that is held by another pair.
    """
    held = {p.symbol: p for p in engine.positions.values() if p.amount}
    homes = {
        engine.markets[symbol].base: symbol
        for symbol in held
        if not engine.markets[symbol].contract
    }
    found: dict[str, Holding] = {}
    places: dict[str, str] = {symbol: f"targets.{at}.symbol" for at, symbol in enumerate(symbols)}
    for symbol in [*places, *(symbol for symbol in held if symbol not in places)]:
        market = engine.markets[symbol]
        home = homes.get(market.base, symbol)
        if not market.contract and home != symbol:
            text_ = f"{market.base} is held as {home}; name that"
            raise Refused(Code.NOT_SUPPORTED, text_, {"field": places[symbol]})
        mark, worth = engine.mark(symbol), engine.worth(market.cash)
        if mark is None or worth is None or mark[0] <= 0 or worth <= 0:
            field = places.get(symbol, symbol)
            raise Refused(
                Code.VENUE_UNAVAILABLE,
                f"no price of {symbol} yet",
                {"symbol": symbol, "field": field},
                retry_after=1.0,
            )
        position = held.get(symbol)
        found[symbol] = Holding(
            market=market,
            amount=ZERO if position is None else position.amount,
            price=mark[0],
            worth=worth,
        )
    return found


def rows_of(plan_id: str, changes: Sequence[Change]) -> tuple[Row, ...]:
    """Make the rows of a plan."""
    return tuple(
        Row(change=change, amount=ZERO)
        if change.action == "hold"
        else Row(
            change=change,
            amount=abs(change.amount),
            client_order_id=f"{plan_id}-{number}",
            status="waiting",
        )
        for number, change in enumerate(changes)
    )


# --- carrying out ---------------------------------------------------------------------------------


class Plans:
    """All plans of one desk; one of them runs at a time."""

    def __init__(
        self, *, desk: Desk, trading: Trading, crew: Crew, new_id: Callable[[], str]
    ) -> None:
        """Make it empty; `open` fills it.

        Args:
            desk: Journals, and knows the orders.
            trading: Places.
            crew: Owner of the run.
            new_id: Makes the id of a plan that has none, at most 28 characters.
        """
        self._desk = desk
        self._trading = trading
        self._crew = crew
        self.new_id = new_id
        self._plans: dict[str, Plan] = {}
        self._running: str | None = None

    async def open(self) -> None:
        """Read what the journal has; nothing runs before `resume`."""
        for entry in await self._desk.store.rows("plans", limit=KEPT):
            plan = plan_of(orjson.loads(entry.body))
            self._plans[plan.id] = plan
            if plan.state is State.RUNNING:
                self._running = plan.id

    def resume(self) -> None:
        """Go on with the plan that was cut off, once the account is ready."""
        if self._running is not None:
            self._spawn(self._running)

    def get(self, plan_id: str) -> Plan | None:
        """Give a plan with what its orders have come to by now."""
        plan = self._plans.get(plan_id)
        return None if plan is None else self._looked(plan)

    def fitted(self, plan: Plan) -> Plan:
        """Cut the buys of a new plan to what the gate passes of each; what sells before them frees is not there yet."""
        rows = tuple(self._fitted(plan, number, row) for number, row in enumerate(plan.rows))
        return replace(plan, rows=rows)

    def _fitted(self, plan: Plan, number: int, row: Row) -> Row:
        if row.change.action != "buy":
            return row
        cut = fit(self._desk.engine, self._placing(plan, number, row), self._desk.now(), SIZES)
        if not cut.rules:
            return row
        return self._cut(row, cut.placing.order.amount, cut.rules, planned=True)

    def judged(self, plan: Plan) -> Plan:
        """Say of a new plan what would not be sent now: what the gate refuses whatever is sold before it."""
        rows = [self._judged(plan, number, row) for number, row in enumerate(plan.rows)]
        short = [
            row.change.symbol
            for row in rows
            if row.change.action == "sell" and row.status == "refused"
        ]
        if short:
            rows = [
                replace(row, status="skipped", note=unsold(short))
                if row.change.action == "buy" and row.status == "waiting"
                else row
                for row in rows
            ]
        return replace(plan, rows=tuple(rows))

    def _judged(self, plan: Plan, number: int, row: Row) -> Row:
        if row.status != "waiting":
            return row
        placing = self._placing(plan, number, row)
        placing = replace(placing, ts=self._desk.now())
        if not set(self._desk.engine.refusing(placing)) - (MEANS - SIZES):
            return row
        try:
            self._desk.engine.permit(placing)
        except Refused as refused:
            if refused.code in PASSING:
                return row
            return replace(row, status="refused", code=refused.code.value, note=refused.message)
        return row

    def check_free(self) -> None:
        """Tell whether a new plan could begin.

        Raises:
            Refused: `conflict` while another one runs.
        """
        if self._running is not None:
            raise Refused(
                Code.CONFLICT,
                f"plan {self._running} is still running",
                {"plan_id": self._running},
            )

    def begin(self, plan: Plan) -> Plan:
        """Write a plan down and begin to carry it out; it is on its way when this returns.

        Raises:
            Refused: `conflict` while another one runs; `busy`.
        """
        self.check_free()
        self._desk.check_room()
        plan = replace(plan, state=State.RUNNING)
        self._running = plan.id
        self._save(plan)
        self._desk.note("rebalance", told(plan), plan.who)
        self._spawn(plan.id)
        return plan

    def _spawn(self, plan_id: str) -> None:
        self._crew.spawn(self._run(plan_id), f"plan {plan_id}")

    def _save(self, plan: Plan) -> None:
        self._plans[plan.id] = plan
        if len(self._plans) > KEPT:
            del self._plans[next(iter(self._plans))]
        body = dumps(kept(plan))
        project = [Projection("plans", plan.id, plan.ts, body=body)]
        self._desk.store.append(KIND, plan.id, body, None, project, safety=True)

    def _put(self, plan_id: str, number: int, row: Row) -> None:
        plan = self._plans[plan_id]
        rows = list(plan.rows)
        rows[number] = row
        self._save(replace(plan, rows=tuple(rows)))

    def _looked(self, plan: Plan) -> Plan:
        """Take what orders have come to into their rows."""
        return replace(plan, rows=tuple(self._look(row) for row in plan.rows))

    def _look(self, row: Row) -> Row:
        if row.over or row.client_order_id is None:
            return row
        order = self._desk.engine.orders.by_client_id(row.client_order_id)
        return row if order is None or order.source != "rebalance" else came_to(row, order)

    async def _run(self, plan_id: str) -> None:
        await self._remember(plan_id)
        reason: str | None = None
        for action in ("sell", "buy"):
            numbers = [
                number
                for number, row in enumerate(self._plans[plan_id].rows)
                if row.change.action == action
            ]
            for number in numbers:
                await self._send(plan_id, number)
            await self._followed(plan_id, numbers)
            rows = self._plans[plan_id].rows
            short = [rows[n].change.symbol for n in numbers if not rows[n].fine]
            if action == "sell" and short:
                reason = unsold(short)
                break
        self._end(plan_id, reason)

    async def _remember(self, plan_id: str) -> None:
        """Learn of orders that ended so long ago that only the journal has them."""
        for number, row in enumerate(self._plans[plan_id].rows):
            coid = row.client_order_id
            if coid is None or row.over or self._desk.engine.orders.by_client_id(coid) is not None:
                continue
            entry = await self._desk.store.order(client_order_id=coid)
            if entry is not None:
                self._put(plan_id, number, read_back(row, orjson.loads(entry.body)))

    async def _send(self, plan_id: str, number: int) -> None:
        while True:
            plan = self._plans[plan_id]
            row = self._look(plan.rows[number])
            if row.status != "waiting":
                return
            if self._desk.now() - plan.ts > YOUNG_S * SECOND:
                note = f"the plan was more than {YOUNG_S // 60} minutes old"
                self._put(plan_id, number, replace(row, status="skipped", note=note))
                return
            try:
                self._place(plan, number, row)
            except Refused as refused:
                if refused.code not in PASSING:
                    self._refused(plan_id, number, refused)
                    return
                await asyncio.sleep(refused.retry_after or WAIT_S)
            else:
                return

    def _place(self, plan: Plan, number: int, row: Row) -> None:
        placing = self._placing(plan, number, row)
        if row.change.action == "buy":
            cut = fit(self._desk.engine, placing, self._desk.now())
            placing = cut.placing
            if cut.rules:
                self._put(plan.id, number, self._cut(row, placing.order.amount, cut.rules))
        self._trading.place(placing, _nothing, _nothing)

    def _placing(self, plan: Plan, number: int, row: Row) -> Place:
        """Make the draft of a row.

        Raises:
            Refused: `not_found`, when the market is gone.
        """
        change = row.change
        market = self._desk.engine.markets.get(change.symbol)
        if market is None:
            gone = f"no market {change.symbol} any more"
            raise Refused(Code.NOT_FOUND, gone, {"what": "market"})
        limit = plan.order_type == "limit"
        side = Side(change.action)
        fields: dict[str, object] = {
            "symbol": change.symbol,
            "side": side,
            "type": OrderType.LIMIT if limit else OrderType.MARKET,
            "amount": row.amount,
            "price": change.price if limit else None,
            "reduce_only": change.reduce,
            "role": Role.EXIT if change.reduce else Role.ENTRY,
            "position_type": "swap" if market.contract else "spot",
        }
        order = self._trading.draft(
            who=plan.who, client_order_id=row.client_order_id, fields=fields
        )
        return Place(
            order=order,
            who=plan.who,
            ts=order.created_ts,
            content={"plan": plan.id, "row": str(number)},
            allow_duplicate=True,
        )

    def _cut(self, row: Row, most: Decimal, rules: Sequence[str], *, planned: bool = False) -> Row:
        """Make a row smaller and say by how much and why; one that is only planned tells the smaller amount and its fee."""
        step = self._desk.engine.markets[row.change.symbol].amount_step
        note = f"cut from {text(row.amount, step)} to {text(most, step)}: {', '.join(rules)}"
        change = row.change
        if planned:
            change = replace(change, amount=most, fee=change.fee * most / row.amount)
        return replace(row, change=change, amount=most, note=note)

    def _refused(self, plan_id: str, number: int, refused: Refused) -> None:
        row = self._plans[plan_id].rows[number]
        code, note = refused.code.value, refused.message
        self._put(plan_id, number, replace(row, status="refused", code=code, note=note))

    async def _followed(self, plan_id: str, numbers: Sequence[int]) -> None:
        """Wait until the orders of some rows have ended, and write down what they came to."""
        while True:
            plan = self._looked(self._plans[plan_id])
            if all(plan.rows[number].over for number in numbers):
                self._save(plan)
                return
            await asyncio.sleep(POLL_S)

    def _end(self, plan_id: str, reason: str | None) -> None:
        plan = self._plans[plan_id]
        old = any(row.status == "skipped" for row in plan.rows)
        rows = tuple(
            replace(row, status="skipped", note=reason) if row.status == "waiting" else row
            for row in plan.rows
        )
        short = [row.change.symbol for row in rows if not row.fine]
        state = State.DONE
        if short:
            state = State.PARTIAL if any(row.filled for row in rows) else State.FAILED
            reason = reason or f"not all was traded of {', '.join(short)}"
        if old:
            state = State.INTERRUPTED
        self._running = None
        plan = replace(plan, state=state, rows=rows, ended_ts=self._desk.now(), reason=reason)
        self._save(plan)
        self._desk.note("rebalance", told(plan), plan.who)
        if short:
            self._desk.alert("warning", "rebalance", f"plan {plan.id}: {reason}", told(plan))


def unsold(symbols: Iterable[str]) -> str:
    """Say why nothing is bought."""
    return f"not all was sold of {', '.join(symbols)}: nothing was bought"


def _nothing(_told: object) -> None:
    """Answer nobody: the rows are looked at."""


def came_to(row: Row, order: Order) -> Row:
    """Take what an order has come to."""
    size = row.change.contract_size
    with localcontext(MONEY):
        average = order.cost / (order.filled * size) if order.filled else None
    failed = order.status in {Status.REJECTED, Status.EXPIRED}
    return replace(
        row,
        order_id=order.id,
        status=order.status.value,
        filled=order.filled,
        average=average,
        code=order.code.value if failed and order.code is not None else row.code,
        note=order.reason if failed and order.reason else row.note,
    )


def read_back(row: Row, raw: Mapping[str, Any]) -> Row:
    """Take what the row of a forgotten order says."""
    average = raw.get("average")
    return replace(
        row,
        order_id=str(raw["id"]),
        status=str(raw["status"]),
        filled=Decimal(str(raw["filled"])),
        average=None if average is None else Decimal(str(average)),
    )


# --- on the wire and in the journal ---------------------------------------------------------------


def told(plan: Plan) -> dict[str, object]:
    """Make the data of an event."""
    return {
        "plan_id": plan.id,
        "status": plan.state.value,
        "orders": sum(row.client_order_id is not None for row in plan.rows),
        "filled": sum(row.status == "filled" for row in plan.rows),
        "reason": plan.reason,
    }


def shown(plan: Plan, engine: Engine) -> dict[str, object]:
    """Make the answer that shows a plan."""
    sent = [row for row in plan.rows if row.client_order_id is not None]
    return {
        "plan_id": plan.id,
        "status": plan.state.value,
        "portfolio_value": money(plan.value),
        "valuation_currency": engine.valuation_currency,
        "order_type": plan.order_type,
        "actions": [_shown_row(row, engine) for row in plan.rows],
        "progress": {
            "orders": len(sent),
            "ended": sum(row.over for row in sent),
            "filled": sum(row.status == "filled" for row in sent),
        },
        "reason": plan.reason,
        "ts": plan.ts // MS,
        "ended_ts": None if plan.ended_ts is None else plan.ended_ts // MS,
    }


def _shown_row(row: Row, engine: Engine) -> dict[str, object]:
    change, market = row.change, engine.markets.get(row.change.symbol)
    # Of a market that is gone by now the plan still tells its own numbers.
    step = NANO if market is None else market.amount_step
    tick = NANO if market is None else market.price_tick
    return {
        "symbol": change.symbol,
        "current_weight": float(change.current_weight),
        "target_weight": float(change.target_weight),
        "difference": float(change.difference),
        "action": change.action,
        "amount": text(change.amount, step),
        "price": text(change.price, tick),
        "value": money(change.value),
        "fee": money(change.fee),
        "reason": change.reason,
        "client_order_id": row.client_order_id,
        "order_id": row.order_id,
        "status": row.status,
        "filled": text(row.filled, step),
        "average": money(row.average),
        "code": row.code,
        "note": row.note,
    }


def kept(plan: Plan) -> dict[str, object]:
    """Make what is written to the journal; limits only where there are some, for older programs know none."""
    limits = {} if plan.limits is None else {"limits": plan.limits.row()}
    return {
        **limits,
        "id": plan.id,
        "state": plan.state.value,
        "value": str(plan.value),
        "order_type": plan.order_type,
        "content": dict(plan.content),
        "subject": plan.subject,
        "client": plan.client,
        "ts": plan.ts,
        "ended_ts": plan.ended_ts,
        "reason": plan.reason,
        "rows": [
            {
                "change": {
                    name: str(value) if isinstance(value, Decimal) else value
                    for name, value in row.change.as_dict().items()
                },
                "amount": str(row.amount),
                "client_order_id": row.client_order_id,
                "order_id": row.order_id,
                "status": row.status,
                "filled": str(row.filled),
                "average": None if row.average is None else str(row.average),
                "code": row.code,
                "note": row.note,
            }
            for row in plan.rows
        ],
    }


MONEYS: Final = (
    "current_weight",
    "target_weight",
    "difference",
    "amount",
    "price",
    "value",
    "fee",
    "contract_size",
)


def plan_of(raw: Mapping[str, Any]) -> Plan:
    """Read a plan back."""
    rows = []
    for row in raw["rows"]:
        change: dict[str, Any] = {
            name: Decimal(value) if name in MONEYS else value
            for name, value in row["change"].items()
        }
        average = row["average"]
        made = {
            **row,
            "change": Change(**change),
            "amount": Decimal(row["amount"]),
            "filled": Decimal(row["filled"]),
            "average": None if average is None else Decimal(average),
        }
        rows.append(Row(**made))
    return Plan(
        **{
            **raw,
            "state": State(raw["state"]),
            "value": Decimal(raw["value"]),
            "rows": tuple(rows),
            "limits": limits_of(raw.get("limits", {})),
        }
    )
