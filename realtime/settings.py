"""Every start-up knob: `realtime.toml`, then `REALTIME_*`; read once, frozen, changed by a restart.

Nested keys of the environment are joined by two underscores: `REALTIME_SERVER__PORT=9000`, and an account at an exchange
is named by its id: `REALTIME_VENUES__KRAKEN__KEY`. Sections of the runtime
configuration may stand in the same file; they are passed over here (`desk/config` reads them).
"""

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from zoneinfo import ZoneInfo

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
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
PREFIX: Final = "REALTIME_"
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
    """A section of the file: unknown keys are mistakes, and so is infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


Rate = Annotated[Decimal, Field(gt=-1, lt=1)]


class FeeTier(Section):
    """A step of the fees: who has traded `volume` or more pays `share` of the rates.

    Attributes:
        volume: Value of all that the account has traded since it was opened [quote currency].
        share: Part of the rates, 0..1; a rebate stays whole.
    """

    volume: Decimal = Field(gt=0)
    share: Decimal = Field(ge=0, le=1)


class FeeSettings(Section):
    """Fee rates, 0..1; one below zero is a rebate.

    Attributes:
        tiers: Steps by traded volume, the lowest volume first; without any, the rates hold for everybody.
    """

    spot_maker: Rate = Decimal("0.001")
    spot_taker: Rate = Decimal("0.001")
    perpetual_maker: Rate = Decimal("0.0002")
    perpetual_taker: Rate = Decimal("0.00055")
    tiers: tuple[FeeTier, ...] = ()

    @field_validator("tiers")
    @classmethod
    def _rising(cls, tiers: tuple[FeeTier, ...]) -> tuple[FeeTier, ...]:
        for lower, higher in pairwise(tiers):
            if higher.volume <= lower.volume:
                raise ValueError(
                    f"the volume {higher.volume} is listed after {lower.volume}; the lowest comes first"
                )
            if higher.share > lower.share:
                raise ValueError(
                    f"from {higher.volume} on the share {higher.share} is above {lower.share}; "
                    "who trades more pays no more"
                )
        return tiers


class PaperSettings(Section):
    """The paper exchange: its market, its account.

    `source` is `embedded`, or the name of an exchange in ccxt whose live prices it takes.
    """

    source: str = Field("embedded", pattern=r"^[a-z0-9]+$")
    seed: int = 1
    symbols: tuple[str, ...] = SYMBOLS
    balances: dict[str, Annotated[Decimal, Field(ge=0)]] = Field(
        default_factory=lambda: {"USDT": Decimal(10_000)}
    )
    fees: FeeSettings = FeeSettings()
    latency_ms: float = Field(20.0, ge=0)
    flow_per_s: float = Field(50.0, gt=0)

    @field_validator("balances")
    @classmethod
    def _currencies(cls, balances: dict[str, Decimal]) -> dict[str, Decimal]:
        for name in balances:
            # There are names such as kPEPE, and none of small letters alone.
            if not name or name.islower():
                meant = f"; did you mean {name.upper()}?" if name else ""
                raise ValueError(f"no currency {name!r}{meant}")
        return balances


class MarketDataSettings(Section):
    """When a feed is stale, and how long it is kept without a reader.

    Attributes:
        stale_min_s: A stream's silence means nothing before this time [s].
        stale_factor: It does after so many of the stream's median gaps between messages.
        stale_max_s: It does after this time [s], whatever the gaps; `stale_min_s` where that is longer.
        stale_after_s: Time without anything from a venue, not even a pong, after which all of it is stale [s].
        grace_close_s: How long a stream goes on without a reader [s].
    """

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
    """Where the journal lives; an empty path keeps it in memory, for trying things out.

    Attributes:
        decisions: Newest decisions of bots that can be asked for, of the last `decision_days`.
        equity_samples: Newest samples of equity, of the last `equity_days`.
    """

    path: str = "./data/realtime.db"
    backup_hours: float = Field(1.0, ge=0)
    warn_free_mb: int = Field(200, ge=0)
    reducing_free_mb: int = Field(50, ge=0)
    decisions: int = Field(500_000, ge=1_000)
    decision_days: int = Field(365, ge=1)
    equity_samples: int = Field(1_000_000, ge=1_000)
    equity_days: int = Field(1_095, ge=1)


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["json", "text"] = "json"


class ConfirmPolicy(Section):
    """An op that asks back before it acts (protocol document 8.7).

    Attributes:
        above_notional: Ask only where the notional of the effect is above it, or not known [valuation currency].
        scope, role, token_id: Ask only who has all of these that are given; without any, everybody.
    """

    op: str
    above_notional: Annotated[Decimal, Field(ge=0)] | None = None
    scope: Literal["read", "trade", "bots", "admin"] | None = None
    role: Literal["viewer", "trader", "operator", "admin"] | None = None
    token_id: str | None = Field(None, min_length=1)


class RiskSettings(Section):
    """First limits of a new journal; later ones come from `risk.params.set`."""

    valuation_currency: str = "USDT"
    timezone: str = "UTC"
    limits: dict[str, int | bool | str | tuple[str, ...] | None] = Field(default_factory=dict)

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, LookupError):
            raise ValueError(
                f"no time zone {name!r}; it is UTC or a name such as Europe/Berlin"
            ) from None
        return name


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


Secrets = Literal["key", "secret", "password"]
SECRETS: Final[tuple[Secrets, ...]] = get_args(Secrets)


class VenueSettings(Section):
    """One account at one exchange; without a key it is the exchange's public data alone.

    Attributes:
        id: Its name in rows, in small letters.
        exchange: Name of the exchange in ccxt; empty: the id.
        key: Public part of the API key; `key_file` is a file (mode 0600) with it. So the other two.
        keyring: Whether the system's keyring has what stands neither here nor in a file.
        allow_withdrawal_key: Last four characters of the key, to trade live with it although it can withdraw.
        sandbox: The exchange's test site.
        types: Kinds of markets.
        subaccount: Name of the part of the account to trade in.
        native_deadman: Whether the exchange's own dead man's switch may be used.
        endpoint: Address instead of the exchange's: an emulation or a proxy.
        backoff_max_s: Longest wait between attempts.
        symbols: Markets to offer; empty: all of its types.
        options: Passed to ccxt.
    """

    id: str = Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$", max_length=32)
    exchange: str = ""
    key: SecretStr = SecretStr("")
    key_file: str = ""
    secret: SecretStr = SecretStr("")
    secret_file: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""
    keyring: bool = False
    allow_withdrawal_key: str = ""
    sandbox: bool = False
    types: tuple[Literal["spot", "swap", "future"], ...] = Field(("spot",), min_length=1)
    subaccount: str | None = None
    native_deadman: bool = True
    endpoint: str | None = Field(None, pattern=r"^https?://[^/?#]+$")
    backoff_max_s: float = Field(30.0, gt=0)
    symbols: tuple[str, ...] = ()
    options: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("types", "symbols", "options", mode="before")
    @classmethod
    def _from_text(cls, raw: object) -> object:
        """Take what the environment gives: JSON, or texts with commas between them."""
        if not isinstance(raw, str):
            return raw
        if raw.lstrip()[:1] in {"[", "{"}:
            return orjson.loads(raw)
        return [part.strip() for part in raw.split(",") if part.strip()]

    def text(self, name: str) -> str:
        """Give `key`, `secret` or `password` as it stands in file or environment; empty when it does not."""
        held = {"key": self.key, "secret": self.secret, "password": self.password}
        return held[name].get_secret_value()

    def file(self, name: str) -> str:
        """Give the path of the file with it; empty when there is none."""
        return {
            "key": self.key_file,
            "secret": self.secret_file,
            "password": self.password_file,
        }[name]


class SmtpSettings(Section):
    """Who sends mail (section `notifications` of the configuration says where from and where to).

    Attributes:
        user: Name at the mail server; empty: the address of the sender.
        password: Or `password_file`, a file (mode 0600) with it; without either no mail is sent.
    """

    user: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""


class RecordSettings(Section):
    """Recordings of what venues send, for replays and bug reports.

    Attributes:
        path: Folder; empty: nothing is recorded.
        part_mb, part_hours: Size and age at which the next file begins.
        keep: Newest files of each account that are kept.
    """

    path: str = ""
    part_mb: int = Field(256, ge=1)
    part_hours: float = Field(24.0, gt=0)
    keep: int = Field(8, ge=1)


class ConfigSettings(Section):
    """File with the sections of the runtime configuration, TOML or JSON.

    An empty path is the settings file itself, if there is one.
    """

    path: str = ""


class Environment(EnvSettingsSource):
    """The settings of the environment.

    What is not JSON where JSON is wanted goes on as text, so that the check of the settings names its place.
    """

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Read JSON, or leave the text as it is."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value

    def __call__(self) -> dict[str, Any]:
        """Read them.

        Raises:
            WrongName: One names a section that is none.
        """
        single = _with_one_underscore(self.settings_cls)
        for name, value in os.environ.items():
            meant = single.get(name.upper())
            # Kubernetes names the address of a service `realtime-server` like this.
            if meant is not None and not value.startswith("tcp://"):
                raise WrongName(f"{name}: is not a setting; use {meant}, with two underscores")
            section, mark, _ = name.upper().removeprefix(PREFIX).partition("__")
            if mark and name.upper().startswith(PREFIX):
                known = sorted(self.settings_cls.model_fields)
                if section.lower() in RUNTIME:
                    raise WrongName(
                        f"{name}: {section.lower()} is runtime configuration; set it in the file or with config.update"
                    )
                if section.lower() not in known:
                    raise WrongName(
                        f"{name}: there is no section {section.lower()}; there are {', '.join(known)}"
                    )
        return super().__call__()


def _with_one_underscore(settings: type[BaseSettings]) -> dict[str, str]:
    """Give the names of keys of sections as they are often written by mistake, and as they are."""
    return {
        f"{PREFIX}{section}_{key}".upper(): f"{PREFIX}{section}__{key}".upper()
        for section, field in settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        for key in field.annotation.model_fields
    }


class WrongName(ValueError):
    """A variable of the environment that looks like a setting and is none."""


class StartUp(TomlConfigSettingsSource):
    """The settings of a file, without the runtime configuration that stands there, too."""

    def __call__(self) -> dict[str, Any]:
        """Read them."""
        kept: dict[str, Any] = {}
        for name, value in super().__call__().items():
            if name in RUNTIME:
                continue
            if name == "venues":
                # By id, so that the environment adds a key to an account of the file.
                value = by_id(value)  # noqa: PLW2901 - the same accounts
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


def by_id(venues: object) -> object:
    """Name accounts by their id; what is no list of them is left to the check of the settings."""
    if not isinstance(venues, list | tuple):
        return venues
    named = {
        row["id"]: dict(row)
        for row in venues
        if isinstance(row, Mapping) and isinstance(row.get("id"), str)
    }
    return named if len(named) == len(venues) else venues


def _with_ids(error: ValidationError, rows: object) -> ValidationError:
    """Name in every place the account by its id instead of its number, where it has one.

    Raises:
        KeyError: It has a mistake of a kind that cannot be made anew.
    """
    mistakes: list[InitErrorDetails] = []
    for one in error.errors():
        match one["loc"]:
            case (int() as n, *rest) if isinstance(rows, list | tuple):
                row = rows[n]
                name = row.get("id") if isinstance(row, Mapping) else None
                place = (name if name and isinstance(name, str) else n, *rest)
            case place:
                pass
        mistake = InitErrorDetails(type=one["type"], loc=place, input=one["input"])
        if "ctx" in one:
            mistake["ctx"] = one["ctx"]
        mistakes.append(mistake)
    return ValidationError.from_exception_data(error.title, mistakes)


class Settings(BaseSettings):
    """The whole of `realtime.toml` but for the runtime configuration."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
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
    venues: tuple[VenueSettings, ...] = ()
    record: RecordSettings = RecordSettings()
    smtp: SmtpSettings = SmtpSettings()
    confirm: tuple[ConfirmPolicy, ...] = ()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - ours takes its place
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over file."""
        return (init_settings, Environment(settings_cls), StartUp(settings_cls))

    @field_validator("venues", mode="wrap")
    @classmethod
    def _listed(cls, raw: object, check: ValidatorFunctionWrapHandler) -> tuple[VenueSettings, ...]:
        """Take accounts by their ids, too; what is wrong with one is told by its id."""
        if isinstance(raw, Mapping):
            raw = [
                {"id": name, **row} if isinstance(row, Mapping) else row
                for name, row in raw.items()
            ]
        try:
            venues: tuple[VenueSettings, ...] = check(raw)
        except ValidationError as error:
            try:
                named = _with_ids(error, raw)
            except KeyError:
                raise error from None
            raise named from None
        return venues

    @field_validator("venues")
    @classmethod
    def _once(cls, venues: tuple[VenueSettings, ...]) -> tuple[VenueSettings, ...]:
        ids = [venue.id for venue in venues]
        if twice := [name for name in dict.fromkeys(ids) if ids.count(name) > 1]:
            raise ValueError(f"the id {twice[0]!r} is given twice; each account needs its own")
        return venues

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
            return not self.loopback or self.mode == "live"
        return self.auth.required


def load(file: Path = FILE, **flags: object) -> Settings:
    """Read the settings: `flags` over the environment over `file`, which may be absent.

    Raises:
        pydantic.ValidationError: With the path of each wrong key.
        WrongName: The environment names a section that is none.
        ValueError: The file has a secret and others than its owner can read it.
    """
    private(file)

    class Loaded(Settings):
        """The same settings from another file."""

        model_config = SettingsConfigDict(toml_file=file)

    loaded = Loaded(**flags).model_dump()  # type: ignore[arg-type]
    if not loaded["config"]["path"] and file.exists():
        loaded["config"]["path"] = str(file)
    return Loaded.model_validate(loaded)


def only(settings: Settings, venue: str) -> Settings:
    """Leave one account: the one of the settings with this id, else the public data of an exchange of this name.

    Raises:
        pydantic.ValidationError: It cannot be an id.
    """
    if venue == "paper" and all(known.id != venue for known in settings.venues):
        paper = settings.paper.model_copy(update={"source": "embedded"})
        return settings.model_copy(update={"venues": (), "paper": paper})
    found = [known for known in settings.venues if known.id == venue] or [VenueSettings(id=venue)]
    return settings.model_copy(update={"venues": tuple(found)})


def private(file: Path) -> None:
    """Refuse a file that has a secret and that others can read.

    Raises:
        ValueError: With what to do.
    """
    try:
        read = tomllib.loads(file.read_text())
    except (OSError, ValueError):
        return  # one that cannot be read is told by who reads it
    venues = read.get("venues", ())
    rows = venues.values() if isinstance(venues, Mapping) else venues
    found = [
        (f"venues.{row.get('id', '?')}", row)
        for row in (rows if isinstance(rows, Iterable) else ())
        if isinstance(row, Mapping)
    ]
    for place, row in [*found, ("smtp", read.get("smtp"))]:
        kept = [name for name in SECRETS if isinstance(row, Mapping) and row.get(name)]
        mode = stat.S_IMODE(file.stat().st_mode)
        if kept and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(
                f"it has {place}.{kept[0]} and mode {mode:04o}: others can read the secret; "
                f"run `chmod 600 {file}`, or name a file with {kept[0]}_file"
            )
