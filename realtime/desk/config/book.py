"""The book of the configuration: what is in force, how it came to be, and how it changes.

Rules of this file: (1) every change, whoever makes it, is a new version with who, when, and old and new values, in the
journal and in `events`; (2) section `risk` is a view of the engine's limits: a change of it is the same fact as one by
`risk.params.set`, and one by `risk.params.set` is a new version here; (3) the whole is judged before anything changes;
what was wrong before (a strategy whose file is gone) does not stop a change of something else; (4) a broken file
changes nothing.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
from pydantic import BaseModel, ValidationError

from realtime.desk.codec import dumps
from realtime.desk.config import changes as diff, files
from realtime.desk.config.changes import Change, Fault, Plain
from realtime.desk.config.sections import Config
from realtime.desk.desk import Desk
from realtime.desk.masking import fault_of, masked
from realtime.engine.market import plain as plain_number
from realtime.model.errors import Code, Refused
from realtime.model.events import Configure, Who
from realtime.model.market import MS
from realtime.model.risk import Limits
from realtime.store.rows import Projection


KIND: Final = "Config"
"""Kind of a journal row that is a version."""
TOLERANCE: Final = 0.01
"""How far from 1 the weights of the strategies in use may sum up."""
READ_S: Final = 5.0
"""How long reading the file may take [s]."""
VERSIONS: Final = 10_000
"""Versions that are looked through."""
SYSTEM: Final = Who(subject="system", source="config", admin=True)
ATR: Final = "atr_multiplier"
"""The limit that section `strategy` names, too."""
MAIL: Final = ("smtp_server", "sender", "receiver")
"""What a mail cannot be sent without."""
ORDER: Final = (
    "strategy",
    "strategies",
    "probability",
    "risk",
    "trading_window",
    "market_checks",
    "portfolio",
    "bots",
    "notifications",
    "alerts",
    "timezone",
)
"""Sections as they are shown."""


LimitsOf = Callable[[Mapping[str, object]], Mapping[str, Any]]
"""Reads values of limits; refuses `invalid`, naming the limit."""


class Strategies(Protocol):
    """The table of strategies (`bots/loading.py`)."""

    def names(self) -> Sequence[str]:
        """Ids of all that can be made."""
        ...

    def parameters(self, name: str, params: Mapping[str, object]) -> BaseModel:
        """Read parameters; what is not given is its default.

        Raises:
            Refused: `not_found` for the strategy; `invalid` naming each wrong parameter.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of the configuration.

    Attributes:
        ts: When it came into force [ns].
        by: Subject.
        why: `start`, `update`, `reload`, `rollback to 3`, `limits`.
        changes: From the version before.
        whole: All of it, as plain values.
    """

    number: int
    ts: int
    by: str
    client: str = ""
    source: str = "config"
    why: str
    changes: Sequence[Change] = ()
    whole: Plain = field(default_factory=dict)

    def body(self) -> bytes:
        """Make the bytes of the store."""
        raw = asdict(self) | {"changes": [change._asdict() for change in self.changes]}
        return dumps(raw)

    @classmethod
    def of(cls, body: bytes) -> "Version":
        """Read the bytes of the store."""
        raw = orjson.loads(body)
        raw["changes"] = tuple(Change(**change) for change in raw["changes"])
        return cls(**raw)

    def row(self) -> Plain:
        """Make the row of `config.history`."""
        return {
            "version": self.number,
            "ts": self.ts // MS,
            "by": self.by,
            "client": self.client,
            "source": self.source,
            "why": self.why,
            "changes": [shown(change) for change in self.changes],
        }

    def channel(self) -> Plain:
        """Make the value of channel `config`, but for the configuration itself."""
        return {
            "version": self.number,
            "ts": self.ts // MS,
            "by": self.by,
            "changed": [change.path for change in self.changes],
        }


def shown(change: Change) -> Plain:
    """Show a change, without secrets."""
    # Under a key of its own, because the last key of the path decides what is a secret.
    key = change.path.rpartition(".")[2]
    return {
        "path": change.path,
        "old": masked({key: change.old})[key],
        "new": masked({key: change.new})[key],
    }


class ConfigBook:
    """The configuration in force.

    Attributes:
        current: The sections but for `risk`; do not keep one across a call.
        on_change: Called after every change, in the step that made it.
        bots: Gives the section `bots` as it is shown.
        file: Where the first version came from; None without a file.
        file_faults: What is wrong with the file, as it was when it was read last.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        strategies: Strategies,
        limits_of: LimitsOf,
        publish: Callable[[Plain], None],
        file: Path | None,
    ) -> None:
        """Make an empty book; `open` fills it.

        Args:
            desk: Journals, and holds the limits.
            strategies: Judge their own parameters.
            limits_of: Reads values of limits; refuses `invalid`, naming the limit.
            publish: Shows a value of channel `config`.
            file: TOML or JSON with sections; None for none.
        """
        self._desk = desk
        self._strategies = strategies
        self._limits_of = limits_of
        self._publish = publish
        self.file = file
        self.file_faults: list[Fault] = []
        self.current = Config()
        self.on_change: list[Callable[[], None]] = []
        self.bots: Callable[[], Sequence[Mapping[str, object]]] = tuple
        self._newest: Version
        self._limits = desk.engine.limits
        self._pending: tuple[Config, str] | None = None

    # -- reading -----------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Number of the version in force."""
        return self._newest.number

    @property
    def newest(self) -> Version:
        """The version in force."""
        return self._newest

    @property
    def limits(self) -> Limits:
        """The limits in force: what section `risk` shows."""
        return self._desk.engine.limits

    def whole(self) -> Plain:
        """Give all sections as plain values, without secrets."""
        found = plain(self.current, self.limits) | {"bots": [dict(bot) for bot in self.bots()]}
        return masked({name: found[name] for name in ORDER})  # type: ignore[no-any-return]

    def parameters(self, name: str) -> Plain:
        """Give the parameters of a strategy: its own, else those of section `strategy`, else the default.

        Raises:
            Refused: `not_found`; `invalid` where they do not fit each other.
        """
        return self._read_parameters(self.current, name).model_dump(mode="json")

    def _read_parameters(self, config: Config, name: str) -> BaseModel:
        accepts = type(self._strategies.parameters(name, {})).model_fields
        return self._strategies.parameters(name, config.parameters(name, accepts))

    def limits_for(self, profile: str) -> Limits:
        """Give the limits under a risk profile, `moderate` for one."""
        own: Mapping[str, Any] = next(
            (found for name, found in self.current.profiles.items() if name == profile), {}
        )
        return replace(self.limits, **self._limits_of(own))

    def known(self, name: str) -> bool:
        """Whether there is such a strategy, or a section for one."""
        return name in self.current.strategies or name in self._strategies.names()

    # -- judging -----------------------------------------------------------------------------------

    def faults(self) -> list[Fault]:
        """Judge what is in force."""
        return self._judge(self.current, self.limits)

    def validate(self, patch: Mapping[str, Any]) -> list[Fault]:
        """Judge what a patch would make of what is in force."""
        return self._patched(patch)[2]

    def _patched(self, patch: Mapping[str, Any]) -> tuple[Config, Limits, list[Fault]]:
        """Apply a patch, without putting it in force; the faults are all of the result."""
        raw = dict(patch)
        found: list[Fault] = []
        if "bots" in raw:
            del raw["bots"]
            found.append(Fault("bots", "are changed by bot.configure"))
        risk = raw.pop("risk", {})
        if not isinstance(risk, Mapping):
            found.append(Fault("risk", "must be an object"))
            risk = {}
        if "profiles" in raw:
            del raw["profiles"]
            found.append(Fault("profiles", "is no section; they stand under risk"))
        return self._read(raw, dict(risk), found)

    def _read(
        self, raw: Plain, risk: Plain, found: list[Fault]
    ) -> tuple[Config, Limits, list[Fault]]:
        found += self._unmask(raw)
        if "profiles" in risk:
            raw["profiles"] = risk.pop("profiles")
        limits, wrong = self._read_limits(self.limits, risk, "risk")
        found += wrong
        now = self.current.model_dump(mode="json")
        merged = diff.merge(now, raw)
        try:
            config = Config.model_validate(merged)
        except ValidationError as error:
            found += [
                Fault(path(fault.path), fault.message) for fault in diff.faults_of(Config, error)
            ]
            # The rest is judged as well: who mends one mistake shall not learn of the next only then.
            try:
                config = Config.model_validate(diff.readable(merged, now, error))
            except ValidationError:
                return self.current, limits, found
        limits, wrong = self._multiplied(config, limits)
        found += wrong
        config = synced(config, limits)
        found += self._judge(config, limits)
        return config, limits, found

    def _unmask(self, raw: Plain) -> list[Fault]:
        """Put the addresses of webhooks back where they are as they were shown."""
        section = raw.get("notifications")
        hooks = section.get("webhooks") if isinstance(section, Mapping) else None
        if not isinstance(section, Mapping) or not isinstance(hooks, list):
            return []
        known = self.current.model_dump(mode="json")["notifications"]["webhooks"]
        try:
            raw["notifications"] = {**section, "webhooks": diff.unmasked(hooks, known)}
        except diff.Unclear as error:
            return [Fault(f"notifications.webhooks.{error.place}.url", str(error))]
        return []

    def _multiplied(self, config: Config, limits: Limits) -> tuple[Limits, list[Fault]]:
        """Take a change of `strategy.atr_multiplier` over into the limit of that name.

        Args:
            config: As it is wanted.
            limits: As they are wanted.
        """
        wanted, limit = config.strategy.atr_multiplier, getattr(limits, ATR)
        if wanted in {float(limit), self.current.strategy.atr_multiplier}:
            return limits, []
        if limit != getattr(self.limits, ATR):
            text = f"must be left out, or be what risk.{ATR} is to be: they are the same"
            return limits, [Fault(f"strategy.{ATR}", text)]
        return self._read_limits(limits, {ATR: wanted}, "strategy")

    def _read_limits(
        self, known: Limits, patch: Mapping[str, object], at: str
    ) -> tuple[Limits, list[Fault]]:
        read: Plain = {}
        found: list[Fault] = []
        for name, value in patch.items():
            try:
                read |= self._limits_of({name: value})
            except Refused as refused:
                found.append(Fault(f"{at}.{name}", refused.message.removeprefix(name).strip()))
        return replace(known, **read), found

    def _judge(self, config: Config, limits: Limits) -> list[Fault]:
        """Judge what no section can judge alone."""
        found: list[Fault] = []
        for profile, own in config.profiles.items():
            found += self._read_limits(limits, own, f"risk.profiles.{profile}")[1]
        found += self._judge_strategies(config)
        engine = self._desk.engine
        if config.strategy.symbol not in engine.markets:
            found.append(Fault("strategy.symbol", "is no market; market.list has them"))
        for place, blackout in enumerate(config.trading_window.blackouts):
            if blackout.to_ts <= blackout.from_ts:
                at = f"trading_window.blackouts.{place}.to_ts"
                found.append(Fault(at, "must be after from_ts"))
        if config.portfolio.valuation_currency != engine.valuation_currency:
            now = engine.valuation_currency
            text = f"is {now} for the life of a journal: equity, peaks and limits are counted in it"
            found.append(Fault("portfolio.valuation_currency", text))
        found += _wrong_hooks(config)
        mail = config.notifications
        if mail.email_enabled:
            found += [
                Fault(f"notifications.{name}", "is required while email_enabled is true")
                for name in MAIL
                if not getattr(mail, name)
            ]
        # No mail can be made with them: it would be found out with the first alert.
        found += [
            Fault(f"notifications.{name}", "must have no control characters")
            for name in MAIL
            if not getattr(mail, name).isprintable()
        ]
        return found

    def _judge_strategies(self, config: Config) -> list[Fault]:
        used = config.enabled
        if not used:
            return [Fault("strategies", "must have at least one that is enabled")]
        found: list[Fault] = []
        total = sum(use.weight for use in used.values())
        if abs(total - 1) > TOLERANCE:
            text = (
                f"of those enabled have weights that sum to {total:g}, must be 1; "
                "config.strategy.set_weight makes room"
            )
            found.append(Fault("strategies", text))
        names = self._strategies.names()
        for name, use in config.strategies.items():
            if name in names:
                found += self._judge_parameters(config, name)
            elif use.enabled:
                found.append(Fault(f"strategies.{name}", "is no strategy; strategy.list has them"))
        return found

    def _judge_parameters(self, config: Config, name: str) -> list[Fault]:
        own = config.strategies[name].own
        try:
            self._read_parameters(config, name)
        except Refused as refused:
            told = (refused.details or {}).get("fields")
            wrong = told if isinstance(told, list) else []
            found: list[Fault] = []
            for told_of in wrong:
                key = told_of["field"]
                base = config.BASE.get(key)
                at = f"strategy.{base}" if base and key not in own else f"strategies.{name}.{key}"
                found.append(Fault(at, f"{told_of['message']} (strategy {name})"))
            return found or [Fault(f"strategies.{name}", refused.message)]
        return []

    # -- changing ----------------------------------------------------------------------------------

    def check(self, version: int | None) -> None:
        """Refuse a change made for another version than the one in force; None is for any.

        Raises:
            Refused: `conflict`.
        """
        if version is not None and version != self.version:
            raise Refused(
                Code.CONFLICT,
                f"the configuration is at version {self.version}, the change was made for {version}",
                {"version": self.version},
            )

    def update(
        self, patch: Mapping[str, Any], version: int | None, who: Who, why: str = "update"
    ) -> Sequence[Change]:
        """Change the configuration by a JSON merge patch; under `risk`, null switches a limit off.

        Args:
            patch: Sections with the keys to change; null removes a key, which then has its default.
            version: The one it was read at; None changes whatever is in force.
            who: Who wants it.
            why: For the history.

        Returns:
            What changed; empty when nothing did. It is in force, and on its way to the disk.

        Raises:
            Refused: `conflict` for a stale version; `invalid` naming the keys; `busy` while the journal is full.
        """
        self.check(version)
        config, limits, found = self._patched(patch)
        return self._put(config, limits, found, who, why)

    def roll_back(self, old: Version, who: Who) -> Sequence[Change]:
        """Put an old version in force as a new one; results and errors as for `update`."""
        raw = {k: v for k, v in old.whole.items() if k in ORDER and k != "bots"}
        risk = dict(raw.pop("risk"))
        names = {limit.name for limit in fields(Limits)}
        profiles = risk.pop("profiles", {})
        limits, found = self._read_limits(
            self.limits, {k: v for k, v in risk.items() if k in names}, "risk"
        )
        try:
            config = Config.model_validate(raw | {"profiles": profiles})
        except ValidationError as error:
            raise diff.refusal(diff.faults_of(Config, error)) from None
        config = synced(config, limits)
        found += self._judge(config, limits)
        return self._put(config, limits, found, who, f"rollback to {old.number}")

    def _put(
        self, config: Config, limits: Limits, found: list[Fault], who: Who, why: str
    ) -> Sequence[Change]:
        """Put a configuration in force, if it brings no new mistakes."""
        old = set(self.faults())
        new = [fault for fault in found if fault not in old]
        if new:
            raise diff.refusal(new)
        before = self.limits
        if limits == before and config == self.current:
            return ()
        self._desk.check_room()
        if limits == before:
            self._turn(config, who, why)
        else:
            self._configure(config, limits, who, why)
        return self._newest.changes

    def _configure(self, config: Config, limits: Limits, who: Who, why: str) -> None:
        """Give the engine new limits; `limits_changed`, which it is followed by, makes the version."""
        self._pending = (config, why)
        try:
            wanted = replace(limits, version=self.limits.version + 1)
            self._desk.post(Configure(limits=wanted, who=who, ts=self._desk.now()))
        finally:
            self._pending = None

    def limits_changed(self, who: Who) -> None:
        """Take new limits of the engine, whoever asked for them, into a version."""
        config, why = self._pending or (synced(self.current, self.limits), "limits")
        self._turn(config, who, why)

    def _turn(self, config: Config, who: Who, why: str) -> None:
        """Make the next version, journal it, tell of it."""
        before = plain(self.current, self._limits)
        after = plain(config, self.limits)
        changed = diff.changes(before, after)
        if not changed:
            return
        self.current, self._limits = config, self.limits
        self._keep(self._newest.number + 1, who, why, changed, after)
        for told in self.on_change:
            told()

    def _keep(
        self, number: int, who: Who, why: str, changed: Sequence[Change], whole: Plain
    ) -> None:
        ts = self._desk.now()
        made = Version(
            number=number,
            ts=ts,
            by=who.subject,
            client=who.client,
            source=who.source,
            why=why,
            changes=tuple(changed),
            whole=whole,
        )
        self._newest = made
        # Of equal times the later version must be the last.
        key = f"{number:010d}"
        body = made.body()
        then = partial(self._committed, made)
        self._desk.store.append(KIND, key, body, then, [Projection("config_versions", key, ts)])
        kinds: dict[str, list[Plain]] = {}
        for change in changed:
            kinds.setdefault(event_type(change.path), []).append(shown(change))
        for kind, told in kinds.items():
            self._desk.note(kind, {"version": number, "why": why, "changes": told}, who)

    def _committed(self, made: Version, _seq: int) -> None:
        # Of several that were committed together the last one stays.
        self._publish(self._shown(made))

    def show(self) -> None:
        """Publish what is in force; also to be called when section `bots` has changed."""
        self._publish(self._shown(self._newest))

    def _shown(self, version: Version) -> Plain:
        whole = version.whole | {"bots": [dict(bot) for bot in self.bots()]}
        config = {name: whole[name] for name in ORDER if name in whole}
        return version.channel() | {"config": masked(config)}

    # -- versions ----------------------------------------------------------------------------------

    async def history(self, limit: int, before: int | None = None) -> list[Version]:
        """Give the newest versions, newest first: all, or those that are older than one."""
        newer = 0 if before is None else max(0, self.version - before + 1)
        entries = await self._desk.store.rows("config_versions", limit=newer + limit)
        found = [Version.of(entry.body) for entry in reversed(entries)]
        return [version for version in found if before is None or version.number < before]

    async def find(self, number: int) -> Version:
        """Find a version.

        Raises:
            Refused: `not_found`.
        """
        entries = await self._desk.store.rows("config_versions", limit=VERSIONS)
        key = f"{number:010d}"
        for entry in entries:
            if entry.key == key:
                return Version.of(entry.body)
        raise Refused(
            Code.NOT_FOUND,
            f"no version {number}; the newest is {self.version}",
            {"what": "version"},
        )

    # -- the file ----------------------------------------------------------------------------------

    async def open(self, first: Mapping[str, Any]) -> None:
        """Read the book of the store, or begin it with the file; then judge the file.

        Args:
            first: Values of start-up settings for version 1, where the file says nothing: a patch.

        Raises:
            Refused: `invalid`: there is no version yet, and the file is broken.
        """
        kept = await self.history(VERSIONS)
        if not kept:
            self.current = self._patched(first)[0]
            patch = await self._read_file()
            if self.file_faults:
                raise diff.refusal(self.file_faults)
            self._first(*self._patched(patch or {})[:2])
            return
        self._restore(kept)
        await self._read_file()
        if self.file_faults:
            self._tell_broken("critical")

    def _first(self, config: Config, limits: Limits) -> None:
        """Make version 1."""
        self._newest = Version(number=0, ts=self._desk.now(), by="system", why="start")
        self.current = config
        if limits == self.limits:
            self._keep(1, SYSTEM, "start", (), plain(config, limits))
        else:
            self._configure(config, limits, SYSTEM, "start")

    def _restore(self, kept: Sequence[Version]) -> None:
        """Take the newest version that can still be read; the engine's limits and currency rule over its own."""
        for version in kept:
            raw = {
                k: v for k, v in version.whole.items() if k in ORDER and k not in {"bots", "risk"}
            }
            profiles = version.whole.get("risk", {}).get("profiles", {})
            try:
                config = Config.model_validate(raw | {"profiles": profiles})
            except ValidationError as error:
                faults = diff.faults_of(Config, error)
                text = f"version {version.number} of the configuration cannot be read any more"
                data = {"errors": [fault.row() for fault in faults]}
                self._desk.alert("critical", "config_version", text, data)
                continue
            break
        else:
            raise diff.refusal([Fault("config", "has no version that can be read")])
        self._newest = kept[0]
        self.current = config
        currency = self._desk.engine.valuation_currency
        portfolio = config.portfolio.model_copy(update={"valuation_currency": currency})
        self.current = synced(config.model_copy(update={"portfolio": portfolio}), self.limits)
        after = plain(self.current, self.limits)
        changed = diff.changes(kept[0].whole, after)
        if changed:
            self._keep(kept[0].number + 1, SYSTEM, "start", changed, after)

    async def _read_file(self) -> Plain | None:
        """Read and judge the file on a thread; None when there is none or it is broken."""
        self.file_faults = []
        if self.file is None:
            return None
        try:
            async with asyncio.timeout(READ_S):
                patch = await asyncio.to_thread(files.read, self.file)
        except files.Unreadable as error:
            self.file_faults = [error.fault]
            return None
        except TimeoutError:
            self.file_faults = [Fault(self.file.name, f"was not read within {READ_S:g} s")]
            return None
        known = set(self.faults())
        self.file_faults = [fault for fault in self.validate(patch) if fault not in known]
        return None if self.file_faults else patch

    async def reload(self, who: Who) -> tuple[Sequence[Change], list[Fault]]:
        """Put the file's present values over what is in force.

        Returns:
            What changed, and the faults of the file: with any, nothing changes.

        Raises:
            Refused: `not_found` without a file; `busy` while the journal is full.
        """
        if self.file is None:
            raise Refused(
                Code.NOT_FOUND,
                "no configuration file; config.path of the start-up settings names one",
                {"what": "file"},
            )
        patch = await self._read_file()
        if patch is None:
            self._tell_broken("error")
            return (), list(self.file_faults)
        return self.update(patch, None, who, "reload"), []

    def _tell_broken(self, level: str) -> None:
        names = ", ".join(fault.path for fault in self.file_faults[:3])
        text = f"the configuration file is broken ({names}); version {self.version} stays in force"
        data = {"errors": [fault.row() for fault in self.file_faults]}
        self._desk.alert(level, "config_file", text, data)


def judged(patch: Mapping[str, Any], limits_of: LimitsOf) -> list[Fault]:
    """Judge what can be judged of a file without a server: not whether markets and strategies are there."""
    raw = dict(patch)
    risk = raw.pop("risk", {})
    found = [] if isinstance(risk, Mapping) else [Fault("risk", "must be an object")]
    found += [Fault("bots", "are changed by bot.configure")] if raw.pop("bots", None) else []
    limits = dict(risk) if isinstance(risk, Mapping) else {}
    if "profiles" in limits:
        raw["profiles"] = limits.pop("profiles")
    for name, value in limits.items():
        found += _wrong_limit(name, value, limits_of)
    try:
        config = Config.model_validate(diff.merge(Config().model_dump(mode="json"), raw))
    except ValidationError as error:
        found += [Fault(path(one.path), one.message) for one in diff.faults_of(Config, error)]
    else:
        found += _wrong_hooks(config)
    return found


def _wrong_hooks(config: Config) -> list[Fault]:
    found: list[Fault] = []
    for place, hook in enumerate(config.notifications.webhooks):
        if wrong := fault_of(hook.url):
            found.append(Fault(f"notifications.webhooks.{place}.url", wrong))
    return found


def _wrong_limit(name: str, value: object, limits_of: LimitsOf) -> list[Fault]:
    try:
        limits_of({name: value})
    except Refused as refused:
        return [Fault(f"risk.{name}", refused.message.removeprefix(name).strip())]
    return []


def synced(config: Config, limits: Limits) -> Config:
    """Show in section `strategy` the limit that is named there, too."""
    value = float(getattr(limits, ATR))
    if value == config.strategy.atr_multiplier:
        return config
    return config.model_copy(update={"strategy": config.strategy.model_copy(update={ATR: value})})


# --- plain values ---------------------------------------------------------------------------------


def plain(config: Config, limits: Limits) -> Plain:
    """Give the sections as plain values, secrets included."""
    found = config.model_dump(mode="json")
    found["risk"] = limits_plain(limits) | {"profiles": found.pop("profiles")}
    return found


def limits_plain(limits: Limits) -> Plain:
    """Give the limits as plain values."""
    return {
        name: plain_number(value)
        if isinstance(value, Decimal)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in asdict(limits).items()
        if name != "version"
    }


def path(text: str) -> str:
    """Name a place as the wire does: profiles stand under `risk`."""
    return f"risk.{text}" if text.partition(".")[0] == "profiles" else text


def event_type(where: str) -> str:
    """Name the type of the event that tells of a change."""
    if where.startswith("strategies."):
        return "strategy_changed"
    if where in {"strategy.symbol", "portfolio.valuation_currency"}:
        return "currency_changed"
    return "parameter_changed"
