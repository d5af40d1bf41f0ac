"""Ops of the portfolio that decide: weights of strategies, what signals lead to, how to spread, how to get there."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from realtime.commands import naming
from realtime.commands.odds import closed_bars, extreme, true_range, win_of, yearly
from realtime.commands.order import ORDER_ERRORS, Fields, Fraction, Orders
from realtime.commands.params import (
    ChangeParams,
    CommandParams,
    Instant,
    Money,
    Name,
    NotNegative,
    Params,
    Part,
    Positive,
    RequestId,
    Symbol,
    Word,
    invalid,
)
from realtime.commands.portfolio import closes_of, common_returns
from realtime.commands.registry import Answer, Call, Op, error_of, may
from realtime.desk.config.book import ConfigBook
from realtime.desk.desk import Desk
from realtime.desk.fit import Fitted, fit
from realtime.desk.rebalance import Plan, Plans, State, holdings, rows_of, shown
from realtime.desk.trading import Trading
from realtime.desk.weights import effective, weights
from realtime.engine import allocation, rows
from realtime.engine.allocation import CONVENTIONS, Change, Holding, Method, Profile
from realtime.engine.combine import (
    Combined,
    Method as Combining,
    Opinion,
    check_probabilities,
    combine,
)
from realtime.engine.market import down, plain, text, up
from realtime.engine.outcome import BARS, drift
from realtime.engine.rules import check_symbol
from realtime.engine.sizing import Account, Cap, Size, Trade, exact, size, stop_and_target
from realtime.model.errors import Code, Failure, Refused
from realtime.model.events import Place
from realtime.model.market import MS, ZERO, Market
from realtime.model.orders import OrderType, Side
from realtime.model.principal import TRADE
from realtime.model.risk import Backing, Limits
from realtime.model.signals import Action, Ohlcv, Probabilities
from realtime.venues.base import Venue


SIGNALS: Final = 500
"""Signals in one question."""
GRAVE: Final = frozenset({"high", "critical"})
"""Levels of the account at which a risky signal is left alone."""
RISKY: Final = 0.6
DIGITS: Final = 12
"""Weights are rounded to this, so that they can be sent back as numbers."""
HISTORY_DAYS: Final = 30
OF_MOVES: Final = frozenset({"volatility_target", "kelly"})
OF_STOP: Final = frozenset({"fixed_fractional", "min", "kelly"})
"""Methods of sizing that are made of how the price moved, and of where the stop lies."""
MOVE: Final = Decimal("1.002")
"""What a price may move between an allocation and the orders that somebody makes of it."""
Probability = Literal["probability_buy", "probability_sell", "probability_hold"]
PROBABILITIES: Final[tuple[Probability, ...]] = (
    "probability_buy",
    "probability_sell",
    "probability_hold",
)


class SignalItem(Part):
    """What one strategy (`source`) says about one symbol."""

    symbol: Symbol
    signal_type: Literal["buy", "sell", "hold"]
    strength: Fraction | None = None
    confidence: Fraction
    ts: Instant | None = None
    source: Name
    indicators: Annotated[dict[Name, Any], Field(max_length=64)] = Field(default_factory=dict)
    price: Positive | None = None


Signals = Annotated[list[SignalItem], Field(max_length=SIGNALS)]


class ProcessParams(CommandParams):
    """Signals of any symbols; `execute` places what they lead to, at the market, unless `dry_run` is set."""

    signals: Signals
    execute: bool = False
    request_id: RequestId | None = None


class AllocateParams(Params):
    """What to spread over: the buys of signals, or symbols."""

    signals: Signals | None = None
    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=allocation.MOST)] | None = None
    risk_profile: Word[Profile] | None = None
    max_allocation: Fraction | None = None
    method: Word[Method] = Method.CONFIDENCE


class Target(Part):
    """The share of the portfolio's value that a symbol should have, 0..1."""

    symbol: Symbol
    weight: Money


class RebalanceParams(CommandParams):
    """Where the portfolio should be; or the id of a plan alone, to see how far it is."""

    targets: Annotated[list[Target], Field(max_length=allocation.MOST)] | None = None
    dry_run: bool = True
    threshold: NotNegative | None = None
    min_notional: NotNegative | None = None
    order_type: Literal["market", "limit"] = "market"
    close_unlisted: bool = False
    plan_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,28}$")] | None = None


class WeightsParams(ChangeParams):
    """Weights by strategy; of those in use they must sum to one. `version` is that of the configuration."""

    weights: Annotated[dict[Name, Fraction], Field(min_length=1, max_length=64)]
    version: Annotated[int, Field(ge=1)] | None = None


class AutoParams(ChangeParams):
    """Nothing but a name for repeats."""

    request_id: RequestId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What the signals of one symbol lead to.

    Attributes:
        price: The market's now [quote]; None without one.
        placing: The order; None where there is none to place.
        why: Why it should not be executed; None when it should.
    """

    market: Market
    combined: Combined
    size: Size | None
    price: Decimal | None
    placing: Place | None
    why: str | None


class Allocations:
    """The handlers."""

    def __init__(
        self, desk: Desk, trading: Trading, source: Venue, book: ConfigBook, plans: Plans
    ) -> None:
        self._desk = desk
        self._trading = trading
        self._source = source
        self._book = book
        self._plans = plans
        self._orders = Orders(desk, trading)

    # -- weights ---------------------------------------------------------------------------------

    async def weights(self, _call: Call[Params]) -> Answer:
        """Give the weights of all strategies, configured and effective."""
        return Answer(result=await self._weights())

    async def _weights(self) -> Fields:
        counted = await effective(self._desk, self._book)
        return {
            "weights": [
                {
                    "strategy_name": name,
                    "weight": use.weight,
                    "effective_weight": counted.get(name, 0.0),
                    "min_confidence": use.min_confidence,
                    "enabled": use.enabled,
                }
                for name, use in self._book.current.strategies.items()
            ],
            "version": self._book.version,
        }

    async def set_weights(self, call: Call[WeightsParams]) -> Answer:
        """Change configured weights; those in use must sum to one afterwards."""
        params = call.params
        for name in params.weights:
            if name not in self._book.current.strategies:
                raise Refused(Code.NOT_FOUND, f"no strategy {name}", {"what": "strategy"})
        patch = {"strategies": {name: {"weight": w} for name, w in params.weights.items()}}
        changes = self._book.update(patch, params.version, naming.who_of(call))
        await self._desk.settled()
        at = self._desk.outlet.named(("config",)) if changes else None
        return Answer(result=await self._weights() | {"changed": bool(changes)}, at=at)

    async def auto(self, _call: Call[AutoParams]) -> Answer:
        """Weigh anew by what closed trades earned; effective weights are never older than the last of them."""
        dynamic = self._book.current.probability.enable_dynamic_weights
        return Answer(result=await self._weights() | {"dynamic": dynamic})

    # -- signals ---------------------------------------------------------------------------------

    async def _decide(
        self, call: Call[Any], signals: Sequence[SignalItem], limits: Limits
    ) -> list[Decided]:
        """Combine signals by symbol and judge what they lead to, in the order of the symbols."""
        markets = self._desk.engine.markets
        told: dict[str, list[Opinion]] = {}
        for at, item in enumerate(signals):
            symbol = naming.market_of(markets, item.symbol).symbol
            opinion = Opinion(
                strategy=item.source,
                confidence=item.confidence,
                probabilities=probabilities_of(item, at),
            )
            told.setdefault(symbol, []).append(opinion)
        known = weights(self._book, await effective(self._desk, self._book))
        method = Combining(self._book.current.probability.combination_method)
        found: list[Decided] = []
        for symbol, opinions in told.items():
            said, market = combine(opinions, known, method), markets[symbol]
            bars = await self._bars(market, limits) if said.action is not Action.HOLD else []
            found.append(self._decided(call, market, said, limits, bars))
            # Milliseconds each: five hundred symbols may not keep everybody waiting.
            await asyncio.sleep(0)
        return found

    async def _bars(self, market: Market, limits: Limits) -> list[Ohlcv] | str:
        """Read the bars that a size is made of, or say why not; none where the limits in force make it of none."""
        method, timeframe = limits.sizing_method, self._book.current.strategy.timeframe
        if method not in OF_MOVES and (method not in OF_STOP or limits.stop_method == "fraction"):
            return []
        count = max(BARS, limits.lookback) + 2
        try:
            return await closed_bars(self._desk, self._source, market.symbol, timeframe, count)
        except Failure as failure:
            # Nothing of it has been sent yet, and what others say of their symbols stands.
            return f"the bars are not known: {failure}"

    def _decided(
        self,
        call: Call[Any],
        market: Market,
        said: Combined,
        limits: Limits,
        bars: Sequence[Ohlcv] | str,
    ) -> Decided:
        mark = self._desk.engine.mark(market.symbol)
        price = None if mark is None else mark[0]

        def nothing(why: str, made: Size | None = None) -> Decided:
            return Decided(
                market=market, combined=said, size=made, price=price, placing=None, why=why
            )

        if said.action is Action.HOLD:
            return nothing(said.reason or "the combined action is hold")
        side = Side(said.action.value)
        account = self._account(market, side, price)
        worth = self._desk.engine.worth(market.cash)
        if price is None or worth is None or isinstance(account, str):
            return nothing(account if isinstance(account, str) else "the price is not known")
        if isinstance(bars, str):
            return nothing(bars)
        made = self._size(market, side, price, worth, said, account, limits, bars)
        if not made.amount:
            return nothing(made.reason or "the size is zero", made)
        placing = self._placing(call, market, side, made.amount, backing_of(said))
        cut = fit(self._desk.engine, placing, self._desk.now())
        placing = cut.placing
        if cut.rules:
            made = held_down(made, cut, market.contract_size * worth)
        gate = self._orders.judged(placing)
        level = self._desk.engine.risk_view(self._desk.now()).risk_level
        why: str | None = None
        if not gate["valid"]:
            why = str(gate["message"])
        elif level in GRAVE and said.risk_score > RISKY:
            why = f"the account's risk is {level}, the signal's score {said.risk_score:.4g}"
        return Decided(
            market=market, combined=said, size=made, price=price, placing=placing, why=why
        )

    def _account(self, market: Market, side: Side, price: Decimal | None) -> Account | str:
        """Give what a size depends on, or say what is missing."""
        engine = self._desk.engine
        view = engine.risk_view(self._desk.now())
        if view.equity is None or view.equity_start is None or view.daily_pnl is None:
            return view.equity_reason or "the day has not begun"
        selling = not market.contract and side is Side.SELL
        free = engine.free(market.base if selling else market.cash) or ZERO
        worth = engine.worth(market.cash) or ZERO
        # A buy pays its fee out of the same money.
        unit = (price or ZERO) if selling else 1 / (1 + market.taker)
        return Account(
            equity=view.equity,
            equity_start=view.equity_start,
            daily_pnl=view.daily_pnl,
            positions=view.position_count,
            available=free * worth * unit,
        )

    def _size(
        self,
        market: Market,
        side: Side,
        price: Decimal,
        worth: Decimal,
        said: Combined,
        account: Account,
        limits: Limits,
        bars: Sequence[Ohlcv],
    ) -> Size:
        stop, target = stop_and_target(
            limits,
            market,
            side,
            price,
            probabilities=said.probabilities,
            confidence=said.confidence,
            atr=true_range(bars),
            swing=extreme(bars, side, limits.lookback),
        )
        moves = drift([bar.close for bar in bars])
        win = None
        if stop.price is not None and target.price is not None:
            win = win_of(market, price, stop.price, target.price, moves)
        trade = Trade(
            side=side,
            confidence=said.confidence,
            entry=price,
            probabilities=said.probabilities,
            stop=stop.price,
            target=target.price,
            position_size=exact(said.position_size),
            volatility=yearly(moves, self._book.current.strategy.timeframe),
            win=win,
        )
        return size(trade, account, limits, market, worth=worth)

    def _placing(
        self,
        call: Call[Any],
        market: Market,
        side: Side,
        amount: Decimal,
        backing: Backing | None,
    ) -> Place:
        who = naming.who_of(call)
        order = self._trading.draft(
            who=who,
            client_order_id=order_name(call, market.symbol),
            fields={
                "symbol": market.symbol,
                "type": OrderType.MARKET,
                "side": side,
                "amount": amount,
                "position_type": "swap" if market.contract else "spot",
            },
        )
        return Place(order=order, who=who, ts=order.created_ts, backing=backing)

    async def process(self, call: Call[ProcessParams]) -> Answer:
        """Combine signals, size and judge what they lead to, and place it where that is asked."""
        params = call.params
        execute = params.execute and not params.dry_run
        if execute:
            need_trade(call, "execute")
        decided = await self._decide(call, params.signals, self._desk.engine.limits)
        now = self._desk.now()
        actions = []
        combined: Fields = {}
        for one in decided:
            combined[one.market.symbol] = combined_row(one, now)
            row = action_row(one, now)
            if execute and one.why is None and one.placing is not None:
                row["order"] = await self._sent(one.placing)
            actions.append(row)
        result: Fields = {"actions": actions, "combined": combined}
        if params.dry_run:
            sent = [d.market.symbol for d in decided if d.why is None and d.placing is not None]
            symbols = sent if params.execute else []
            result |= {"dry_run": True, "effect": {"orders": len(symbols), "symbols": symbols}}
        return Answer(result=result)

    async def _sent(self, placing: Place) -> Fields:
        """Place one order; what refuses it refuses no other."""
        try:
            # Those before it have taken their part of what there was.
            given = self._orders.send(fit(self._desk.engine, placing, self._desk.now()).placing)
            answer = given if isinstance(given, Answer) else await given
        except Failure as failure:
            return {"client_order_id": placing.order.client_order_id, "error": error_of(failure)}
        return dict(answer.result)

    # -- allocation ------------------------------------------------------------------------------

    async def allocate(self, call: Call[AllocateParams]) -> Answer:
        """Spread the allowed part of the portfolio over symbols."""
        params, section = call.params, self._book.current.portfolio
        if (params.signals is None) == (params.symbols is None):
            raise invalid("symbols", "or signals is required, and only one of them")
        profile = params.risk_profile or Profile(section.risk_profile)
        limits = self._book.limits_for(profile.value)
        names, confidences, left_out = await self._candidates(call, limits)
        parts = await self._shares(params.method, names, confidences)
        most = section.max_allocation if params.max_allocation is None else params.max_allocation
        cap = limits.max_position_size
        found = allocation.allocate(
            parts,
            max_allocation=most,
            profile=profile,
            cap=None if cap is None else float(cap),
        )
        found = [round(weight, DIGITS) for weight in found]
        threshold = exact(section.rebalance_threshold)
        return Answer(
            result={
                "method": params.method,
                "convention": CONVENTIONS[params.method],
                "risk_profile": profile,
                "allocations": await self._allocations(call, names, parts, found, threshold),
                "cash_weight": max(round(1 - sum(found), DIGITS), 0.0),
                "left_out": left_out,
                "risk_summary": self._desk.outlet.risk_summary(),
            }
        )

    async def _candidates(
        self, call: Call[AllocateParams], limits: Limits
    ) -> tuple[list[str], list[float] | None, list[Fields]]:
        """Name the symbols to spread over, their confidences where there are signals, and who is left out."""
        params = call.params
        if params.symbols is not None:
            found: list[str] = []
            for at, given in enumerate(params.symbols):
                symbol = naming.market_of(self._desk.engine.markets, given).symbol
                if symbol in found:
                    raise invalid(f"symbols.{at}", f"names {symbol} twice")
                found.append(symbol)
            return found, None, []
        decided = await self._decide(call, params.signals or (), limits)
        buys = [d for d in decided if d.why is None and d.combined.action is Action.BUY]
        left_out: list[Fields] = [
            {"symbol": d.market.symbol, "reason": why_left_out(d)} for d in decided if d not in buys
        ]
        names = [d.market.symbol for d in buys]
        if len(names) > allocation.MOST:
            raise invalid("signals", f"buy {len(names)} symbols, at most {allocation.MOST} fit")
        return names, [d.combined.confidence for d in buys], left_out

    async def _shares(
        self, method: Method, names: Sequence[str], confidences: Sequence[float] | None
    ) -> list[float]:
        if method is Method.CONFIDENCE and confidences is None:
            raise invalid("method", "confidence needs signals; symbols alone have none")
        if not names:
            return []
        if method is Method.CONFIDENCE and confidences is not None:
            return allocation.shares_of_confidence(confidences)
        if method is Method.EQUAL:
            return allocation.shares_of_confidence([1.0] * len(names))
        closes = await closes_of(
            self._source, names, timeframe="1h", days=HISTORY_DAYS, now=self._desk.now()
        )
        for at, name in enumerate(names):
            count = len(closes[name])
            if count <= allocation.LEAST:
                text_ = f"{name} has {count} bars of 1h, {allocation.LEAST + 1} are needed"
                raise invalid(f"symbols.{at}", text_)
        returns = common_returns(closes)
        if len(returns[0]) < allocation.LEAST:
            text_ = f"have {len(returns[0])} returns in common, {allocation.LEAST} are needed"
            raise invalid("symbols", text_)
        # Fifty symbols are some hundred milliseconds of arithmetic.
        return await asyncio.to_thread(_weighed, method, returns, names)

    async def _allocations(
        self,
        call: Call[AllocateParams],
        names: Sequence[str],
        parts: Sequence[float],
        found: Sequence[float],
        threshold: Decimal,
    ) -> list[Fields]:
        value = self._value()
        engine = self._desk.engine
        held = holdings(engine, names)
        targets = {name: exact(weight) for name, weight in zip(names, found, strict=True)}
        only = {name: held[name] for name in names}
        changes = {
            change.symbol: change
            for change in allocation.plan(only, targets, value=value, threshold=threshold)
        }
        made: list[Fields] = []
        for name, share, weight in zip(names, parts, found, strict=True):
            change, holding = changes[name], held[name]
            notional = targets[name] * value
            step = holding.market.amount_step
            amount, note = down(notional / holding.unit, step), None
            if change.action == "buy":
                amount, note = self._reachable(call, holding, amount)
            # Fifty symbols may not keep everybody waiting.
            await asyncio.sleep(0)
            made.append(
                {
                    "symbol": name,
                    "share": share,
                    "weight": weight,
                    "notional": rows.money(notional),
                    "amount": text(amount, step),
                    "action": change.action,
                    "current_weight": float(change.current_weight),
                    "target_weight": weight,
                    "reason": change.reason,
                    "note": note,
                }
            )
        return made

    def _reachable(
        self, call: Call[AllocateParams], holding: Holding, wanted: Decimal
    ) -> tuple[Decimal, str | None]:
        """Give the amount to hold, cut to what the gate lets one order get to, and what the gate says to it.

        The gate judges an order at worst and not at the price it is valued at.
        """
        market, step = holding.market, holding.market.amount_step
        asked = up((wanted - holding.amount) * MOVE, step)
        if asked <= 0:
            return wanted, None
        placing = self._placing(call, market, Side.BUY, asked, None)
        cut = fit(self._desk.engine, placing, self._desk.now())
        if cut.refused:
            return wanted, f"the gate would refuse it now: {', '.join(cut.refused)}"
        if not cut.rules:
            return wanted, None
        # What a fee left of a holding is off the step.
        amount = down(holding.amount + cut.placing.order.amount / MOVE, step)
        why = f"cut from {text(wanted, step)} to {text(amount, step)}: {', '.join(cut.rules)}"
        return amount, why

    def _value(self) -> Decimal:
        """Give the portfolio's value.

        Raises:
            Refused: `venue_unavailable` while it is not known.
        """
        found = self._desk.engine.value(self._desk.now())
        if found.total_value is None:
            message = f"the portfolio's value is not known: {found.reason}"
            raise Refused(
                Code.VENUE_UNAVAILABLE, message, {"field": "portfolio_value"}, retry_after=1.0
            )
        return found.total_value

    # -- rebalancing -----------------------------------------------------------------------------

    def rebalance(self, call: Call[RebalanceParams]) -> Answer | Awaitable[Answer]:
        """Plan the way to the targets; carry it out when it is no dry run."""
        params = call.params
        if not params.dry_run:
            need_trade(call, "dry_run")
        known = self._known(params)
        if known is not None:
            row = shown(known, self._desk.engine)
            return Answer(result=row if params.dry_run else row | {"duplicate": True})
        plan = self._planned(call)
        if params.dry_run:
            plan = self._plans.judged(plan)
            row = shown(plan, self._desk.engine)
            return Answer(result=row | {"dry_run": True, "effect": self._effect(plan)})
        before = self._desk.outlet.positions()
        return self._begun(self._plans.begin(plan), before)

    async def _begun(self, plan: Plan, before: Mapping[str, object]) -> Answer:
        await self._desk.settled()
        now = self._plans.get(plan.id) or plan
        at = naming.changed(before, self._desk.outlet.positions())
        return Answer(result=shown(now, self._desk.engine), at=at or None)

    def _known(self, params: RebalanceParams) -> Plan | None:
        """Find the plan that is asked for again.

        Raises:
            Refused: `conflict` when it was made of something else; `not_found` without targets to make it of.
        """
        plan = None if params.plan_id is None else self._plans.get(params.plan_id)
        if plan is None:
            if params.targets is None and params.plan_id is not None:
                raise Refused(Code.NOT_FOUND, f"no plan {params.plan_id}", {"what": "plan"})
            return None
        if params.targets is not None:
            asked = self._content(params)
            differing = [name for name in asked if asked[name] != plan.content.get(name)]
            if differing:
                raise Refused(
                    Code.CONFLICT,
                    f"plan {plan.id} was made with another {', '.join(differing)}",
                    {"plan_id": plan.id, "differing": differing},
                )
        return plan

    def _content(self, params: RebalanceParams) -> Fields:
        """Normalise what is asked, for the comparison with repeats."""
        markets = self._desk.engine.markets
        return {
            "targets": {
                naming.market_of(markets, target.symbol).symbol: plain(target.weight)
                for target in params.targets or ()
            },
            "threshold": None if params.threshold is None else plain(params.threshold),
            "min_notional": plain(params.min_notional or ZERO),
            "order_type": params.order_type,
            "close_unlisted": params.close_unlisted,
        }

    def _planned(self, call: Call[RebalanceParams]) -> Plan:
        params, engine = call.params, self._desk.engine
        if params.targets is None or not (params.targets or params.close_unlisted):
            raise invalid("targets", "is required; empty with close_unlisted sells everything")
        pairs = []
        for at, target in enumerate(params.targets):
            try:
                symbol = naming.market_of(engine.markets, target.symbol).symbol
            except Refused as refused:
                details = {**(refused.details or {}), "field": f"targets.{at}.symbol"}
                raise Refused(refused.code, refused.message, details) from None
            pairs.append((symbol, target.weight))
        allocation.check_targets(pairs)
        value = self._value()
        threshold = params.threshold
        if threshold is None:
            threshold = exact(self._book.current.portfolio.rebalance_threshold)
        changes: list[Change] = allocation.plan(
            holdings(engine, [symbol for symbol, _ in pairs]),
            dict(pairs),
            value=value,
            threshold=threshold,
            min_notional=params.min_notional or ZERO,
            limit=params.order_type == "limit",
            close_unlisted=params.close_unlisted,
        )
        plan_id = params.plan_id or self._plans.new_id()
        plan = Plan(
            id=plan_id,
            state=State.PLANNED,
            value=value,
            order_type=params.order_type,
            content=self._content(params),
            subject=call.principal.subject,
            client=call.client,
            ts=self._desk.now(),
            rows=rows_of(plan_id, changes),
            limits=call.principal.limits,
        )
        for row in plan.rows:
            if row.client_order_id is not None:
                # Rather nothing than the half of it that the token may.
                check_symbol(plan.who, row.change.symbol)
        # What is looked at before is what would be begun: while another plan runs, that is none.
        self._plans.check_free()
        return self._plans.fitted(plan)

    def rebalance_effect(self, call: Call[RebalanceParams]) -> Fields | None:
        """What carrying a plan out would send; None for one that is known."""
        if self._known(call.params) is not None:
            return None
        return self._effect(self._planned(call))

    def _effect(self, plan: Plan) -> Fields:
        """Say what carrying a plan out would send, which may be less than the differences it was made for."""
        engine = self._desk.engine
        sent = [row for row in plan.rows if row.status == "waiting"]
        notional = ZERO
        for row in sent:
            change = row.change
            market = engine.markets[change.symbol]
            worth = engine.worth(market.cash) or ZERO
            notional += row.amount * abs(market.value(change.price)) * worth
        return {
            "orders": len(sent),
            "symbols": [row.change.symbol for row in sent],
            "sides": {row.change.symbol: row.change.action for row in sent},
            "notional": rows.money(rows.rounded(notional, 8)),
        }

    def planned_already(self, call: Call[RebalanceParams]) -> bool:
        """Tell whether this plan is known: whatever comes of this call, nothing is sent."""
        return call.params.plan_id is not None and self._plans.get(call.params.plan_id) is not None


def _weighed(
    method: Method, returns: Sequence[Sequence[float]], names: Sequence[str]
) -> list[float]:
    return allocation.shares(method, allocation.covariance(returns), names)


def need_trade(call: Call[Any], what: str) -> None:
    """Demand scope trade of who wants more than to look.

    Raises:
        Refused: `forbidden`.
    """
    if not may(call.principal, TRADE):
        raise Refused(
            Code.FORBIDDEN, f"{what} that places orders needs scope trade", {"scope": TRADE}
        )


def order_name(call: Call[Any], symbol: str) -> str | None:
    """Name the order that a request makes in a symbol, so that after a restart its repeat makes no other one."""
    request_id = getattr(call.params, "request_id", None)
    if request_id is None:
        return None
    told = f"{call.principal.subject}\n{request_id}\n{symbol}"
    return f"s-{blake2b(told.encode(), digest_size=12).hexdigest()}"


def probabilities_of(item: SignalItem, at: int) -> Probabilities | None:
    """Read the probabilities among the indicators of a signal: all three, or none.

    Raises:
        Refused: `invalid`, naming the field.
    """
    given = {name: item.indicators[name] for name in PROBABILITIES if name in item.indicators}
    if not given:
        return None
    values = []
    for name in PROBABILITIES:
        field = f"signals.{at}.indicators.{name}"
        value = given.get(name)
        if value is None:
            raise invalid(field, "is required beside the other two")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(field, "must be a number")
        values.append(float(value))
    found = Probabilities(*values)
    check_probabilities(found, f"signals.{at}.indicators")
    return found


def why_left_out(one: Decided) -> str:
    """Say why capital is not spread over a symbol: what would become of a sale is no reason, it buys nothing."""
    if one.why is None or one.combined.action is Action.SELL:
        return f"the action is {one.combined.action}"
    return one.why


def backing_of(said: Combined) -> Backing:
    """Take a combined signal for what an order is placed on."""
    return Backing(probabilities=said.probabilities, confidence=said.confidence)


def held_down(made: Size, cut: Fitted, worth: Decimal) -> Size:
    """Make a size as small as the gate held it down to, with the gate's rules among its caps.

    Args:
        made: Before the gate.
        cut: What the gate made of it.
        worth: Of a unit of the price, of one base unit or contract [valuation currency].
    """
    amount = cut.placing.order.amount
    notional = rows.rounded(amount * made.price * worth, 8)
    caps = [cap for cap in made.caps if cap.name not in cut.rules]
    caps += [Cap(name=name, notional=notional) for name in cut.rules]
    return replace(made, amount=amount, notional=notional, caps=tuple(caps))


def combined_row(one: Decided, now: int) -> Fields:
    """Make the row of a combined signal."""
    said = one.combined
    metadata: Fields = {
        "symbol": one.market.symbol,
        "current_price": rows.money(one.price),
        "strategies_used": list(said.used),
        "skipped": [{"strategy": name, "reason": why} for name, why in said.skipped],
        "total_weight": said.total_weight,
        "combination_method": said.method,
        "ts": now // MS,
    }
    if said.warning is not None:
        metadata["weight_warning"] = said.warning
    return {
        "action": said.action,
        "confidence": said.confidence,
        "probabilities": said.probabilities._asdict(),
        "risk_score": said.risk_score,
        "risk_level": said.risk_level,
        "position_size": said.position_size,
        "reason": said.reason,
        "metadata": metadata,
    }


def action_row(one: Decided, now: int) -> Fields:
    """Make the row of what the signals of a symbol lead to."""
    made, step = one.size, one.market.amount_step
    return {
        "symbol": one.market.symbol,
        "action": one.combined.action,
        "confidence": one.combined.confidence,
        "should_execute": one.why is None,
        "reason": one.why,
        "position_size": None
        if made is None
        else {"notional": rows.money(made.notional), "amount": text(made.amount, step)},
        "price": rows.money(one.price),
        "ts": now // MS,
        "metadata": {"risk_score": one.combined.risk_score},
    }


def ops(desk: Desk, trading: Trading, source: Venue, book: ConfigBook, plans: Plans) -> list[Op]:
    """Make the rows of the table."""
    made = Allocations(desk, trading, source, book, plans)
    signal: Fields = {
        "symbol": "BTC/USDT",
        "signal_type": "buy",
        "confidence": 0.9,
        "source": "ema_crossover",
        "indicators": {
            "probability_buy": 0.8,
            "probability_sell": 0.1,
            "probability_hold": 0.1,
        },
    }
    fed = (Code.INVALID, Code.NOT_FOUND, Code.VENUE_UNAVAILABLE)
    return [
        Op(
            name="portfolio.process_signals",
            params=ProcessParams,
            scope="read",
            lane="orders",
            idempotency="request_id",
            handler=made.process,
            http=("POST /api/portfolio/process-signals",),
            summary="Combine signals and show the trades they lead to; `execute` places them and needs scope trade",
            errors=(*fed, Code.FORBIDDEN),
            example={"signals": [signal]},
            command=True,
        ),
        Op(
            name="portfolio.allocate",
            params=AllocateParams,
            scope="read",
            lane="query",
            handler=made.allocate,
            http=("POST /api/portfolio/allocate",),
            summary="Compute target weights by confidence, equal weighting, volatility, risk parity or hierarchy",
            errors=fed,
            example={"symbols": ["BTC/USDT", "ETH/USDT"], "method": "equal"},
        ),
        Op(
            name="portfolio.rebalance",
            params=RebalanceParams,
            scope="read",
            lane="orders",
            handler=made.rebalance,
            http=("POST /api/portfolio/rebalance",),
            summary="Plan the trades that lead to target weights; `dry_run:false` places them and needs scope trade",
            errors=(*ORDER_ERRORS, Code.NOT_FOUND, Code.FORBIDDEN),
            example={"targets": [{"symbol": "BTC/USDT", "weight": "0.05"}]},
            command=True,
            effect=made.rebalance_effect,
            repeated=made.planned_already,
        ),
        Op(
            name="portfolio.weights.get",
            params=Params,
            scope="read",
            lane="query",
            handler=made.weights,
            summary="Show the strategy weights, as configured and as effective",
            example={},
        ),
        Op(
            name="portfolio.weights.set",
            params=WeightsParams,
            scope="admin",
            lane="query",
            idempotency="version",
            handler=made.set_weights,
            summary="Set the configured strategy weights; those of enabled strategies must sum to 1",
            errors=(Code.INVALID, Code.CONFLICT, Code.NOT_FOUND),
            example={"weights": {"ema_crossover": 0.5, "rsi": 0.3, "fvg": 0.2}},
            command=True,
        ),
        Op(
            name="portfolio.weights.auto",
            params=AutoParams,
            scope="admin",
            lane="query",
            idempotency="request_id",
            handler=made.auto,
            summary="Recompute the strategy weights from the results of their closed trades",
            example={},
            command=True,
        ),
    ]
