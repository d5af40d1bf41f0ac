"""What the account risks: exposure, loss, points and level, headroom, tails (features F16).

Rules of this file: (1) nothing is decided here: the gate has its own figures, made of the same state; (2) a figure
without its data is None, never zero; (3) money is Decimal, a statistic of returns is a float.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import floor, fsum
from typing import Final

from realtime.engine.case import reference_price
from realtime.engine.market import plain
from realtime.engine.orders import is_entry
from realtime.engine.portfolio import held_positions, in_valuation, mark_position
from realtime.engine.rules import minute, spent
from realtime.engine.state import ALL, State
from realtime.model.account import Marked
from realtime.model.market import ZERO
from realtime.model.risk import (
    Halt,
    Recommendation,
    RiskView,
    RuleResult,
    SymbolRisk,
    TradingState,
)


ONE: Final = Decimal(1)
NO_SIGNAL: Final = Decimal("0.5")
"""Risk score of a position whose symbol had no signal."""
DAYS: Final = 250
"""Daily returns that value at risk looks back on."""
FEWEST: Final = 30
"""With fewer there is none."""
CONCENTRATED: Final = Decimal("0.5")
"""Share of equity in one position that is too much."""


# --- the formulas -----------------------------------------------------------------------------


def points(
    concentration: Decimal | None, count: int, most: int | None, used: Decimal | None
) -> int:
    """Count the points of the account's level.

    Args:
        concentration: Largest notional by equity; None counts nothing.
        count: Open positions.
        most: `max_open_positions`; None counts nothing.
        used: The day's loss by `max_daily_loss`; None counts nothing.
    """
    found = 0
    if concentration is not None:
        found += 2 if concentration > CONCENTRATED else concentration > Decimal("0.3")
    if most is not None:
        share = Decimal(count) / max(most, 1)
        found += 2 if share > Decimal("0.8") else share > Decimal("0.5")
    if used is not None:
        for above, more in ((Decimal("0.7"), 3), (Decimal("0.4"), 2), (Decimal("0.2"), 1)):
            if used > above:
                found += more
                break
    return found


def level_of(count: int) -> str:
    """Name the level of so many points."""
    for least, word in ((5, "critical"), (3, "high"), (1, "moderate")):
        if count >= least:
            return word
    return "low"


def total_score(parts: Sequence[Decimal | None]) -> Decimal | None:
    """Give half the largest and half the mean of the sub-scores; None where one is missing."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return (max(known) + sum(known, ZERO) / len(known)) / 2


def herfindahl(shares: Sequence[Decimal]) -> Decimal | None:
    """Give the sum of squared shares: 1 for one holding, 1/n for n equal ones; None without any."""
    return sum((share * share for share in shares), ZERO) if shares else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tails:
    """What a bad day costs [fractions of equity, above zero is a loss]; None with a reason.

    Attributes:
        var_95, var_99: Loss not exceeded on 95 and 99 days of 100.
        es_95: Mean loss of the days beyond `var_95`.
        samples: Daily returns used.
    """

    var_95: float | None
    var_99: float | None
    es_95: float | None
    samples: int
    reason: str | None = None


def tails(returns: Sequence[float]) -> Tails:
    """Measure historical value at risk and expected shortfall.

    Args:
        returns: Daily returns, in any order [fraction].

    Source: quantiles by linear interpolation, Hyndman and Fan (1996), type 7.
    """
    count = len(returns)
    if count < FEWEST:
        why = f"insufficient_samples: {count} daily returns, {FEWEST} needed"
        return Tails(var_95=None, var_99=None, es_95=None, samples=count, reason=why)
    ordered = sorted(returns)
    worst = _quantile(ordered, 0.05)
    beyond = ordered[: bisect_right(ordered, worst)]
    return Tails(
        var_95=-worst,
        var_99=-_quantile(ordered, 0.01),
        es_95=-fsum(beyond) / len(beyond),
        samples=count,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = (len(ordered) - 1) * share
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def returns_of_holdings(
    shares: Mapping[str, float], history: Mapping[str, Mapping[int, float]]
) -> list[float]:
    """Give what today's holdings would have returned on every day that all of them have a return of.

    Args:
        shares: Signed notional by equity, by symbol; the rest is cash and returns nothing.
        history: Daily returns by symbol and day [ns].

    Returns:
        The newest 250, oldest first; none where a symbol has no history.
    """
    if not shares:
        return []
    days = set.intersection(*(set(history.get(symbol, ())) for symbol in shares))
    return [
        fsum(share * history[symbol][day] for symbol, share in shares.items())
        for day in sorted(days)[-DAYS:]
    ]


# --- the account ------------------------------------------------------------------------------


def risk_level(state: State, ts: int) -> str:
    """Name the level of the account, as `risk_view` does with much besides."""
    limits, equity = state.limits, state.equity_now(ts)
    marked = _marked(state)
    largest: Decimal | None = ZERO
    for held in marked:
        notional = in_valuation(state, held, held.notional)
        largest = None if notional is None or largest is None else max(largest, notional)
    e = equity.value if equity.value is not None and equity.value > 0 else None
    concentration = None if largest is None or e is None else largest / e
    loss, _ = state.loss_and_fall(equity.value)
    used = _used(loss, limits.max_daily_loss)
    count = points(concentration, len(marked), limits.max_open_positions, used)
    return _level(state.halts.get(ALL), limits.max_daily_loss, loss, count)


def _marked(state: State) -> list[Marked]:
    """Everything held, at the price now."""
    tradable = state.account.tradable()
    return [mark_position(state, held) for held in held_positions(state) if held.symbol in tradable]


def risk_view(state: State, ts: int) -> RiskView:
    """Assess the account (F16)."""
    limits, equity = state.limits, state.equity_now(ts)
    e = equity.value if equity.value is not None and equity.value > 0 else None
    marked = _marked(state)
    notionals = [in_valuation(state, held, held.notional) for held in marked]
    known = [notional for notional in notionals if notional is not None]
    whole = len(known) == len(notionals)
    gross = sum(known, ZERO) if whole else None
    net = None
    if whole:
        net = sum(
            (
                -notional if held.position.amount < 0 else notional
                for held, notional in zip(marked, known, strict=True)
            ),
            ZERO,
        )
    resting = _resting(state)
    open_exposure = None if resting is None else sum(resting.values(), ZERO)
    total = None if gross is None or open_exposure is None else gross + open_exposure
    largest = max(known, default=ZERO) if whole else None
    hhi = herfindahl([notional / gross for notional in known] if gross else [])
    loss, fall = state.loss_and_fall(equity.value)
    info = state.account.day_info
    pnl = None if equity.value is None else state.daily_pnl(equity.value)
    leverage = None if total is None or e is None else total / e
    concentration = None if largest is None or e is None else largest / e
    count = len(marked)
    n_limit = limits.max_open_positions
    parts = (
        _part(concentration, limits.max_position_size),
        _part(
            None if resting is None or e is None else max(resting.values(), default=ZERO) / e,
            limits.max_position_size,
        ),
        _part(leverage, limits.max_leverage),
        _part(None if loss is None else max(loss, ZERO), limits.max_daily_loss),
    )
    halt = state.halts.get(ALL)
    held_risks = tuple(
        SymbolRisk(
            symbol=held.position.symbol,
            notional=notional,
            share=None if notional is None or e is None else notional / e,
            risk_score=state.scores.get(held.position.symbol, NO_SIGNAL),
        )
        for held, notional in zip(marked, notionals, strict=True)
    )
    worst = _tails(state, marked, held_risks)
    points_now = points(concentration, count, n_limit, _used(loss, limits.max_daily_loss))
    return RiskView(
        trading_state=halt.state if halt is not None else TradingState.ACTIVE,
        halts=tuple(halt for _, halt in sorted(state.halts.items())),
        halt=None,
        breach=halt.by if halt is not None and halt.by.startswith("max_") else None,
        ready=state.ready,
        ready_reason=state.ready_reason,
        equity=equity.value,
        equity_reason=equity.reason,
        gross_exposure=gross,
        net_exposure=net,
        total_exposure=total,
        open_order_exposure=open_exposure,
        leverage=leverage,
        margin_used=_margin(state, marked),
        position_count=count,
        symbol_count=len(state.engaged()),
        positions_vs_max=None if n_limit is None else Decimal(count) / max(n_limit, 1),
        concentration_risk=concentration,
        hhi=hhi,
        effective_positions=None if not hhi else 1 / hhi,
        day=info.day,
        equity_start=info.equity_start,
        daily_pnl=pnl,
        daily_pnl_fraction=None if loss is None else -loss,
        peak_equity=info.peak_equity,
        drawdown=None if fall is None else max(fall, ZERO),
        positions_risk=parts[0],
        orders_risk=parts[1],
        exposure_risk=parts[2],
        loss_risk=parts[3],
        total_risk_score=total_score(parts),
        risk_level=_level(halt, limits.max_daily_loss, loss, points_now),
        positions=held_risks,
        headroom=tuple(_headroom(state, e, loss, fall, ts)),
        recommendations=tuple(_recommend(state, held_risks, concentration, count, loss)),
        unknown_orders=len(state.orders.unknown()),
        var_95=worst.var_95,
        var_99=worst.var_99,
        es_95=worst.es_95,
        var_reason=worst.reason,
        ts=ts,
    )


def _resting(state: State) -> dict[str, Decimal] | None:
    """Notional of working entries by symbol [valuation currency]; None when one has no price."""
    found: dict[str, Decimal] = {}
    for order in state.orders.working():
        if not is_entry(order):
            continue
        mark = state.quotes.mark(order.symbol)
        price = reference_price(order, mark[0] if mark is not None else None, None)
        value = (
            None
            if price is None
            else state.notional(order.symbol, state.orders.worst_of(order), price)
        )
        if value is None:
            return None
        found[order.symbol] = found.get(order.symbol, ZERO) + value
    return found


def _margin(state: State, marked: list[Marked]) -> Decimal | None:
    """Initial margin of open derivatives [valuation currency]; the venue's word where it has one."""
    total = ZERO
    for held in marked:
        position = held.position
        if position.position_type == "spot":
            continue
        own = position.collateral
        if own is None and held.notional is not None:
            own = held.notional / (position.leverage or ONE)
        value = in_valuation(state, held, own)
        if value is None:
            return None
        total += value
    return total


def _part(used: Decimal | None, limit: Decimal | None) -> Decimal | None:
    """Used share of a limit, 0..1; zero where the limit is off, None where the figure is missing."""
    if limit is None:
        return ZERO
    if used is None:
        return None
    if not limit:
        return ONE if used else ZERO
    return min(used / limit, ONE)


def _used(loss: Decimal | None, limit: Decimal | None) -> Decimal | None:
    """Share of the day's loss limit that is used; None where there is none to speak of."""
    return loss / limit if loss is not None and limit else None


def _level(halt: Halt | None, limit: Decimal | None, loss: Decimal | None, count: int) -> str:
    """Name the account's level: by its points, critical when halted or at the loss limit."""
    used = _used(loss, limit)
    if halt is not None and halt.state is TradingState.HALTED:
        return "critical"
    return "critical" if used is not None and used >= 1 else level_of(count)


def _tails(state: State, marked: Sequence[Marked], risks: Sequence[SymbolRisk]) -> Tails:
    """Measure what a bad day would do to what is held now."""
    shares: dict[str, float] = {}
    for held, risk in zip(marked, risks, strict=True):
        if risk.share is None:
            why = "equity, or the price of a holding, is not known"
            return Tails(var_95=None, var_99=None, es_95=None, samples=0, reason=why)
        share = float(risk.share)
        shares[risk.symbol] = -share if held.position.amount < 0 else share
    if not shares:
        return Tails(var_95=None, var_99=None, es_95=None, samples=0, reason="nothing is held")
    return tails(returns_of_holdings(shares, state.daily))


def _headroom(
    state: State, e: Decimal | None, loss: Decimal | None, fall: Decimal | None, ts: int
) -> Iterator[RuleResult]:
    """How far each limit is used; rules that are off are left out."""
    limits, money = state.limits, state.currency
    # As the gate counts them: with all that rests filled, which what is held now says nothing of.
    engaged = {place: state.at_mark(place, amount) for place, amount in state.engaged().items()}
    exposures = [exposure for exposure in engaged.values() if exposure is not None]
    priced = len(exposures) == len(engaged)
    largest = max(exposures, default=ZERO) if priced else None
    total = sum(exposures, ZERO) if priced else None
    loads = state.orders.loads.values()
    fullest = max((load.orders for load in loads), default=0)
    streak = max((count for count, _ in state.account.streaks.values()), default=0)
    for rule, limit, used, unit in (
        (
            "max_position_size",
            limits.max_position_size,
            None if largest is None or e is None else largest / e,
            "fraction",
        ),
        ("max_position_notional", limits.max_position_notional, largest, money),
        (
            "max_leverage",
            limits.max_leverage,
            None if total is None or e is None else total / e,
            "x",
        ),
        (
            "max_open_positions",
            _number(limits.max_open_positions),
            Decimal(len(engaged)),
            "positions",
        ),
        (
            "max_open_orders",
            _number(limits.max_open_orders_symbol),
            Decimal(fullest),
            "orders per symbol",
        ),
        ("max_open_orders", _number(limits.max_open_orders), Decimal(state.orders.count), "orders"),
        (
            "max_unknown",
            _number(limits.max_unknown),
            Decimal(len(state.orders.unknown())),
            "orders",
        ),
        ("max_daily_loss", limits.max_daily_loss, loss, "fraction"),
        ("max_drawdown", limits.max_drawdown, fall, "fraction"),
        ("loss_streak", _number(limits.loss_streak), Decimal(streak), "trades"),
        (
            "order_rate",
            _number(limits.order_rate_minute),
            Decimal(spent(state.pace.account, minute(limits.order_rate_minute)[0], ts)),
            "orders/min",
        ),
    ):
        if limit is not None:
            room = None if used is None else limit - max(used, ZERO)
            yield RuleResult(
                rule=rule,
                limit=limit,
                value=None if used is None else max(used, ZERO),
                headroom=room,
                unit=unit,
                ok=room is None or room >= 0,
            )


def _number(limit: int | None) -> Decimal | None:
    return None if limit is None else Decimal(limit)


def _recommend(
    state: State,
    held: Sequence[SymbolRisk],
    concentration: Decimal | None,
    count: int,
    loss: Decimal | None,
) -> Iterator[Recommendation]:
    limits = state.limits
    risky = [one.symbol for one in held if one.risk_score > Decimal("0.8")]
    if risky:
        yield Recommendation(
            code="close_high_risk",
            text=f"the last signal speaks against {', '.join(risky)}",
            severity="critical",
        )
    mean = sum((one.risk_score for one in held), ZERO) / max(len(held), 1)
    if mean > Decimal("0.6"):
        yield Recommendation(
            code="reduce_sizes",
            text=f"the mean risk score of the positions is {plain(round(mean, 4))}",
            severity="warning",
        )
    most = limits.max_open_positions
    if most is not None and Decimal(count) > Decimal("0.8") * most:
        yield Recommendation(
            code="near_position_limit",
            text=f"{count} of {most} positions are open",
            severity="warning",
        )
    limit = limits.max_daily_loss
    if limit is not None and loss is not None and loss >= limits.warn_at * limit:
        yield Recommendation(
            code="near_daily_loss",
            text=f"daily loss {plain(round(loss, 4))} of max_daily_loss {plain(limit)}",
            severity="critical",
        )
    if concentration is not None and concentration > CONCENTRATED:
        yield Recommendation(
            code="concentrated",
            text=f"one position is {plain(round(concentration, 4))} of equity",
            severity="warning",
        )
