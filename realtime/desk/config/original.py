"""The configuration of the original system, read into ours (functional specification, 4.3).

Rules of this file: (1) percentages become fractions in decimal arithmetic; (2) what has no place here is named, never
passed over in silence; (3) a secret is never carried over; (4) the result is a patch: the server judges its values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Final

from realtime.desk.config.changes import Plain, merge
from realtime.desk.config.sections import Config
from realtime.model.risk import Limits


LIMITS: Final = frozenset(limit.name for limit in fields(Limits)) - {"version"}
SECTIONS: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(getattr(Config(), name).__class__.model_fields)
    for name in ("strategy", "trading_window", "notifications", "probability")
}
"""Keys of the sections that keep their names."""
PERCENT: Final[Mapping[str, str]] = {
    "stop_loss_percent": "stop_loss_fraction",
    "take_profit_percent": "take_profit_fraction",
    "max_daily_loss": "max_daily_loss",
}
"""Limits that the original has in percent."""
SECRETS: Final = frozenset({"password", "email_password", "api_key", "api_secret", "secret_key"})
UPPER: Final[Mapping[str, tuple[str, str]]] = {
    "SYMBOL": ("strategy", "symbol"),
    "TIMEFRAME": ("strategy", "timeframe"),
    "EMA_LENGTH": ("strategy", "ema_length"),
    "EMA_FAST": ("strategy", "ema_fast"),
    "EMA_SLOW": ("strategy", "ema_slow"),
    "RSI_PERIOD": ("strategy", "rsi_period"),
    "ATR_MULTIPLIER": ("strategy", "atr_multiplier"),
    "VOLUME_MULTIPLIER": ("strategy", "volume_multiplier"),
    "TRADING_START_HOUR": ("trading_window", "start_hour"),
    "TRADING_END_HOUR": ("trading_window", "end_hour"),
    "MAX_TRADES_PER_DAY": ("trading_window", "max_trades_per_day"),
    "MAX_DAILY_LOSS": ("risk", "max_daily_loss"),
    "STOP_LOSS_PERCENT": ("risk", "stop_loss_percent"),
    "TAKE_PROFIT_PERCENT": ("risk", "take_profit_percent"),
    "LOOKBACK": ("risk", "lookback"),
    "MAX_POSITION_SIZE": ("risk", "max_position_size"),
    "MAX_LEVERAGE": ("risk", "max_leverage"),
    "MAX_OPEN_POSITIONS": ("risk", "max_open_positions"),
    "MIN_SIGNAL_CONFIDENCE": ("risk", "min_signal_confidence"),
    "PROBABILITY_WEIGHT": ("risk", "probability_weight"),
    "EMAIL_NOTIFICATIONS": ("notifications", "email_enabled"),
    "EMAIL_ENABLED": ("notifications", "email_enabled"),
    "EMAIL_SMTP_SERVER": ("notifications", "smtp_server"),
    "EMAIL_SMTP_PORT": ("notifications", "smtp_port"),
    "EMAIL_SENDER": ("notifications", "sender"),
    "EMAIL_RECEIVER": ("notifications", "receiver"),
    "EMAIL_PASSWORD": ("notifications", "password"),
}
"""Keys of the flat form."""


@dataclass(slots=True)
class Imported:
    """What was read.

    Attributes:
        patch: For `config.update`, or as a file of sections.
        dropped: Paths of the original that have no place here, and why.
    """

    patch: Plain = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def put(self, section: str, key: str, value: object) -> None:
        """Add a value."""
        self.patch.setdefault(section, {})[key] = value


def read(original: Mapping[str, Any]) -> Imported:
    """Read a configuration of the original, its sections and its upper-case keys; sections win."""
    made = Imported()
    flat: dict[str, Plain] = {}
    for name, value in original.items():
        if name in UPPER:
            section, key = UPPER[name]
            flat.setdefault(section, {})[key] = value
    named = {k: v for k, v in original.items() if k not in UPPER}
    for section, value in merge(flat, named).items():
        if not isinstance(value, Mapping):
            made.dropped[section] = "has no place here"
        else:
            _section(made, section, value)
    return made


def _section(made: Imported, section: str, values: Mapping[str, Any]) -> None:
    match section:
        case "risk":
            _risk(made, values)
        case "portfolio_strategies":
            for name, own in values.items():
                _strategy(made, f"portfolio_strategies.{name}", name, own)
        case "fvg_strategy":
            # It fills what `portfolio_strategies.fvg` lacks.
            known = made.patch.get("strategies", {}).get("fvg", {})
            _strategy(made, section, "fvg", {**values, **known})
        case "probability_settings":
            _copy(made, section, "probability", values)
        case "strategy" | "trading_window" | "notifications" | "probability":
            _copy(made, section, section, values)
        case _:
            made.dropped[section] = "has no place here"


def _risk(made: Imported, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key in PERCENT:
            share = _share(value)
            if share is None:
                made.dropped[f"risk.{key}"] = "is no number"
            else:
                made.put("risk", PERCENT[key], share)
        elif key == "max_trades_per_day":
            made.put("trading_window", key, value)
        elif key in LIMITS:
            made.put("risk", key, value)
        else:
            made.dropped[f"risk.{key}"] = _why(key)


def _share(percent: object) -> str | None:
    """Turn percent into a fraction, as a decimal string."""
    if isinstance(percent, bool) or not isinstance(percent, int | float):
        return None
    # Through the text, because 2.1 percent are 0.021 and not the nearest float of it.
    return format((Decimal(repr(percent)) / 100).normalize(), "f")


def _strategy(made: Imported, path: str, name: str, own: object) -> None:
    if isinstance(own, Mapping):
        found = made.patch.setdefault("strategies", {}).get(name, {})
        made.patch["strategies"][name] = {**found, **own}
    else:
        made.dropped[path] = "is no section"


def _copy(made: Imported, path: str, section: str, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key in SECTIONS[section] and value is not None:
            made.put(section, key, value)
        else:
            made.dropped[f"{path}.{key}"] = _why(key)


def _why(key: str) -> str:
    if key.lower() in SECRETS:
        return "is a secret: give it in the environment"
    return "has no place here"
