"""Every start-up knob: `realtime.toml`, then `REALTIME_*`; read once, frozen, changed by a restart.

Nested keys of the environment are joined by two underscores: `REALTIME_SERVER__PORT=9000`. Sections of the runtime
configuration may stand in the same file; they are passed over here (`desk/config` reads them).
"""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


SYMBOLS = (
    "BTC/USDT",
    "ETH/USDT",
    "LTC/USDT",
    "XRP/USDT",
    "ADA/USDT",
    "SOL/USDT",
    "DOGE/USDT",
    "DOT/USDT",
    "BTC/USDT:USDT",
    "ETH/USDT:USDT",
)
"""Markets of the embedded exchange: ten, as trading document 5.2 wants."""

FILE = Path("realtime.toml")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
RUNTIME: Final = frozenset(
    {
        "strategy",
        "probability",
        "trading_window",
        "market_checks",
        "portfolio",
        "bots",
        "notifications",
        "alerts",
        "timezone",
    }
)
"""Sections of the file that are runtime configuration."""
SHARED: Final[Mapping[str, frozenset[str]]] = {
    "risk": frozenset({"valuation_currency", "timezone", "limits"}),
    "strategies": frozenset({"path"}),
}
"""Sections of both kinds: the keys that are start-up settings."""


class Section(BaseModel):
    """A section of the file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """Where and how to listen."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    max_connections: int = Field(10_000, ge=1)
    accept_per_s: int = Field(1_000, ge=1)
    header_timeout_s: float = Field(5.0, gt=0)
    auth_timeout_s: float = Field(10.0, gt=0)
    frame_bytes: int = Field(65_536, ge=1_024)
    write_buffer_bytes: int = Field(65_536, ge=4_096)
    stall_s: float = Field(10.0, gt=0)
    heartbeat_s: int = Field(5, ge=1, le=30)


class AuthSettings(Section):
    """Who may come in.

    `required` unset means: not on loopback, yes everywhere else.
    """

    required: bool | None = None
    token_days: int = Field(90, ge=1)
    insecure_i_know: bool = False


class LimitSettings(Section):
    """Figures of protocol document section 10."""

    channels: int = Field(256, ge=1)
    subscribes_per_s: int = Field(20, ge=1)
    commands_per_s: int = Field(20, ge=1)
    orders_per_s: int = Field(10, ge=1)
    safety_per_s: int = Field(50, ge=1)


class HubSettings(Section):
    """How much the hub keeps per stream."""

    ring_table: int = Field(256, ge=1)
    ring_public: int = Field(1_000, ge=1)
    ring_private: int = Field(10_000, ge=1)
    log_lines: int = Field(10_000, ge=100)


class FeeSettings(Section):
    """Fee rates, 0..1."""

    spot_maker: Decimal = Decimal("0.001")
    spot_taker: Decimal = Decimal("0.001")
    perpetual_maker: Decimal = Decimal("0.0002")
    perpetual_taker: Decimal = Decimal("0.00055")


class PaperSettings(Section):
    """The paper exchange: its market, its account."""

    seed: int = 1
    symbols: tuple[str, ...] = SYMBOLS
    balances: dict[str, Decimal] = Field(default_factory=lambda: {"USDT": Decimal(10_000)})
    fees: FeeSettings = FeeSettings()
    latency_ms: float = Field(20.0, ge=0)
    flow_per_s: float = Field(50.0, gt=0)


class MarketDataSettings(Section):
    """When a feed is stale, and how long it is kept without a reader."""

    stale_min_s: float = Field(5.0, gt=0)
    stale_factor: float = Field(20.0, gt=1)
    stale_max_s: float = Field(60.0, gt=0)
    stale_after_s: float = Field(10.0, gt=0)
    grace_close_s: float = Field(30.0, ge=0)


class ReconcileSettings(Section):
    """How often the venue's word is compared with ours."""

    orders_s: float = Field(10.0, gt=0)
    positions_s: float = Field(30.0, gt=0)
    balances_s: float = Field(60.0, gt=0)
    order_timeout_s: float = Field(10.0, gt=0)
    absent_s: float = Field(60.0, ge=1)


class HealthSettings(Section):
    """What `/readyz` accepts."""

    max_upstream_age_s: float = Field(30.0, gt=0)


class StoreSettings(Section):
    """Where the journal lives; an empty path keeps it in memory, for trying things out."""

    path: str = "./data/realtime.db"
    backup_hours: float = Field(1.0, ge=0)
    warn_free_mb: int = Field(200, ge=0)
    reducing_free_mb: int = Field(50, ge=0)


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["json", "text"] = "json"


class ConfirmPolicy(Section):
    """An op that asks back before it acts (protocol document 8.7)."""

    op: str
    above_notional: Decimal | None = None


class RiskSettings(Section):
    """First limits of a new journal; later ones come from `risk.params.set`."""

    valuation_currency: str = "USDT"
    timezone: str = "UTC"
    limits: dict[str, int | bool | str | tuple[str, ...] | None] = Field(default_factory=dict)


class StrategiesSettings(Section):
    """Folder of the operator's own strategies; an empty path has none."""

    path: str = "./strategies"


class BacktestSettings(Section):
    """Backtests: where results are kept, and how much they may take.

    Attributes:
        path: Folder of results and of the venue's bars; empty: `backtests` beside the journal.
        data: Folder of the operator's files of bars; empty: none.
        workers: Processes; 0: one per core.
        stall_s: A strategy that gives no sign of life for so long is ended.
        run_s: Longest run.
    """

    path: str = ""
    data: str = "./data/bars"
    workers: int = Field(0, ge=0, le=256)
    stall_s: float = Field(60.0, gt=0)
    run_s: float = Field(3_600.0, gt=0)


class ConfigSettings(Section):
    """File with the sections of the runtime configuration, TOML or JSON.

    An empty path is the settings file itself, if there is one.
    """

    path: str = ""


class StartUp(TomlConfigSettingsSource):
    """The settings of a file, without the runtime configuration that stands there, too."""

    def __call__(self) -> dict[str, Any]:
        """Read them."""
        kept: dict[str, Any] = {}
        for name, value in super().__call__().items():
            if name in RUNTIME:
                continue
            if name in SHARED and isinstance(value, dict):
                mine = {k: v for k, v in value.items() if _start_up(name, k, v)}
                if mine:
                    kept[name] = mine
            else:
                kept[name] = value
        return kept


def _start_up(section: str, key: str, value: object) -> bool:
    # A strategy may be called `path`: then it is a section.
    return key in SHARED[section] and not (section == "strategies" and isinstance(value, dict))


class Settings(BaseSettings):
    """The whole of `realtime.toml` but for the runtime configuration."""

    model_config = SettingsConfigDict(
        env_prefix="REALTIME_",
        env_nested_delimiter="__",
        toml_file=FILE,
        extra="forbid",
        frozen=True,
    )

    mode: Literal["paper", "live"] = "paper"
    environment: str = "development"
    on_stop: Literal["leave", "cancel"] = "leave"
    shutdown_s: float = Field(30.0, gt=0)
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    hub: HubSettings = HubSettings()
    paper: PaperSettings = PaperSettings()
    market_data: MarketDataSettings = MarketDataSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    health: HealthSettings = HealthSettings()
    store: StoreSettings = StoreSettings()
    risk: RiskSettings = RiskSettings()
    config: ConfigSettings = ConfigSettings()
    strategies: StrategiesSettings = StrategiesSettings()
    backtests: BacktestSettings = BacktestSettings()
    confirm: tuple[ConfirmPolicy, ...] = ()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over file."""
        return (init_settings, env_settings, StartUp(settings_cls))

    @model_validator(mode="after")
    def _no_wildcards(self) -> Self:
        for name in ("origins", "hosts"):
            for entry in getattr(self.server, name):
                if "*" in entry:
                    raise ValueError(f"server.{name} has the wildcard {entry!r}; name each one")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.server.host in LOOPBACK

    @property
    def auth_required(self) -> bool:
        """Whether a connection must show a token."""
        if self.auth.insecure_i_know:
            return False
        if self.auth.required is None:
            return not self.loopback
        return self.auth.required


def load(file: Path = FILE, **flags: object) -> Settings:
    """Read the settings: `flags` over the environment over `file`, which may be absent.

    Raises:
        pydantic.ValidationError: With the path of each wrong key.
    """

    class Loaded(Settings):
        """The same settings from another file."""

        model_config = SettingsConfigDict(toml_file=file)

    loaded = Loaded(**flags).model_dump()  # type: ignore[arg-type]
    if not loaded["config"]["path"] and file.exists():
        loaded["config"]["path"] = str(file)
    return Loaded.model_validate(loaded)
