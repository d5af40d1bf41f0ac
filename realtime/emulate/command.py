"""What `realtime emulate` runs: an emulated exchange over the embedded market, until a signal ends it."""

import asyncio
import contextlib
import ipaddress
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

import orjson
import uvicorn

from realtime.emulate.bybit import Emulated, emulated, urls
from realtime.emulate.floor import Customer
from realtime.model.errors import invalid
from realtime.server.transport import quiet
from realtime.venues.listing import SYMBOLS
from realtime.venues.market import EmbeddedMarket


EXCHANGES: Final = ("bybit",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for.

    Attributes:
        balances: Deposited at the start, by currency.
        seed: Of the market.
        limits: Whether too many requests a second are refused, as on the exchange.
    """

    exchange: str = "bybit"
    host: str = "127.0.0.1"
    port: int = 9000
    expose: bool = False
    key: str = "emulated-key"
    secret: str = "emulated-secret"  # noqa: S105 - opens nothing but this emulation
    balances: Mapping[str, Decimal]
    seed: int = 1
    limits: bool = True


def read_balances(given: Iterable[str]) -> dict[str, Decimal]:
    """Read `USDT=10000` and the like; 10,000 USDT where nothing is given.

    Raises:
        Refused: One is not that, or not above zero.
    """
    found = {}
    for text in given:
        coin, _, amount = text.partition("=")
        try:
            value = Decimal(amount)
        except InvalidOperation:
            value = Decimal(0)
        if not (coin.isalnum() and value.is_finite() and value > 0):
            raise invalid("balance", f"{text!r} is not like USDT=10000")
        found[coin.upper()] = value
    return found or {"USDT": Decimal(10_000)}


def check(options: Options) -> None:
    """Refuse what must not be started.

    Raises:
        Refused: An exchange that is not emulated; an address that others reach, without `expose`.
    """
    if options.exchange not in EXCHANGES:
        raise invalid(
            "exchange", f"no emulation of {options.exchange!r}; there is {', '.join(EXCHANGES)}"
        )
    if not (options.expose or _loopback(options.host)):
        raise invalid("host", f"others can reach {options.host}; pass --expose to allow that")


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(options: Options, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: As `check` has let them pass.
        say: Prints lines to a person, once, when it listens.

    Raises:
        OSError: The address cannot be bound.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    source = EmbeddedMarket(seed=options.seed, now=time.time_ns, sleep=asyncio.sleep)
    customer = Customer(key=options.key, secret=options.secret, balances=options.balances)
    async with emulated(
        source=source,
        customers=(customer,),
        enforce_limits=options.limits,
        host=options.host,
        port=options.port,
    ) as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        try:
            say(described(server, options))
            waiting = loop.create_task(stop.wait(), name="until a signal")
            await asyncio.wait({waiting, *server.tasks}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            for task in server.tasks:
                if task.done():
                    task.result()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def described(server: Emulated, options: Options) -> str:
    """Where it is, what opens it, and how a bot is pointed at it."""
    config = orjson.dumps({"urls": {"api": urls(server.endpoint)}}).decode()
    held = ", ".join(f"{amount:f} {coin}" for coin, amount in options.balances.items())
    return f"""
  Bybit v5 on paper: {server.endpoint}
  key      {server.key}
  secret   {server.secret}
  account  {held}; in memory, forgotten at the end
  markets  {", ".join(SYMBOLS)}

  ccxt       exchange = ccxt.bybit({{"apiKey": "{server.key}", "secret": "{server.secret}", **CONFIG}})
  freqtrade  "exchange": {{"name": "bybit", "key": "{server.key}", "secret": "{server.secret}", "ccxt_config": CONFIG}}
  CONFIG     {config}
"""


def run(options: Options, say: Callable[[str], None]) -> None:
    """Serve in an event loop of its own; as `serve`."""
    quiet()
    factory = uvicorn.Config(_nothing).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(serve(options, say))


async def _nothing(_scope: object, _receive: object, _send: object) -> None:
    """Stand for an application: only the choice of a loop is wanted."""
