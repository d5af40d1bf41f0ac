"""Ops of risk that speak of one trade before it is made: its score, its chances, its size, its stop and target."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Final, Literal

import orjson
from pydantic import Field

from realtime.commands import naming
from realtime.commands.market import Timeframe
from realtime.commands.order import (
    Fields,
    Fraction,
    Orders,
    ProbabilitiesParams,
    backing_of,
)
from realtime.commands.params import Params, Positive, Symbol, Word, invalid
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk
from realtime.desk.trading import Trading
from realtime.engine import rows
from realtime.engine.bars import DAY, TIMEFRAMES
from realtime.engine.combine import check_probabilities, risk_level, risk_score
from realtime.engine.indicators import ATR_LENGTH, Atr
from realtime.engine.market import text
from realtime.engine.outcome import BARS, Bucket, Drift, calibration, drift, outcome
from realtime.engine.sizing import (
    Account,
    Level,
    Size,
    Trade,
    exact,
    size,
    stop_and_target,
)
from realtime.engine.studies import ohlcv
from realtime.model.errors import Code, Refused
from realtime.model.events import Place
from realtime.model.market import MS, ZERO, Market
from realtime.model.orders import OrderType, Side
from realtime.model.risk import Backing
from realtime.model.signals import Ohlcv, Probabilities
from realtime.venues.base import Venue


SIGNALS: Final = 1_000
"""Stored signals that a calibration looks at."""
LOOKED_AT: Final = 500
"""Bars that are read: more than the drift needs, because signals are compared with what followed."""
YEAR_NS: Final = 365 * DAY
Sizing = Literal["confidence", "fixed_fractional", "min", "volatility_target", "kelly"]
Stopping = Literal["fraction", "atr", "swing"]


class ScoreParams(Params):
    """A signal in the flat names of indicators and metadata."""

    symbol: Symbol
    probability_buy: Fraction
    probability_sell: Fraction
    probability_hold: Fraction
    confidence: Fraction


class ProbabilityParams(Params):
    """A trade; stop and target of the limits in force without any. `horizon` is in bars."""

    symbol: Symbol
    timeframe: Timeframe = "5m"
    side: Word[Side]
    stop_loss: Positive | None = None
    take_profit: Positive | None = None
    horizon: Annotated[int, Field(ge=1, le=LOOKED_AT - 1)] = 1


class SizeParams(Params):
    """A trade to be sized; at the market, and by the stop of the limits in force, without prices."""

    symbol: Symbol
    side: Word[Side]
    confidence: Fraction
    probabilities: ProbabilitiesParams | None = None
    entry: Positive | None = None
    stop: Positive | None = None
    target: Positive | None = None
    method: Sizing | None = None
    timeframe: Timeframe = "5m"


class LevelsParams(Params):
    """An entry whose stop and target are wanted; at the market without a price."""

    symbol: Symbol
    side: Word[Side]
    entry: Positive | None = None
    probabilities: ProbabilitiesParams | None = None
    confidence: Fraction | None = None
    method: Stopping | None = None
    timeframe: Timeframe = "5m"


class Odds:
    """The handlers."""

    def __init__(self, desk: Desk, trading: Trading, source: Venue) -> None:
        self._desk = desk
        self._trading = trading
        self._source = source
        self._orders = Orders(desk, trading)

    # -- what they all need ----------------------------------------------------------------------

    async def _bars(self, symbol: str, timeframe: str, limit: int) -> list[Ohlcv]:
        """Read closed bars, oldest first."""
        return await closed_bars(self._desk, self._source, symbol, timeframe, limit)

    def _entry(self, market: Market, given: Decimal | None) -> Decimal:
        """Give the expected price of an entry.

        Raises:
            Refused: `venue_unavailable` while the market has no price.
        """
        if given is not None:
            return given
        found = self._desk.engine.mark(market.symbol)
        if found is None:
            raise Refused(
                Code.VENUE_UNAVAILABLE, f"{market.symbol} has no price yet", retry_after=1.0
            )
        return found[0]

    async def _levels(
        self,
        market: Market,
        side: Side,
        entry: Decimal,
        backing: Backing | None,
        method: str | None,
        timeframe: str,
    ) -> tuple[Level, Level]:
        limits = self._desk.engine.limits
        chosen = method or limits.stop_method
        atr = swing = None
        if chosen == "atr":
            atr = true_range(await self._bars(market.symbol, timeframe, BARS))
        elif chosen == "swing":
            bars = await self._bars(market.symbol, timeframe, limits.lookback + 1)
            swing = extreme(bars, side, limits.lookback)
        return stop_and_target(
            limits,
            market,
            side,
            entry,
            probabilities=None if backing is None else backing.probabilities,
            confidence=0.0 if backing is None else backing.confidence,
            method=chosen,
            atr=atr,
            swing=swing,
        )

    # -- ops -------------------------------------------------------------------------------------

    def score(self, call: Call[ScoreParams]) -> Answer:
        """Score a signal."""
        params = call.params
        market = naming.market_of(self._desk.engine.markets, params.symbol)
        told = Probabilities(
            params.probability_buy, params.probability_sell, params.probability_hold
        )
        check_probabilities(told)
        score = risk_score(told, params.confidence)
        return Answer(
            result={
                "symbol": market.symbol,
                "risk_score": score,
                "risk_level": risk_level(score),
                "probability_data": {
                    "probability_buy": told.buy,
                    "probability_sell": told.sell,
                    "probability_hold": told.hold,
                    "confidence": params.confidence,
                },
            }
        )

    async def levels(self, call: Call[LevelsParams]) -> Answer:
        """Give stop and target of an entry."""
        params = call.params
        market = naming.market_of(self._desk.engine.markets, params.symbol)
        backing = backing_of(params.probabilities, params.confidence)
        entry = self._entry(market, params.entry)
        stop, target = await self._levels(
            market, params.side, entry, backing, params.method, params.timeframe
        )
        return Answer(
            result={
                "symbol": market.symbol,
                "side": params.side,
                "entry": rows.money(entry),
                "stop_loss": level_row(stop, market),
                "take_profit": level_row(target, market),
            }
        )

    async def position_size(self, call: Call[SizeParams]) -> Answer:
        """Size an entry, and ask the gate whether it would pass."""
        params, engine = call.params, self._desk.engine
        market = naming.market_of(engine.markets, params.symbol)
        backing = backing_of(params.probabilities, params.confidence)
        entry = self._entry(market, params.entry)
        method = params.method or engine.limits.sizing_method
        stop, target = params.stop, params.target
        _check_side("stop", stop, params.side is Side.SELL, params.side, entry)
        _check_side("target", target, params.side is Side.BUY, params.side, entry)
        if (stop is None or target is None) and method in {"fixed_fractional", "min", "kelly"}:
            made = await self._levels(market, params.side, entry, backing, None, params.timeframe)
            stop, target = stop or made[0].price, target or made[1].price
        moves = None
        if method in {"volatility_target", "kelly"}:
            bars = await self._bars(market.symbol, params.timeframe, BARS + 2)
            moves = drift([bar.close for bar in bars])
        trade = Trade(
            side=params.side,
            confidence=params.confidence,
            entry=entry,
            probabilities=None if backing is None else backing.probabilities,
            stop=stop,
            target=target,
            volatility=yearly(moves, params.timeframe),
            win=self._win(params, entry, stop, target, moves, market),
        )
        account = self._account(market, params.side, entry)
        worth = engine.worth(market.cash)
        if isinstance(account, str) or worth is None:
            why = account if isinstance(account, str) else f"{market.cash} has no price"
            return Answer(result=nothing_row(trade, market, method, why) | {"gate": None})
        made_size = size(trade, account, engine.limits, market, method=method, worth=worth)
        row = size_row(made_size, market)
        return Answer(result=row | {"gate": self._gate(call, market, made_size, backing)})

    def _win(
        self,
        params: SizeParams,
        entry: Decimal,
        stop: Decimal | None,
        target: Decimal | None,
        moves: Drift | None,
        market: Market,
    ) -> float | None:
        if moves is None or stop is None or target is None:
            return None
        _check_sides(params.side, entry, stop, target)
        return win_of(market, entry, stop, target, moves)

    def _account(self, market: Market, side: Side, entry: Decimal) -> Account | str:
        """Give what a size depends on, or say what is missing."""
        engine = self._desk.engine
        view = engine.risk_view(self._desk.now())
        if view.equity is None:
            return view.equity_reason or "equity is not known"
        if view.equity_start is None or view.daily_pnl is None:
            return "the day has not begun"
        spot_sell = not market.contract and side is Side.SELL
        currency = market.base if spot_sell else market.cash
        # A coin that no balance was ever told of is not held.
        free, worth = engine.free(currency) or ZERO, engine.worth(market.cash) or ZERO
        # A buy pays its fee out of the same money.
        available = free * worth * entry if spot_sell else free * worth / (1 + market.taker)
        return Account(
            equity=view.equity,
            equity_start=view.equity_start,
            daily_pnl=view.daily_pnl,
            positions=view.position_count,
            available=available,
        )

    def _gate(
        self, call: Call[SizeParams], market: Market, made: Size, backing: Backing | None
    ) -> Fields | None:
        """Ask the gate that decides what it would say to this size; None without one."""
        if not made.amount:
            return None
        params = call.params
        who = naming.who_of(call)
        order = self._trading.draft(
            who=who,
            client_order_id=None,
            fields={
                "symbol": market.symbol,
                "type": OrderType.MARKET if params.entry is None else OrderType.LIMIT,
                "side": params.side,
                "amount": made.amount,
                "price": params.entry,
                "position_type": "swap" if market.contract else "spot",
            },
        )
        place = Place(order=order, who=who, ts=order.created_ts, backing=backing)
        shown = self._orders.judged(place)
        return {
            name: shown[name]
            for name in ("valid", "code", "message", "failed", "max_allowed_amount")
        }

    async def probability(self, call: Call[ProbabilityParams]) -> Answer:
        """Say how a trade may end, and what the strategies last said of its symbol."""
        params = call.params
        market = naming.market_of(self._desk.engine.markets, params.symbol)
        entry = self._entry(market, None)
        stop, target = params.stop_loss, params.take_profit
        if stop is None or target is None:
            made = await self._levels(market, params.side, entry, None, None, params.timeframe)
            stop, target = stop or made[0].price, target or made[1].price
        bars = await self._bars(market.symbol, params.timeframe, LOOKED_AT)
        moves = drift([bar.close for bar in bars])
        records = await self._records(market.symbol)
        last = records[-1] if records else None
        judged = followed(
            [row for row in records if row.get("timeframe") == params.timeframe],
            bars,
            params.horizon,
            TIMEFRAMES[params.timeframe],
        )
        row: Fields = {
            "symbol": market.symbol,
            "timeframe": params.timeframe,
            "side": params.side,
            "entry": rows.money(entry),
            "stop_loss": rows.money(stop),
            "take_profit": rows.money(target),
            "horizon": params.horizon,
            "combined": None if last is None else last.get("combined"),
            "per_strategy": {} if last is None else per_strategy(last),
            "target_before_stop": None,
            "p_up": None,
            "expected_value": None,
            "gain": None,
            "loss": None,
            "mu": moves.mu,
            "sigma": moves.sigma,
            "samples": moves.samples,
            "calibration": [bucket_row(bucket) for bucket in calibration(judged)],
            "reason": None,
        }
        if stop is None or target is None:
            row["reason"] = "there is no stop or no target"
            return Answer(result=row)
        _check_sides(params.side, entry, stop, target)
        found = outcome(
            entry=float(entry),
            stop=float(stop),
            target=float(target),
            moves=moves,
            taker=float(market.taker),
            horizon=params.horizon,
        )
        return Answer(result=row | asdict(found))

    async def _records(self, symbol: str) -> list[Mapping[str, object]]:
        """Read the newest decisions about a symbol, oldest first."""
        found = []
        for entry in await self._desk.store.rows("signals", limit=SIGNALS):
            row = orjson.loads(entry.body)
            if row.get("symbol") == symbol:
                found.append(row)
        return found


async def closed_bars(
    desk: Desk, source: Venue, symbol: str, timeframe: str, limit: int
) -> list[Ohlcv]:
    """Read closed bars of a market, oldest first."""
    now, length = desk.now(), TIMEFRAMES[timeframe]
    return [
        ohlcv(bar)
        for bar in await source.ohlcv(symbol, timeframe, None, limit)
        if bar.ts + length <= now
    ]


# --- pure parts -----------------------------------------------------------------------------------


def true_range(bars: Sequence[Ohlcv]) -> float | None:
    """Give ATR(14) after the newest bar; None with fewer than 15."""
    average = Atr(ATR_LENGTH)
    for bar in bars:
        average.update(bar.high, bar.low, bar.close)
    return average.value


def win_of(
    market: Market, entry: Decimal, stop: Decimal, target: Decimal, moves: Drift
) -> float | None:
    """Give the probability of the target before the stop, which enclose the entry; None where it is not known."""
    made = outcome(
        entry=float(entry),
        stop=float(stop),
        target=float(target),
        moves=moves,
        taker=float(market.taker),
    )
    return made.target_before_stop


def extreme(bars: Sequence[Ohlcv], side: Side, lookback: int) -> float | None:
    """Give the lowest low of a buy, the highest high of a sell; None with fewer bars than `lookback`."""
    last = bars[-lookback:]
    if len(last) < lookback:
        return None
    return min(bar.low for bar in last) if side is Side.BUY else max(bar.high for bar in last)


def yearly(moves: Drift | None, timeframe: str) -> float | None:
    """Scale a deviation per bar to a year; None without one."""
    if moves is None or moves.sigma is None:
        return None
    return float(moves.sigma * (YEAR_NS / TIMEFRAMES[timeframe]) ** 0.5)


def _check_side(
    field: str,
    price: Decimal | None,
    above: bool,  # noqa: FBT001 - it is what is checked
    side: Side,
    entry: Decimal,
) -> None:
    """Refuse a price that is not on its side of the entry.

    Raises:
        Refused: `invalid`, naming the field.
    """
    if price is not None and (price == entry or (price > entry) is not above):
        where = "above" if above else "below"
        raise invalid(field, f"of a {side} must be {where} the entry {rows.money(entry)}")


def _check_sides(side: Side, entry: Decimal, stop: Decimal, target: Decimal) -> None:
    """Refuse a stop and target that belong to the other side.

    Raises:
        Refused: `invalid`, naming the field.
    """
    _check_side("stop_loss", stop, side is Side.SELL, side, entry)
    _check_side("take_profit", target, side is Side.BUY, side, entry)


def followed(
    records: Sequence[Mapping[str, object]], bars: Sequence[Ohlcv], horizon: int, length: int
) -> list[tuple[float, bool]]:
    """Compare stored decisions with what the price did after them.

    Args:
        records: Decisions with `ohlcv_ts` [ms] and `combined`; holds, and those without both bars, do not count.
        bars: Closed bars of the same timeframe.
        horizon: Bars after which the price is looked at.
        length: Of a bar [ns].

    Returns:
        Probability of the action, and whether the price had gone its way.
    """
    closes = {bar.ts: bar.close for bar in bars}
    found: list[tuple[float, bool]] = []
    for row in records:
        said, at = row.get("combined"), row.get("ohlcv_ts")
        if not isinstance(said, Mapping) or not isinstance(at, int):
            continue
        action, told = said.get("action"), said.get("probabilities")
        then, later = closes.get(at * MS), closes.get(at * MS + horizon * length)
        if action not in {"buy", "sell"} or not isinstance(told, Mapping):
            continue
        if then is None or later is None:
            continue
        found.append((float(told[action]), later > then if action == "buy" else later < then))
    return found


def per_strategy(record: Mapping[str, object]) -> Fields:
    """Give the individual signals of a decision by strategy."""
    individual = record.get("individual")
    if not isinstance(individual, list):
        return {}
    return {
        str(one["strategy"]): {name: value for name, value in one.items() if name != "strategy"}
        for one in individual
    }


def bucket_row(bucket: Bucket) -> Fields:
    """Make the row of a calibration bucket."""
    return {
        "from": bucket.low,
        "to": bucket.high,
        "samples": bucket.samples,
        "hit_rate": bucket.hit_rate,
    }


def level_row(level: Level, market: Market) -> Fields:
    """Make the row of a stop or target."""
    return {
        "price": None if level.price is None else text(level.price, market.price_tick),
        "base": None if level.base is None else float(level.base),
        "adjusted": None if level.adjusted is None else float(level.adjusted),
        "method": level.method,
        "inputs": {name: float(value) for name, value in level.inputs.items()},
        "reason": level.reason,
    }


def size_row(made: Size, market: Market) -> Fields:
    """Make the row of a size."""
    return {
        "symbol": market.symbol,
        "notional": rows.money(made.notional),
        "amount": text(made.amount, market.amount_step),
        "price": rows.money(made.price),
        "method": made.method,
        "factors": {name: float(value) for name, value in made.factors.items()},
        "caps": [{"name": cap.name, "notional": rows.money(cap.notional)} for cap in made.caps],
        "reason": made.reason,
    }


def nothing_row(trade: Trade, market: Market, method: str, reason: str) -> Fields:
    """Make the row of a size that cannot be said."""
    return {
        "symbol": market.symbol,
        "notional": None,
        "amount": None,
        "price": rows.money(trade.entry),
        "method": method,
        "factors": {"confidence": float(exact(trade.confidence))},
        "caps": [],
        "reason": reason,
    }


def ops(desk: Desk, trading: Trading, source: Venue) -> list[Op]:
    """Make the rows of the table."""
    odds = Odds(desk, trading, source)
    errors = (Code.INVALID, Code.NOT_FOUND, Code.VENUE_UNAVAILABLE)
    sure = {"buy": 0.8, "sell": 0.1, "hold": 0.1}
    return [
        Op(
            name="risk.score",
            params=ScoreParams,
            scope="read",
            lane="query",
            handler=odds.score,
            http=("GET /api/risk/score",),
            summary="Compute the risk score of a signal, from 0 to 1, and its risk level",
            errors=(Code.INVALID, Code.NOT_FOUND),
            example={
                "symbol": "BTC/USDT",
                "probability_buy": 0.8,
                "probability_sell": 0.1,
                "probability_hold": 0.1,
                "confidence": 0.9,
            },
        ),
        Op(
            name="risk.probability",
            params=ProbabilityParams,
            scope="read",
            lane="query",
            handler=odds.probability,
            summary="Estimate how likely a trade is to reach its target before its stop, and how accurate signals were",
            errors=errors,
            example={"symbol": "BTC/USDT", "side": "buy", "timeframe": "1h", "horizon": 24},
        ),
        Op(
            name="risk.position_size",
            params=SizeParams,
            scope="read",
            lane="query",
            handler=odds.position_size,
            summary="Compute a position size, what capped it, and the verdict of the risk gate",
            errors=errors,
            example={
                "symbol": "BTC/USDT",
                "side": "buy",
                "confidence": 0.9,
                "probabilities": sure,
            },
        ),
        Op(
            name="risk.stop_levels",
            params=LevelsParams,
            scope="read",
            lane="query",
            handler=odds.levels,
            summary="Compute the stop and target of an entry, adjusted by its probabilities",
            errors=errors,
            example={
                "symbol": "BTC/USDT",
                "side": "buy",
                "entry": "64000",
                "probabilities": sure,
                "confidence": 0.9,
            },
        ),
    ]
