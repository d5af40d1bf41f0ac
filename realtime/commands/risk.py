"""Ops of risk: the assessment, the limits, the day."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from decimal import Decimal
from typing import Annotated, Any, Final

import orjson
from pydantic import Field

from realtime.commands import naming
from realtime.commands.order import Fields, Orders, PlaceParams, placing_of
from realtime.commands.params import ChangeParams, Params, RequestId, Why, invalid, money
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk
from realtime.desk.trading import Trading
from realtime.engine.combine import risk_score
from realtime.engine.market import plain
from realtime.engine.sizing import SIZING, STOPS
from realtime.model.errors import Code, Refused
from realtime.model.events import Configure, ResetDaily
from realtime.model.orders import Order
from realtime.model.principal import ADMIN
from realtime.model.risk import Limits, RiskView


STREAMS: Final = ("risk", "status")
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class SetParams(ChangeParams):
    """Limits to change; `version` is the one they were read at."""

    patch: Annotated[dict[str, Any], Field(min_length=1, max_length=64)]
    version: Annotated[int, Field(ge=1)] | None = None


class DailyParams(Params):
    """Which trading day; today without one."""

    day: Day | None = None


class ResetParams(ChangeParams):
    """Why the day's count starts anew."""

    reason: Why
    request_id: RequestId | None = None


class ValidateParams(PlaceParams):
    """As `order.place`; nothing is sent."""


class Risks:
    """The handlers."""

    def __init__(self, desk: Desk, trading: Trading) -> None:
        self._desk = desk
        self._trading = trading
        self._orders = Orders(desk, trading)

    def assessment(self, _call: Call[Params]) -> Answer:
        """Assess the account."""
        return Answer(result=dict(self._desk.outlet.risk_row()))

    # -- limits ------------------------------------------------------------------------------------

    def params(self, _call: Call[Params]) -> Answer:
        """Give the limits in force."""
        return Answer(result=limits_row(self._desk.engine.limits))

    async def set_params(self, call: Call[SetParams]) -> Answer:
        """Change limits; loosening one needs scope admin."""
        known = self._desk.engine.limits
        wanted = self._wanted(call, known)
        if wanted == known:
            # Whoever asks again what was done in memory alone is told that as well.
            await self._desk.settled()
            return Answer(result=limits_row(known) | {"changed": False})
        loosened = [name for name in changed_names(known, wanted) if loosens(known, wanted, name)]
        if loosened and ADMIN not in call.principal.scopes:
            raise Refused(
                Code.FORBIDDEN,
                f"loosening {', '.join(loosened)} needs scope admin",
                {"scope": ADMIN},
            )
        self._desk.check_room()
        self._desk.post(
            Configure(
                limits=replace(wanted, version=known.version + 1),
                who=naming.who_of(call),
                ts=self._desk.now(),
            )
        )
        await self._desk.settled()
        row = limits_row(self._desk.engine.limits) | {"changed": True}
        return Answer(result=row, at=self._desk.outlet.named(("config", *STREAMS)))

    def _wanted(self, call: Call[SetParams], known: Limits) -> Limits:
        version = call.params.version
        if version is not None and version != known.version:
            raise Refused(
                Code.CONFLICT,
                f"the limits are at version {known.version}, the change was made for {version}",
                {"version": known.version},
            )
        return replace(known, **parse_limits(call.params.patch))

    def set_effect(self, call: Call[SetParams]) -> Fields | None:
        """What changing limits would change."""
        known = self._desk.engine.limits
        wanted = self._wanted(call, known)
        names = changed_names(known, wanted)
        if not names:
            return None
        loosened = [name for name in names if loosens(known, wanted, name)]
        return {"limits": names, "loosened": loosened}

    # -- the day -----------------------------------------------------------------------------------

    async def daily(self, call: Call[DailyParams]) -> Answer:
        """Give the row of a trading day."""
        today = self._desk.day_row()
        wanted = call.params.day or today["day"]
        if wanted == today["day"]:
            return Answer(result=today)
        for entry in await self._desk.store.rows("days"):
            if entry.key == wanted:
                row: Fields = orjson.loads(entry.body)
                return Answer(result=row)
        raise Refused(Code.NOT_FOUND, f"no trading day {wanted}", {"what": "day"})

    async def reset(self, call: Call[ResetParams]) -> Answer:
        """Start the day's loss count anew."""
        self._desk.check_room()
        self._desk.post(
            ResetDaily(reason=call.params.reason, who=naming.who_of(call), ts=self._desk.now())
        )
        await self._desk.settled()
        return Answer(result=self._desk.day_row(), at=self._desk.outlet.named(STREAMS))

    # -- one order ---------------------------------------------------------------------------------

    def validate(self, call: Call[PlaceParams]) -> Answer:
        """Judge an order and say what it would mean for the account."""
        placing = placing_of(call, self._trading, self._desk.engine.markets)
        backing = placing.backing
        sure = call.params.confidence if backing is None else backing.confidence
        shown = self._orders.judged(placing)
        view = self._desk.engine.risk_view(self._desk.now())
        rules = shown["rules"]
        assert isinstance(rules, list)
        size = next((rule for rule in rules if rule["rule"] == "max_position_size"), None)
        return Answer(
            result={
                "valid": shown["valid"],
                "errors": _errors(shown, rules),
                "failed": shown["failed"],
                "risk_assessment": {
                    "daily_pnl_status": daily_status(view.loss_risk),
                    "position_count": view.position_count,
                    "risk_score": None
                    if view.total_risk_score is None
                    else float(view.total_risk_score),
                },
                "order_risk": order_risk(size),
                "probability_risk": None
                if backing is None
                else risk_score(backing.probabilities, backing.confidence),
                "impact_on_portfolio": impact(shown, view),
                "recommended_stop_loss": shown["recommended_stop_loss"],
                "recommended_take_profit": shown["recommended_take_profit"],
                "risk_reward": risk_reward(placing.order, shown),
                "max_allowed_amount": shown["max_allowed_amount"],
                "confidence_level": None if sure is None else confidence_level(sure),
            }
        )


def impact(shown: Mapping[str, object], view: RiskView) -> float | None:
    """Share of equity by which an order raises the exposure; what rests already is in both, as the gate counts it."""
    after, equity = shown.get("exposure_after"), view.equity
    counted = (rule.value for rule in view.headroom if rule.rule == "max_leverage")
    if after is None or not equity or view.total_exposure is None:
        return None
    # Without a limit on leverage nobody counts as the gate does, which differs where orders rest against what is held.
    before = next(counted, view.total_exposure / equity)
    return None if before is None else float(Decimal(str(after)) / equity - before)


def _errors(shown: Fields, rules: Sequence[Mapping[str, object]]) -> list[object]:
    """Say why an order is not valid: by no rule, where it is its id, its token or its bot that refuses it."""
    if shown["valid"]:
        return []
    told = [shown["message"], *(rule["message"] for rule in rules if not rule["ok"])]
    return list(dict.fromkeys(told))


def daily_status(loss: Decimal | None) -> str:
    """Name how much of the daily loss is used: `ok`, `warning` or `breached`."""
    if loss is None:
        return "unknown"
    if loss >= 1:
        return "breached"
    return "warning" if loss >= Decimal("0.7") else "ok"


def order_risk(size: Mapping[str, object] | None) -> float | None:
    """Share of `max_position_size` that the symbol would use, 0..1."""
    if size is None or size.get("limit") is None or size.get("value") is None:
        return None
    limit = Decimal(str(size["limit"]))
    return float(min(Decimal(str(size["value"])) / limit, Decimal(1))) if limit else 1.0


def confidence_level(confidence: float) -> str:
    """Name a confidence 0..1."""
    if confidence < 0.6:
        return "low"
    return "medium" if confidence < 0.8 else "high"


def risk_reward(order: Order, shown: Mapping[str, object]) -> float | None:
    """Distance to the target over the distance to the stop, the recommended ones where it has none of its own."""
    entry = order.price or _price(shown["average"]) or _price(shown["reference_price"])
    stop = _price(shown["recommended_stop_loss"])
    target = _price(shown["recommended_take_profit"])
    if order.stop_loss is not None:
        stop = order.stop_loss.price
    if order.take_profit is not None:
        target = order.take_profit.price
    if entry is None or stop is None or target is None or stop == entry:
        return None
    return float(abs(target - entry) / abs(entry - stop))


def _price(text: object) -> Decimal | None:
    return None if text is None else Decimal(str(text))


# --- limits ---------------------------------------------------------------------------------------

KINDS: Final = {field.name: field.type for field in fields(Limits)}
LOWER_IS_LOOSER: Final = frozenset(
    {
        "duplicate_order_ms",
        "cooldown_minutes",
        "min_signal_confidence",
        "low_action_probability",
        "confidence_threshold",
    }
)
# What moves a size or a stop within the limits and loosens none of them.
FREE: Final = frozenset(
    {
        "warn_at",
        "stop_method",
        "atr_multiplier",
        "lookback",
        "sizing_method",
        "probability_weight",
        "volatility_target",
    }
)
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "on_breach": ("reducing", "halted", "flatten"),
    "daily_loss_reset": ("next_day", "manual"),
    "stop_method": STOPS,
    "sizing_method": SIZING,
}
"""Words of a limit, the loosest first where one is looser than another."""
ONE: Final = Decimal(1)
BOUNDS: Final[Mapping[str, tuple[Decimal, Decimal | None]]] = {
    "max_leverage": (ONE, None),
    "lookback": (ONE, Decimal(500)),
    **dict.fromkeys(
        (
            "price_band",
            "price_band_passive",
            "max_slippage",
            "max_daily_loss",
            "max_drawdown",
            "warn_at",
            "stop_loss_fraction",
            "take_profit_fraction",
            "probability_weight",
            "risk_per_trade",
            "kelly_fraction",
            "min_signal_confidence",
            "low_action_probability",
            "high_risk_size",
            "risk_score_threshold",
            "confidence_threshold",
            "max_position_size",
        ),
        (Decimal(0), ONE),
    ),
}
"""Least and most of a limit; 0 and no bound where it is not named."""
POSITIVE: Final = frozenset(
    {"max_position_size", "atr_multiplier", "volatility_target", "kelly_fraction"}
)
"""What must be above its least."""


def limits_row(limits: Limits) -> Fields:
    """Make the row of the limits."""
    return {
        name: plain(value) if isinstance(value, Decimal) else value
        for name, value in asdict(limits).items()
    }


def parse_limits(patch: Mapping[str, object]) -> dict[str, Any]:
    """Read new values of limits.

    Raises:
        Refused: `invalid`, naming the field.
    """
    return {name: _parse(name, value) for name, value in patch.items()}


def _parse(name: str, value: object) -> object:
    kind = str(KINDS.get(name, ""))
    if not kind or name == "version":
        known = ", ".join(sorted(set(KINDS) - {"version"}))
        raise invalid(name, f"is not a limit; there are {known}")
    if value is None:
        if "None" not in kind:
            raise invalid(name, "cannot be switched off")
        return None
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise invalid(name, f"must be one of {', '.join(CHOICES[name])}")
        return value
    if "Decimal" in kind:
        return _bounded(name, _decimal(name, value))
    if "tuple" in kind:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise invalid(name, "must be a list of symbols, or null")
        return tuple(value)
    if "bool" in kind:
        if not isinstance(value, bool):
            raise invalid(name, "must be true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**9:
        raise invalid(name, "must be an integer of 0 or more")
    _bounded(name, Decimal(value))
    return value


def _bounded(name: str, value: Decimal) -> Decimal:
    least, most = BOUNDS.get(name, (Decimal(0), None))
    if value < least or (name in POSITIVE and value == least):
        word = "above" if name in POSITIVE else "at least"
        raise invalid(name, f"must be {word} {plain(least)}; was {plain(value)}")
    if most is not None and value > most:
        raise invalid(name, f"must be at most {plain(most)}; was {plain(value)}")
    return value


def _decimal(name: str, value: object) -> Decimal:
    try:
        found = money(value)
    except ValueError as error:
        raise invalid(name, str(error)) from None
    if found < 0:
        raise invalid(name, "must not be below 0")
    return found


def changed_names(known: Limits, wanted: Limits) -> list[str]:
    """Name the limits that differ."""
    return [
        name
        for name in KINDS
        if name != "version" and getattr(known, name) != getattr(wanted, name)
    ]


def loosens(known: Limits, wanted: Limits, name: str) -> bool:
    """Whether a change lets more pass than before."""
    old, new = getattr(known, name), getattr(wanted, name)
    if name in FREE:
        return False
    if name in CHOICES:
        return CHOICES[name].index(new) < CHOICES[name].index(old)
    if name == "allowed_symbols":
        return new is None or (old is not None and not set(new) <= set(old))
    if isinstance(old, bool) and isinstance(new, bool):
        return old and not new
    if new is None or old is None:
        return new is None
    return bool(new < old) if name in LOWER_IS_LOOSER else bool(new > old)


def ops(desk: Desk, trading: Trading) -> list[Op]:
    """Make the rows of the table."""
    risks = Risks(desk, trading)
    return [
        Op(
            name="risk.assessment",
            params=Params,
            scope="read",
            lane="query",
            handler=risks.assessment,
            http=("GET /api/risk/assessment",),
            summary="Assess exposure, loss and the headroom of every limit, with recommendations",
            example={},
        ),
        Op(
            name="risk.validate_order",
            params=ValidateParams,
            scope="read",
            lane="query",
            handler=risks.validate,
            http=("POST /api/risk/validate/order",),
            summary="Check an order and show what it would mean for the account",
            errors=(Code.INVALID, Code.NOT_FOUND),
            example={"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.01"},
        ),
        Op(
            name="risk.params.get",
            params=Params,
            scope="read",
            lane="query",
            handler=risks.params,
            summary="Show the risk limits in force",
            example={},
        ),
        Op(
            name="risk.params.set",
            params=SetParams,
            scope="bots",
            lane="query",
            idempotency="version",
            handler=risks.set_params,
            summary="Change risk limits; loosening one needs scope admin",
            errors=(Code.INVALID, Code.CONFLICT, Code.FORBIDDEN),
            example={"patch": {"max_order_notional": "5000"}, "version": 1},
            command=True,
            effect=risks.set_effect,
        ),
        Op(
            name="risk.daily_pnl",
            params=DailyParams,
            scope="read",
            lane="query",
            handler=risks.daily,
            summary="Show the profit and loss of a trading day",
            errors=(Code.NOT_FOUND,),
            example={},
        ),
        Op(
            name="risk.reset_daily",
            params=ResetParams,
            scope="admin",
            lane="query",
            idempotency="request_id",
            handler=risks.reset,
            summary="Reset the daily loss count",
            example={"reason": "limit reviewed"},
            command=True,
        ),
    ]
