"""The sections of the runtime configuration (functional specification, 4.1), as untrusted input is read into them.

Rules of this file: (1) strict: nothing is coerced, an unknown key is a mistake; (2) values are frozen, a change is a
new `Config`; (3) section `risk` is not here: its one truth are the engine's limits; nor is `bots`, which are changed by
`bot.configure`. Fractions are 0..1.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

from realtime.engine.window import ALL_WEEK, DAYS, Blackout, Schedule, Span, minute_of
from realtime.hub.channels import TIMEFRAMES
from realtime.model.market import MS, ZERO
from realtime.model.times import INSTANT, instant


T = TypeVar("T")

"""The last ms whose nanoseconds fit 64 bits."""
_MONEY: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?", re.ASCII)


# --- values ---------------------------------------------------------------------------------------


def _money(value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = format(Decimal(repr(value)), "f") if number else value
    if not isinstance(text, str) or not _MONEY.fullmatch(text):
        raise ValueError('must be a decimal string such as "0.01"')
    return Decimal(text) or ZERO


def _instant(value: object) -> int:
    if isinstance(value, datetime):  # TOML has them
        value = value.isoformat()
    read = instant(value)
    if read is None:
        raise ValueError(INSTANT)
    return read


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not a time zone such as Europe/Berlin") from None
    return name


def _clock(text: str) -> str:
    minute_of(text)
    return text


def _timeframe(text: str) -> str:
    if text not in TIMEFRAMES:
        raise ValueError(f"must be one of {', '.join(TIMEFRAMES)}")
    return text


List = Annotated[tuple[T, ...], Field(strict=False)]
"""A list; its items are read as strictly as everything else."""
Money = Annotated[
    Decimal,
    PlainValidator(_money),
    PlainSerializer(lambda value: format(value, "f"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "decimal"}),
]
Instant = Annotated[
    int, PlainValidator(_instant), WithJsonSchema({"type": ["integer", "string"], "minimum": 0})
]
Zone = Annotated[str, Field(max_length=64), AfterValidator(_zone)]
Clock = Annotated[str, AfterValidator(_clock)]
Timeframe = Annotated[
    str, AfterValidator(_timeframe), WithJsonSchema({"type": "string", "enum": list(TIMEFRAMES)})
]
Fraction = Annotated[float, Field(ge=0, le=1)]
Period = Annotated[int, Field(ge=1, le=1000)]
Text = Annotated[str, Field(max_length=500)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Currency = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,16}$")]


class Section(BaseModel):
    """A section; unknown keys are mistakes."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


# --- sections -------------------------------------------------------------------------------------


class StrategyBase(Section):
    """What all strategies share: where, how long a bar, and filters."""

    symbol: Name = "BTC/USDT"
    timeframe: Timeframe = "1h"
    ema_length: Period = 20
    ema_fast: Period = 12
    ema_slow: Period = 26
    rsi_period: Period = 14
    atr_multiplier: Annotated[
        float,
        Field(ge=0, description="distance of an ATR stop; the same value as risk.atr_multiplier"),
    ] = 2.0
    volume_multiplier: Annotated[float, Field(ge=0, le=100)] = 1.5
    trend_filter: bool = False
    volume_filter: bool = False


class StrategyUse(Section):
    """One strategy: whether it is used, how much it counts, and parameters of its own."""

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    enabled: bool = False
    weight: Fraction = 0.0
    min_confidence: Fraction = 0.5

    @property
    def own(self) -> Mapping[str, Any]:
        """Its own parameters."""
        return self.model_extra or {}


class Probability(Section):
    """When a combined signal is acted on, and how signals are combined."""

    confidence_threshold_buy: Fraction = 0.7
    confidence_threshold_sell: Fraction = 0.7
    confidence_threshold_hold: Fraction = 0.6
    risk_score_threshold: Fraction = 0.8
    combination_method: Literal["weighted_average", "majority_vote"] = "weighted_average"
    enable_dynamic_weights: bool = True


class Hours(Section):
    """Hours of some days; `end` at or before `start` is one of the next day."""

    days: Annotated[
        List[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], Field(min_length=1)
    ] = DAYS
    start: Clock
    end: Clock

    def span(self) -> Span:
        """Make the value the engine judges by."""
        days = frozenset(DAYS.index(day) for day in self.days)
        # A day that begins at its end begins at the next midnight.
        return Span(days=days, start=minute_of(self.start) % 1440, end=minute_of(self.end))


class BlackoutSection(Section):
    """A time without entries; `to_ts` is not included."""

    from_ts: Instant
    to_ts: Instant
    reason: Text = ""


class TradingWindow(Section):
    """When bots may enter; `windows` rules over the short form of `start_hour` and `end_hour`."""

    enabled: bool = True
    timezone: Zone | None = None
    start_hour: Annotated[int, Field(ge=0, le=23)] = 0
    end_hour: Annotated[int, Field(ge=1, le=24)] = 24
    windows: Annotated[List[Hours], Field(min_length=1, max_length=64)] | None = None
    max_trades_per_day: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    cooldown_minutes: Annotated[int, Field(ge=0, le=10_080)] = 0
    blackouts: Annotated[List[BlackoutSection], Field(max_length=256)] = ()

    def schedule(self, timezone: str) -> Schedule:
        """Make the value the engine judges by.

        Args:
            timezone: Of everything, where the window has none of its own.
        """
        short = Span(days=ALL_WEEK, start=self.start_hour * 60, end=self.end_hour * 60)
        spans = (short,) if self.windows is None else tuple(hours.span() for hours in self.windows)
        return Schedule(
            enabled=self.enabled,
            zone=ZoneInfo(self.timezone or timezone),
            spans=spans,
            blackouts=tuple(
                Blackout(from_ts=b.from_ts * MS, to_ts=b.to_ts * MS, reason=b.reason)
                for b in self.blackouts
            ),
            max_trades_per_day=self.max_trades_per_day,
            cooldown_minutes=self.cooldown_minutes,
        )


class MarketChecks(Section):
    """When a market is fit to be traded (features F9); zero switches the two least ones off."""

    max_spread: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_volatility: Annotated[float, Field(ge=0)] = 0.10
    min_depth_quote: Annotated[float, Field(ge=0)] = 0.0
    min_volume_24h_quote: Annotated[float, Field(ge=0)] = 0.0
    max_staleness_ms: Annotated[int, Field(ge=1, le=3_600_000)] = 10_000


class Portfolio(Section):
    """How capital is spread."""

    valuation_currency: Currency = "USDT"
    risk_profile: Literal["conservative", "moderate", "aggressive"] = "moderate"
    max_allocation: Fraction = 0.8
    rebalance_threshold: Fraction = 0.01


class Webhook(Section):
    """Where alerts are sent: Slack, Discord, or whatever takes JSON."""

    url: Annotated[
        str,
        Field(pattern=r"^https?://[^\s@]{1,500}$", description="https, or http on this machine"),
    ]
    events: Annotated[List[Name], Field(max_length=64, description="alert codes; empty: all")] = ()
    min_level: Literal["info", "warning", "error", "critical"] = "warning"


class Notifications(Section):
    """Alerts by mail (level `warning` and above) and webhooks; `smtp.password` is a start-up secret and never here."""

    email_enabled: bool = False
    smtp_server: Annotated[str, Field(max_length=253)] = ""
    smtp_port: Annotated[int, Field(ge=1, le=65535)] = 465
    sender: Annotated[str, Field(max_length=320)] = ""
    receiver: Annotated[str, Field(max_length=320)] = ""
    webhooks: Annotated[List[Webhook], Field(max_length=16)] = ()


class Alerts(Section):
    """When an alert is made: a figure that crosses a threshold is told once as a warning, and once when it is back."""

    max_drawdown: Annotated[Fraction, Field(description="drop of equity from its peak")] = 0.1
    min_win_rate: Annotated[
        Fraction, Field(description="fraction of a bot's closed trades that won (of at least 5)")
    ] = 0.4
    min_pnl: Annotated[
        Money, Field(description="profit of the trading day [valuation currency]")
    ] = Decimal(-1000)
    feed_failures: Annotated[
        int, Field(ge=1, description="feeds that became stale within the window, or are stale now")
    ] = 1
    max_latency_ms: Annotated[
        float, Field(gt=0, description="mean latency of a leg within the window [ms]")
    ] = 1000.0
    max_error_rate: Annotated[
        Fraction,
        Field(
            description="fraction of orders that the venue refused or did not answer (at least 2 of 5)"
        ),
    ] = 0.05
    max_reconnects: Annotated[
        int, Field(ge=0, description="reconnects to an exchange within the window")
    ] = 3
    min_feed_health: Annotated[
        Fraction, Field(description="fraction of the last five minutes in which a stream was fresh")
    ] = 0.5
    window_minutes: Annotated[
        int, Field(ge=1, le=1440, description="length of the window [min]")
    ] = 5
    cooldown_minutes: Annotated[
        int,
        Field(ge=0, le=1440, description="minimum time between two warnings about one value [min]"),
    ] = 15


def _strategies() -> dict[str, StrategyUse]:
    return {
        "ema_crossover": StrategyUse(enabled=True, weight=0.45, min_confidence=0.6),
        "rsi": StrategyUse(enabled=True, weight=0.35, min_confidence=0.5),
        "fvg": StrategyUse(enabled=True, weight=0.20, min_confidence=0.5),
        "sample": StrategyUse(enabled=False, weight=0.0, min_confidence=0.3),
    }


Profiles = dict[Literal["conservative", "moderate", "aggressive"], dict[str, Any]]


class Config(Section):
    """The whole configuration but for `risk` and `bots`.

    Attributes:
        profiles: `risk.profiles` of the wire: limits that replace those of `risk` under a risk profile.
    """

    BASE: ClassVar[Mapping[str, str]] = {
        "fast_period": "ema_fast",
        "slow_period": "ema_slow",
        "rsi_period": "rsi_period",
    }
    """Parameters of strategies that section `strategy` gives where a strategy has none of its own."""

    strategy: StrategyBase = StrategyBase()
    strategies: Annotated[dict[Name, StrategyUse], Field(max_length=64)] = Field(
        default_factory=_strategies
    )
    probability: Probability = Probability()
    profiles: Profiles = Field(default_factory=dict)
    trading_window: TradingWindow = TradingWindow()
    market_checks: MarketChecks = MarketChecks()
    portfolio: Portfolio = Portfolio()
    notifications: Notifications = Notifications()
    alerts: Alerts = Alerts()
    timezone: Zone = "UTC"

    @property
    def enabled(self) -> dict[str, StrategyUse]:
        """The strategies in use."""
        return {name: use for name, use in self.strategies.items() if use.enabled}

    def weights(self) -> dict[str, float]:
        """Give the weights of the strategies in use, together 1."""
        total = sum(use.weight for use in self.enabled.values())
        return {n: use.weight / total if total else 0.0 for n, use in self.enabled.items()}

    def parameters(self, name: str, accepts: Collection[str]) -> dict[str, Any]:
        """Give the parameters of a strategy: its own, else those of section `strategy`.

        Args:
            name: The strategy; one that is not configured has none of its own.
            accepts: Names of its parameters.
        """
        base = {
            parameter: getattr(self.strategy, key)
            for parameter, key in self.BASE.items()
            if parameter in accepts
        }
        use = self.strategies.get(name)
        return base | dict(use.own) if use is not None else base

    def window(self, own: Mapping[str, object]) -> TradingWindow:
        """Give the trading window with keys of one's own in place of those of section `trading_window`.

        Raises:
            pydantic.ValidationError: A key of `own` is wrong.
        """
        if not own:
            return self.trading_window
        whole = self.trading_window.model_dump(mode="json") | dict(own)
        # Hours of one's own rule over the windows of everybody.
        if {"start_hour", "end_hour"} & set(own) and "windows" not in own:
            whole["windows"] = None
        return TradingWindow.model_validate(whole)

    def schedule(self, own: Mapping[str, object] | None = None) -> Schedule:
        """Make the value the engine judges by, of `window`."""
        return self.window(own or {}).schedule(self.timezone)
