"""`realtime doctor`: what would fail, said before it does.

Rules of this file: (1) nothing here changes anything at an exchange or in a journal; (2) a finding says in plain words what
is so and, where it is not good, what to do; (3) a check that fails ends none of the others; (4) no secret is shown.
"""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

from realtime.branch import RefusedStart
from realtime.commands.risk import parse_limits
from realtime.desk.config import files
from realtime.desk.config.book import judged
from realtime.model.errors import Failure, Refused
from realtime.plans import check
from realtime.settings import Settings, VenueSettings
from realtime.store.files import FileLock
from realtime.store.rows import StoreLocked
from realtime.venues.ccxt import capabilities, keys, markets
from realtime.venues.ccxt.account import NONE, Account
from realtime.venues.ccxt.calls import Calls, reading
from realtime.venues.ccxt.clock import REFUSE_MS, WARN_MS
from realtime.venues.ccxt.exchange import make
from realtime.venues.ccxt.nonces import Forgetful
from realtime.venues.ccxt.permissions import UNTOLD, Permissions, permissions, says_withdraw
from realtime.venues.ccxt.redaction import Redaction


class Verdict(StrEnum):
    """How good it is."""

    GOOD = "good"
    MIND = "mind"
    """It works, and somebody should know."""
    BAD = "bad"
    """It would fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found.

    Attributes:
        about: `server`, or the id of an account.
        check: What was looked at.
        verdict: How good it is.
        says: What is so.
        do: What to do; empty where nothing is to be done.
    """

    about: str
    check: str
    verdict: Verdict
    says: str
    do: str = ""


SAMPLES: Final = 5
PATIENCE_S: Final = 20.0
"""Longest wait for one check of an exchange [s]."""
SLOW_MS: Final = 1_000.0
T = TypeVar("T")
Found = Callable[[Finding], None]
_MAGIC: Final = b"SQLite format 3\0"
"""How a journal begins."""
SERVER: Final = "server"


async def examine(settings: Settings, found: Found, *, now: Callable[[], int]) -> None:
    """Look at the server's surroundings, then at each account of the settings.

    Args:
        settings: As the server would read them.
        found: Told each finding as soon as there is one.
        now: The time [ns UTC].
    """
    for look in (safety, port, journal, disk):
        found(look(settings))
    if settings.config.path:
        found(configuration(settings))
    if not settings.venues:
        says = "no account at an exchange is set up; the embedded paper exchange needs none"
        found(_good(SERVER, "venues", says))
    for venue in settings.venues:
        await account(venue, settings, found, now)


# --- the server -----------------------------------------------------------------------------------


def safety(settings: Settings) -> Finding:
    """Ask what the start would refuse."""
    try:
        check(settings)
    except RefusedStart as refusal:
        says = f"the server would not start: {refusal}"
        return _bad(SERVER, "settings", says, "change that setting")
    where = f"{settings.server.host}:{settings.server.port}"
    return _good(SERVER, "settings", f"mode {settings.mode}, on {where}")


def configuration(settings: Settings) -> Finding:
    """Read the sections of the runtime configuration that stand in the file."""
    file = Path(settings.config.path)
    try:
        faults = judged(files.read(file), parse_limits)
    except files.Unreadable as error:
        faults = [error.fault]
    if not faults:
        return _good(SERVER, "configuration", f"{file} can be read")
    said = "; ".join(f"{fault.path} {fault.message}" for fault in faults)
    do = "mend the file: a new journal and mode live do not start on it, others keep what they had"
    return _bad(SERVER, "configuration", f"{file}: {said}", do)


def port(settings: Settings) -> Finding:
    """Try to listen."""
    host, number = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
        except OSError as error:
            says = f"{host}:{number} cannot be used: {error.strerror}"
            do = "stop what listens there (perhaps this server), or set server.port"
            return _bad(SERVER, "port", says, do)
    return _good(SERVER, "port", f"{host}:{number} is free")


def journal(settings: Settings) -> Finding:
    """Ask whether the journal can be had."""
    if not settings.store.path:
        says = "it is kept in memory: orders and fills are forgotten at the end"
        return _mind(SERVER, "journal", says, "set store.path")
    path = Path(settings.store.path)
    folder = path.parent
    if not folder.exists():
        nearest = next(parent for parent in folder.absolute().parents if parent.exists())
        if nearest.is_dir() and os.access(nearest, os.W_OK):
            return _good(SERVER, "journal", f"{folder} will be made")
        do = f"make it, or set store.path; {nearest} cannot be written to"
        return _bad(SERVER, "journal", f"{folder} is missing", do)
    if not os.access(folder, os.W_OK | os.X_OK):
        do = "give the server's user the right to write there, or set store.path"
        return _bad(SERVER, "journal", f"{folder} cannot be written to", do)
    if not path.exists():
        return _good(SERVER, "journal", f"{path} is new")
    if path.is_dir():
        return _bad(SERVER, "journal", f"{path} is a folder", "name a file in it with store.path")
    rights = "give the server's user the right to it"
    try:
        FileLock(path).release()
    except StoreLocked as error:
        return _bad(SERVER, "journal", str(error), "stop the other process")
    except OSError as error:
        return _bad(SERVER, "journal", f"{path} cannot be locked: {error.strerror}", rights)
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        return _bad(SERVER, "journal", f"{path} cannot be read: {error.strerror}", rights)
    if head and head != _MAGIC:
        do = "set store.path to a new file, or salvage it with `realtime journal recover`"
        return _bad(SERVER, "journal", f"{path} is not a journal", do)
    return _good(SERVER, "journal", f"{path} is free, {path.stat().st_size / 1e6:.1f} MB")


def disk(settings: Settings) -> Finding:
    """Measure the free space."""
    folder = Path(settings.store.path or ".").absolute().parent
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free / 1e6
    says = f"{free_mb:,.0f} MB are free at {folder}"
    least = settings.store.reducing_free_mb
    if free_mb < least:
        return _bad(SERVER, "disk", says, f"below {least} MB only exits are allowed; free some")
    if free_mb < settings.store.warn_free_mb:
        do = f"below {least} MB only exits would be allowed; free some"
        return _mind(SERVER, "disk", says, do)
    return _good(SERVER, "disk", says)


# --- an account -----------------------------------------------------------------------------------


async def account(
    venue: VenueSettings, settings: Settings, found: Found, now: Callable[[], int]
) -> None:
    """Look at one account, from its keys to a signed question."""
    about = venue.id
    try:
        made = keys.account_of(venue)
    except Refused as refusal:
        found(_bad(about, "keys", refusal.message, "fix this; the server would not start"))
        return
    _keys(made, settings, found)
    lock = _lock(made, found) if made.has_keys else None
    try:
        await _exchange(made, found, now, signs=lock is not None)
    finally:
        if lock is not None:
            lock.release()


async def _exchange(made: Account, found: Found, now: Callable[[], int], *, signs: bool) -> None:
    """Look at the exchange, first without the key as the server does, then with it."""
    try:
        exchange, calls = _connect(replace(made, key=NONE, secret=NONE, password=NONE), now)
    except Refused as refusal:
        do = "set venues[].exchange to a name of ccxt"
        found(_bad(made.id, "exchange", refusal.message, do))
        return
    try:
        if await _public(exchange, calls, made, found) and signs:
            await _signed(exchange, made, found, now)
    finally:
        await exchange.close()


def _keys(made: Account, settings: Settings, found: Found) -> None:
    if made.has_keys:
        says = f"the key {made.key} is there"
        if settings.mode != "live":
            says += "; in mode paper it is not used"
        found(_good(made.id, "keys", says))
    elif settings.mode == "live":
        do = "set venues[].key_file and secret_file, or REALTIME_VENUES__ID__KEY and __SECRET"
        found(_bad(made.id, "keys", "mode live, and there is no key", do))
    else:
        found(
            _good(made.id, "keys", "none: its public data alone, for paper trading on live prices")
        )


def _lock(made: Account, found: Found) -> keys.Lock | None:
    """Take the key for the time of the checks; None when a server has it, which is a finding."""
    try:
        return keys.Lock.take(made)
    except Refused as refusal:
        # Numbers that must rise do not survive two processes: what is signed here could break the other.
        do = "what needs the key is not checked; stop the server first to have it checked"
        found(_mind(made.id, "key in use", refusal.message, do))
        return None


def _connect(made: Account, now: Callable[[], int]) -> tuple[Any, Calls]:
    calls = Calls(
        made,
        now=now,
        loop=asyncio.get_running_loop(),
        chance=lambda: 1.0,
        ledger=Forgetful(),
        tell=lambda _level, _code, _text, _data: None,
    )
    config: dict[str, object] = {
        "options": {**markets.load_options(made.exchange, made.types), **made.options},
        "timeout": int(PATIENCE_S * 1000 / 2),
    }
    if made.has_keys:
        config |= {"apiKey": made.key.reveal(), "secret": made.secret.reveal()}
        if made.password:
            config["password"] = made.password.reveal()
    exchange = make(
        made.exchange, hooks=calls, config=config, endpoint=made.endpoint, sandbox=made.sandbox
    )
    return exchange, calls


async def _public(exchange: Any, calls: Calls, made: Account, found: Found) -> bool:
    """Look at what needs no key; tells whether the exchange answers."""
    redact = Redaction(made.secrets)
    rows = await _asked(exchange.load_markets, made, "reachable", found, redact)
    if rows is None:
        return False
    _markets(rows, exchange, made, found)
    await _latency(exchange, made, found, redact)
    await _clock(calls, made, found)
    _capabilities(exchange, made, found)
    return True


def _markets(rows: Mapping[str, Any], exchange: Any, made: Account, found: Found) -> None:
    read = markets.read(rows, mode=exchange.precisionMode, types=made.types)
    active = [market for market in read.markets.values() if market.active]
    if not active:
        do = "set venues[].types to one of its kinds: spot, swap, future"
        says = f"{len(rows)} markets, none of type {', '.join(made.types)} is active"
        found(_bad(made.id, "markets", says, do))
        return
    missing = [symbol for symbol in made.symbols if symbol not in read.markets]
    if missing:
        do = "change venues[].symbols; a perpetual is named like BTC/USDT:USDT"
        found(_bad(made.id, "markets", f"there is no {', '.join(missing)}", do))
    else:
        found(_good(made.id, "markets", f"{len(active)} of {len(rows)} can be traded"))
    vague = [
        symbol
        for symbol in sorted(m.symbol for m in active)
        if not all(
            isinstance(value, int | float) and value > 0
            for value in map((rows[symbol].get("precision") or {}).get, ("price", "amount"))
        )
    ]
    if vague:
        says = f"{len(vague)} markets do not say their grid, such as {', '.join(vague[:3])}"
        do = f"prices and amounts there are rounded to {markets.FINEST} and the exchange may refuse them"
        found(_mind(made.id, "precision", says, do))
    else:
        found(_good(made.id, "precision", "every market says its price tick and amount step"))


async def _latency(exchange: Any, made: Account, found: Found, redact: Redaction) -> None:
    ask: Callable[[], Awaitable[Any]] = exchange.fetch_time
    if not exchange.has.get("fetchTime"):
        symbol = next(iter(made.symbols or exchange.symbols))
        ask = lambda: exchange.fetch_ticker(symbol)  # noqa: E731 - one of two questions
    taken: list[float] = []
    for _ in range(SAMPLES):
        begun = time.perf_counter()
        if await _asked(ask, made, "latency", found, redact) is None:
            return
        taken.append((time.perf_counter() - begun) * 1000)
    says = f"least {min(taken):.0f} ms, median {median(taken):.0f} ms of {SAMPLES}, pauses of its limits included"
    if median(taken) > SLOW_MS:
        do = "orders will be late; run the server nearer to the exchange"
        found(_mind(made.id, "latency", says, do))
    else:
        found(_good(made.id, "latency", says))


async def _clock(calls: Calls, made: Account, found: Found) -> None:
    offset = calls.offset
    if offset is None:
        found(
            _good(
                made.id, "clock", "the exchange does not publish its time, and requests need none"
            )
        )
        return
    try:
        async with asyncio.timeout(PATIENCE_S):
            measured = await offset.measure()
    except (Failure, TimeoutError):
        measured = None
    if measured is None:
        do = "try again; without it a wrong clock is noticed only by refusals"
        found(_mind(made.id, "clock", offset.says, do))
        return
    says = f"{offset.says} (± {offset.error_ms or 0:.0f} ms)"
    do = "set the clock of this machine (for example with chrony or systemd-timesyncd)"
    if offset.refuses:
        found(_bad(made.id, "clock", f"{says}: orders would be refused beyond {REFUSE_MS} ms", do))
    elif abs(measured) - (offset.error_ms or 0) > WARN_MS:
        found(_mind(made.id, "clock", says, do))
    else:
        found(_good(made.id, "clock", says))


FALLBACKS: Final[Mapping[str, str]] = {
    capabilities.DERIVED: "is made from something else",
    capabilities.POLL: "is polled, and so seconds late",
    capabilities.UNSUPPORTED: "is not available",
}


def _capabilities(exchange: Any, made: Account, found: Found) -> None:
    offered = capabilities.matrix(exchange.has)
    needless = set() if made.has_keys else {"orders", "fills", "balances", "positions"}
    if made.types == ("spot",):
        needless.add("positions")
    streams = {name: how for name, how in offered["stream"].items() if name not in needless}
    for how, says in FALLBACKS.items():
        names = [name for name, had in streams.items() if had == how and name != "ohlcv"]
        if names:
            make_finding = _mind if how != capabilities.UNSUPPORTED else _bad
            words = "nothing; it works, with this limitation"
            do = words if how != capabilities.UNSUPPORTED else "choose another exchange for these"
            found(make_finding(made.id, "streams", f"{', '.join(names)} {says}", do))
    if all(had == capabilities.NATIVE for name, had in streams.items() if name != "ohlcv"):
        found(_good(made.id, "streams", "all that is needed is streamed"))
    lacking = [name for name, how in offered["order"].items() if how == capabilities.UNSUPPORTED]
    made_here = [name for name, how in offered["order"].items() if how == capabilities.DERIVED]
    if made.has_keys and (lacking or made_here):
        parts = [f"{', '.join(made_here)}: done by this server while it runs"] if made_here else []
        parts += [f"{', '.join(lacking)}: not available"] if lacking else []
        do = "protective orders that the server holds end with it" if made_here else "nothing"
        found(_mind(made.id, "orders", "; ".join(parts), do))
    elif made.has_keys:
        found(_good(made.id, "orders", "every kind of order is the exchange's own"))


async def _signed(public: Any, made: Account, found: Found, now: Callable[[], int]) -> None:
    """Ask what needs the key."""
    exchange, calls = _connect(made, now)
    exchange.set_markets(list(public.markets.values()), public.currencies)
    try:
        await _ask_signed(exchange, calls, made, found)
    finally:
        await exchange.close()


async def _ask_signed(exchange: Any, calls: Calls, made: Account, found: Found) -> None:
    redact = Redaction(made.secrets)
    balance = await _asked(
        lambda: calls.read(exchange.fetch_balance), made, "signed request", found, redact
    )
    if balance is None:
        return
    funds = {name: total for name, total in (balance.get("total") or {}).items() if total}
    names = ", ".join(sorted(funds)[:8]) or "nothing"
    found(_good(made.id, "signed request", f"the key is accepted; the account has {names}"))
    try:
        async with asyncio.timeout(PATIENCE_S):
            may = await permissions(exchange, made.id)
    except (Failure, TimeoutError):
        may = UNTOLD
    _permissions(made, may, found)


def _permissions(made: Account, may: Permissions, found: Found) -> None:
    if may == UNTOLD:
        says = "the exchange does not say what the key may do"
        do = "check there that it may trade, may not withdraw, and is bound to this machine's address"
        found(_mind(made.id, "permissions", says, do))
        return
    if may.withdraw:
        says, _, do = says_withdraw(made.id, str(made.key)).partition("; ")
        if made.sandbox or made.may_withdraw:
            found(_mind(made.id, "permissions", says, do))
        else:
            do += "; mode live refuses to start with it unless allow_withdrawal_key names it"
            found(_bad(made.id, "permissions", says, do))
    if may.trade is False:
        do = "give it that permission at the exchange"
        found(_bad(made.id, "permissions", "the key may not place orders", do))
    if may.bound is False:
        do = "bind it to this machine's address at the exchange"
        found(_mind(made.id, "address", "the key works from every address", do))
    if may.withdraw is False and may.trade is not False:
        found(_good(made.id, "permissions", "the key can trade and cannot withdraw"))


async def _asked(
    ask: Callable[[], Awaitable[T]], made: Account, check: str, found: Found, redact: Redaction
) -> T | None:
    """Ask the exchange; None when it failed, which is a finding then."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await reading(ask, made.id, redact)
    except TimeoutError:
        says, do = f"no answer within {PATIENCE_S:g} s", WHAT_TO_DO["NetworkError"]
    except Failure as failure:
        says, do = failure.message, remedy(failure)
    found(_bad(made.id, check, says, do))
    return None


def remedy(failure: Failure) -> str:
    """Say what to do about a failed question."""
    classes = (failure.details or {}).get("classes")
    names = classes if isinstance(classes, list) else []
    return next((WHAT_TO_DO[name] for name in names if name in WHAT_TO_DO), "try again")


WHAT_TO_DO: Final[Mapping[str, str]] = {
    "PermissionDenied": "give the key the right to read and trade, and allow the address of this machine",
    "AccountSuspended": "ask the exchange",
    "InvalidNonce": "set the clock; if the key was used elsewhere, make one for this server alone",
    "AuthenticationError": "check that key and secret belong together, are for this site (sandbox or not) and have not expired",
    "OnMaintenance": "wait until the exchange is back",
    "RateLimitExceeded": "wait a minute; something else at this address sends too many requests",
    "DDoSProtection": "wait a minute; something else at this address sends too many requests",
    "NetworkError": "check that this machine reaches the exchange: name resolution, firewall, proxy, endpoint",
    "NotSupported": "choose another exchange, or a type of market that it has",
    "BadResponse": "something in between answers in its place: a proxy, or a wrong endpoint",
}


# --- making findings ------------------------------------------------------------------------------


def _good(about: str, check: str, says: str) -> Finding:
    return Finding(about=about, check=check, verdict=Verdict.GOOD, says=says)


def _mind(about: str, check: str, says: str, do: str) -> Finding:
    return Finding(about=about, check=check, verdict=Verdict.MIND, says=says, do=do)


def _bad(about: str, check: str, says: str, do: str) -> Finding:
    return Finding(about=about, check=check, verdict=Verdict.BAD, says=says, do=do)


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """Give the worst of them."""
    return max(
        (finding.verdict for finding in findings), key=list(Verdict).index, default=Verdict.GOOD
    )


__all__ = ["Finding", "Verdict", "examine", "verdict_of"]
