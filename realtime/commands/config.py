"""Ops of the runtime configuration: read, change, judge, reload, go back."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Final

from pydantic import Field

from realtime.commands import naming, pages
from realtime.commands.params import ChangeParams, Limit, ListParams, Name, Params, invalid, suggest
from realtime.commands.registry import Answer, Call, Op
from realtime.commands.risk import BOUNDS, CHOICES, POSITIVE
from realtime.desk.config.book import ORDER, TOLERANCE, ConfigBook, shown
from realtime.desk.config.changes import Change
from realtime.desk.config.sections import Config
from realtime.desk.desk import Desk
from realtime.model.errors import Code, Refused
from realtime.model.market import ZERO
from realtime.model.risk import Limits


Patch = Annotated[dict[str, Any], Field(min_length=1, max_length=64)]
VersionNumber = Annotated[int, Field(ge=1)]
Fields = dict[str, object]
DIGITS = 10
"""Decimals that a weight is rounded to when others make room for it."""


LIMITS: Final[Mapping[str, str]] = {
    "allowed_symbols": "the only symbols that may be traded",
    "max_price_age_ms": "age of the price an order is judged by [ms]",
    "price_band": "distance from the price of an order that would trade at once [fraction]",
    "price_band_passive": "distance from the price of an order that would rest [fraction]",
    "max_slippage": "slippage forecast for a market order [fraction]",
    "max_order_amount": "amount of one order [base]",
    "max_order_notional": "notional of one order [valuation currency]",
    "max_position_size": "position in one symbol [fraction of equity]",
    "max_position_notional": "position in one symbol [valuation currency]",
    "max_leverage": "gross exposure by equity",
    "max_open_positions": "positions at a time",
    "max_open_orders_symbol": "working orders of one symbol",
    "max_open_orders": "working orders of all symbols",
    "order_rate": "orders per second in the long run",
    "order_burst": "orders at once, above the rate",
    "order_rate_minute": "orders per minute",
    "duplicate_order_ms": "time in which an equal order of the same sender is refused [ms]",
    "self_trade": "refuse an order that would meet one of our own",
    "max_unknown": "orders of unknown outcome in a symbol, of one owner",
    "repeated_execution": "entry fills of one strategy in 10 min before it is stopped",
    "max_daily_loss": "loss of the trading day [fraction of equity at its start]",
    "max_drawdown": "fall of equity from its peak [fraction]",
    "loss_streak": "losing trades in a row before entries wait an hour",
    "cooldown_minutes": "time without entries in a symbol after an exit from it [min]",
    "equity_age_s": "age of the prices that equity is counted with [s]",
    "warn_at": "part of a limit at which a warning is given",
    "on_breach": "what a breach of the loss or the drawdown does",
    "daily_loss_reset": "how entries are allowed again after the day's loss",
    "stop_loss_fraction": "distance of the recommended stop [fraction of the price]",
    "take_profit_fraction": "distance of the recommended target [fraction of the price]",
    "stop_method": "how the stop's distance is found",
    "atr_multiplier": "distance of an atr stop [average true ranges]",
    "lookback": "bars of a swing stop",
    "sizing_method": "how bots size a trade",
    "probability_weight": "of clarity against confidence in the size",
    "risk_per_trade": "lost at the stop, for fixed_fractional [fraction of equity]",
    "volatility_target": "yearly deviation wanted of a position, for volatility_target [fraction]",
    "kelly_fraction": "part of the full Kelly bet, for kelly",
    "min_signal_confidence": "least confidence of a signal that is traded",
    "low_action_probability": "least probability of the action of a signal that is traded",
    "high_risk_size": "risk score above which a trade is made smaller",
    "risk_score_threshold": "risk score above which a bot's order is refused",
    "confidence_threshold": "least confidence of a bot's order",
}
"""What each limit is, for people: the most, where nothing else is said."""


class GetParams(Params):
    """One section, or all."""

    section: Name | None = None


class UpdateParams(ChangeParams):
    """Sections with the keys to change, as a JSON merge patch; `version` is the one they were read at."""

    patch: Patch
    version: VersionNumber | None = None


class StrategyParams(Params):
    """Which strategy."""

    name: Name


class StrategySetParams(ChangeParams):
    """Keys of a strategy to change; null removes one."""

    name: Name
    params: Patch
    version: VersionNumber | None = None


class WeightParams(ChangeParams):
    """A new weight; with `renormalize` the other strategies in use make room in proportion."""

    name: Name
    weight: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    renormalize: bool = True
    version: VersionNumber | None = None


class ValidateParams(Params):
    """A patch to judge; without one, what is in force is judged."""

    candidate: Annotated[dict[str, Any], Field(max_length=64)] | None = None


class HistoryParams(ListParams):
    """How many versions."""

    limit: Limit = 50


class RollbackParams(ChangeParams):
    """Which version to put in force again."""

    version: VersionNumber


class Configs:
    """The handlers."""

    def __init__(self, desk: Desk, book: ConfigBook) -> None:
        self._desk = desk
        self._book = book

    # -- reading -----------------------------------------------------------------------------------

    def get(self, call: Call[GetParams]) -> Answer:
        """Give what is in force."""
        whole = self._book.whole()
        section = call.params.section
        if section is None:
            return Answer(result={"version": self._book.version, "config": whole})
        if section not in whole:
            meant = suggest(section, ORDER)
            hint = f"; did you mean {meant}?" if meant else f"; there are {', '.join(ORDER)}"
            raise Refused(Code.NOT_FOUND, f"no section {section}{hint}", {"what": "section"})
        return Answer(result={"version": self._book.version, "config": {section: whole[section]}})

    def summary(self, _call: Call[Params]) -> Answer:
        """Sum up what is in force."""
        book, limits = self._book, self._book.limits
        config = book.current
        faults = [*book.faults(), *book.file_faults]
        probability = config.probability
        return Answer(
            result={
                "version": book.version,
                "config_file": None if book.file is None else str(book.file),
                "config_valid": not faults,
                "validation_errors": [fault.row() for fault in faults],
                "enabled_strategies": list(config.enabled),
                "total_strategy_count": len(config.strategies),
                "risk_management": {
                    "max_position_size": _number(limits.max_position_size),
                    "min_signal_confidence": _number(limits.min_signal_confidence),
                    "probability_weight": _number(limits.probability_weight),
                },
                "probability_framework": {
                    "combination_method": probability.combination_method,
                    "dynamic_weights_enabled": probability.enable_dynamic_weights,
                    "risk_threshold": probability.risk_score_threshold,
                },
            }
        )

    def strategies(self, _call: Call[Params]) -> Answer:
        """Give the strategies and their weights."""
        config = self._book.current
        weights = config.weights()
        rows = [
            {
                "strategy_name": name,
                "weight": weights.get(name, use.weight),
                "min_confidence": use.min_confidence,
                "enabled": use.enabled,
            }
            for name, use in config.strategies.items()
        ]
        return Answer(
            result={
                "version": self._book.version,
                "strategy_weights": rows,
                "total_strategies": len(rows),
                "enabled_strategies": len(weights),
            }
        )

    def strategy(self, call: Call[StrategyParams]) -> Answer:
        """Give one strategy with the parameters it runs with."""
        return Answer(result=self._strategy(call.params.name))

    def _strategy(self, name: str) -> Fields:
        self._check_known(name)
        use = self._book.current.strategies.get(name)
        parameters: Fields = {}
        if use is not None:
            parameters = {
                "enabled": use.enabled,
                "weight": use.weight,
                "min_confidence": use.min_confidence,
            }
        return {
            "version": self._book.version,
            "strategy_name": name,
            "parameters": parameters | self._book.parameters(name),
        }

    def _check_known(self, name: str) -> None:
        if not self._book.known(name):
            meant = suggest(name, self._book.current.strategies)
            hint = f"; did you mean {meant}?" if meant else ""
            raise Refused(Code.NOT_FOUND, f"no strategy {name}{hint}", {"what": "strategy"})

    def probability(self, _call: Call[Params]) -> Answer:
        """Give section `probability` and what the gate adds to it."""
        return Answer(result=self._probability())

    def _probability(self) -> Fields:
        limits = self._book.limits
        return {
            "version": self._book.version,
            "probability_settings": self._book.current.probability.model_dump(mode="json"),
            "risk_config": {
                "min_signal_confidence": _number(limits.min_signal_confidence),
                "probability_weight": _number(limits.probability_weight),
            },
        }

    def schema(self, _call: Call[Params]) -> Answer:
        """Give the JSON schema of what can be set."""
        return Answer(result={"schema": schema()})

    def validate(self, call: Call[ValidateParams]) -> Answer:
        """Judge a patch, or what is in force."""
        candidate = call.params.candidate
        faults = self._book.faults() if candidate is None else self._book.validate(candidate)
        errors = [fault.row() for fault in faults]
        return Answer(result={"valid": not errors, "errors": errors, "error_count": len(errors)})

    async def history(self, call: Call[HistoryParams]) -> Answer:
        """Give a page of versions, newest first."""
        params = call.params
        before = None if params.cursor is None else pages.place(params.cursor)
        versions = await self._book.history(params.limit + 1, before)
        rows = [version.row() for version in versions[: params.limit]]
        rows = rows[: pages.fitting(rows)]
        cursor = str(rows[-1]["version"]) if len(rows) < len(versions) else None
        return Answer(result={"versions": rows, "next_cursor": cursor})

    # -- changing ----------------------------------------------------------------------------------

    async def update(self, call: Call[UpdateParams]) -> Answer:
        """Change the configuration."""
        params = call.params
        who = naming.who_of(call)
        return await self._changed(self._book.update(params.patch, params.version, who))

    async def _changed(
        self, changes: Sequence[Change], more: Mapping[str, object] | None = None
    ) -> Answer:
        """Answer once it is on disk."""
        version = self._book.version
        await self._desk.settled()
        result: Fields = {
            "version": version,
            "changed": bool(changes),
            "changes": [shown(change) for change in changes],
        }
        at = self._desk.outlet.named(("config", "risk", "status")) if changes else None
        return Answer(result=result | dict(more or {}), at=at)

    async def set_strategy(self, call: Call[StrategySetParams]) -> Answer:
        """Change keys of one strategy."""
        params = call.params
        self._check_known(params.name)
        patch = {"strategies": {params.name: params.params}}
        changes = self._book.update(patch, params.version, naming.who_of(call))
        return await self._changed(changes, self._strategy(params.name))

    async def set_weight(self, call: Call[WeightParams]) -> Answer:
        """Change the weight of one strategy."""
        params = call.params
        self._check_known(params.name)
        self._book.check(params.version)
        weights = self._weights(params)
        patch = {"strategies": {name: {"weight": weight} for name, weight in weights.items()}}
        changes = self._book.update(patch, params.version, naming.who_of(call))
        return await self._changed(changes, {"weights": self._book.current.weights()})

    def _weights(self, params: WeightParams) -> dict[str, float]:
        """Give the new weights of the strategies in use, and of the one that is named."""
        used = self._book.current.enabled
        wanted = {name: use.weight for name, use in used.items()} | {params.name: params.weight}
        if params.name not in used:
            return {params.name: params.weight}
        others = [name for name in used if name != params.name]
        if not params.renormalize or not others:
            total = sum(wanted[name] for name in used)
            if abs(total - 1) > TOLERANCE:
                raise invalid("weight", f"makes the weights sum to {total:g}, must be 1")
            return wanted
        total = sum(wanted[name] for name in others)
        for name in others:
            share = wanted[name] / total if total else 1 / len(others)
            wanted[name] = round((1 - params.weight) * share, DIGITS)
        return wanted

    async def set_probability(self, call: Call[UpdateParams]) -> Answer:
        """Change section `probability`; keys of `risk_config` are limits of the gate."""
        params = call.params
        own = dict(params.patch)
        risk = {
            key: own.pop(key)
            for key in ("min_signal_confidence", "probability_weight")
            if key in own
        }
        patch: Fields = ({"probability": own} if own else {}) | ({"risk": risk} if risk else {})
        changes = self._book.update(patch, params.version, naming.who_of(call))
        return await self._changed(changes, self._probability())

    async def reload(self, call: Call[ChangeParams]) -> Answer:
        """Put the values of the file over what is in force."""
        changes, faults = await self._book.reload(naming.who_of(call))
        if faults:
            message = f"the file is broken; version {self._book.version} stays in force"
        else:
            message = "reloaded" if changes else "nothing has changed"
        return await self._changed(
            changes,
            {
                "message": message,
                "config_valid": not faults,
                "validation_errors": [fault.row() for fault in faults],
            },
        )

    async def roll_back(self, call: Call[RollbackParams]) -> Answer:
        """Put an old version in force as a new one."""
        old = await self._book.find(call.params.version)
        return await self._changed(self._book.roll_back(old, naming.who_of(call)))

    def effect(self, call: Call[RollbackParams]) -> Fields:
        """What going back would do."""
        return {"version": self._book.version, "rollback_to": call.params.version}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


@cache
def schema() -> Mapping[str, object]:
    """Make the JSON schema of the sections that can be set, once."""
    made = Config.model_json_schema()
    properties = made["properties"]
    profiles = properties.pop("profiles")
    limits: Fields = {
        name: _limit_schema(name, str(field.type))
        for name, field in Limits.__dataclass_fields__.items()
        if name != "version"
    }
    properties["risk"] = {
        "type": "object",
        "description": "Limits of the gate, as in risk.params.get; null, an empty field, switches one off.",
        "additionalProperties": False,
        "properties": limits | {"profiles": profiles},
    }
    made["properties"] = {name: properties[name] for name in ORDER if name in properties}
    return dict(made)


def _limit_schema(name: str, kind: str) -> Fields:
    off = ["null"] if "None" in kind else []
    told: Fields = {"description": LIMITS[name]}
    if "tuple" in kind:
        return told | {"type": ["array", *off], "items": {"type": "string"}}
    if name in CHOICES:
        return told | {"type": "string", "enum": list(CHOICES[name])}
    if "bool" in kind:
        return told | {"type": "boolean"}
    least, most = BOUNDS.get(name, (ZERO, None))
    told["exclusiveMinimum" if name in POSITIVE else "minimum"] = float(least)
    if most is not None:
        told["maximum"] = float(most)
    if "Decimal" in kind:
        return told | {"type": ["string", "number", *off], "format": "decimal"}
    return told | {"type": ["integer", *off] if off else "integer"}


def ops(desk: Desk, book: ConfigBook) -> list[Op]:
    """Make the rows of the table."""
    configs = Configs(desk, book)
    changing = (Code.INVALID, Code.CONFLICT)
    return [
        Op(
            name="config.get",
            params=GetParams,
            scope="read",
            lane="query",
            handler=configs.get,
            http=("GET /api/config",),
            summary="Show the configuration in force, or one section of it",
            errors=(Code.NOT_FOUND,),
            example={"section": "trading_window"},
        ),
        Op(
            name="config.update",
            params=UpdateParams,
            scope="admin",
            lane="query",
            idempotency="version",
            handler=configs.update,
            http=("POST /api/config",),
            summary="Change the configuration with a JSON merge patch, as a new version",
            errors=changing,
            example={"patch": {"strategy": {"timeframe": "15m"}}, "version": 1},
            command=True,
        ),
        Op(
            name="config.summary",
            params=Params,
            scope="read",
            lane="query",
            handler=configs.summary,
            http=("GET /api/config/summary",),
            summary="Summarize the configuration and say whether it is valid",
            example={},
        ),
        Op(
            name="config.strategies",
            params=Params,
            scope="read",
            lane="query",
            handler=configs.strategies,
            http=("GET /api/config/strategies",),
            summary="List the strategies with their weights; enabled weights sum to 1",
            example={},
        ),
        Op(
            name="config.strategy.get",
            params=StrategyParams,
            scope="read",
            lane="query",
            handler=configs.strategy,
            http=("GET /api/config/strategy/{name}",),
            summary="Show the weight, threshold and parameters of a strategy",
            errors=(Code.NOT_FOUND,),
            example={"name": "rsi"},
        ),
        Op(
            name="config.strategy.set",
            params=StrategySetParams,
            scope="admin",
            lane="query",
            idempotency="version",
            handler=configs.set_strategy,
            http=("PUT /api/config/strategy/{name}",),
            summary="Change the weight, threshold or parameters of a strategy",
            errors=(*changing, Code.NOT_FOUND),
            example={"name": "rsi", "params": {"oversold": 25}, "version": 1},
            command=True,
        ),
        Op(
            name="config.strategy.set_weight",
            params=WeightParams,
            scope="admin",
            lane="query",
            idempotency="version",
            handler=configs.set_weight,
            http=("PUT /api/config/strategy/{name}/weight",),
            summary="Change the weight of a strategy; the other weights are rescaled unless told otherwise",
            errors=(*changing, Code.NOT_FOUND),
            example={"name": "rsi", "weight": 0.5, "version": 1},
            command=True,
        ),
        Op(
            name="config.probability.get",
            params=Params,
            scope="read",
            lane="query",
            handler=configs.probability,
            http=("GET /api/config/probability",),
            summary="Show the signal thresholds and how signals are combined",
            example={},
        ),
        Op(
            name="config.probability.set",
            params=UpdateParams,
            scope="admin",
            lane="query",
            idempotency="version",
            handler=configs.set_probability,
            http=("PUT /api/config/probability",),
            summary="Change the signal thresholds or how signals are combined",
            errors=changing,
            example={"patch": {"combination_method": "majority_vote"}, "version": 1},
            command=True,
        ),
        Op(
            name="config.validate",
            params=ValidateParams,
            scope="read",
            lane="query",
            handler=configs.validate,
            http=("GET /api/config/validate",),
            summary="Validate a patch without applying it, or the configuration in force",
            example={"candidate": {"risk": {"max_leverage": "0.5"}}},
        ),
        Op(
            name="config.reload",
            params=ChangeParams,
            scope="admin",
            lane="query",
            handler=configs.reload,
            http=("POST /api/config/reload",),
            summary="Reload the configuration file; a broken file changes nothing",
            errors=(Code.NOT_FOUND,),
            example={},
            command=True,
        ),
        Op(
            name="config.schema",
            params=Params,
            scope="read",
            lane="query",
            handler=configs.schema,
            summary="Return the JSON Schema of the configuration",
            example={},
        ),
        Op(
            name="config.history",
            params=HistoryParams,
            scope="read",
            lane="query",
            handler=configs.history,
            summary="List the versions of the configuration with author, time and changes, newest first",
            example={"limit": 10},
        ),
        Op(
            name="config.rollback",
            params=RollbackParams,
            scope="admin",
            lane="query",
            handler=configs.roll_back,
            summary="Restore an earlier version of the configuration as a new version",
            errors=(Code.INVALID, Code.NOT_FOUND),
            example={"version": 1},
            command=True,
            effect=configs.effect,
        ),
    ]
