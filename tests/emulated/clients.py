"""The real client, ccxt.pro as it is installed, pointed at a server on loopback; only addresses are changed."""

import asyncio
import importlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import ccxt.pro


PATIENCE_S = 30.0


def addressed(urls: Any, endpoint: str) -> Any:
    """The same addresses with another scheme and host."""
    if isinstance(urls, dict):
        return {name: addressed(value, endpoint) for name, value in urls.items()}
    host = endpoint.partition("://")[2]
    return re.sub(r"^(http|ws)s?://[^/]+", lambda found: f"{found.group(1)}://{host}", str(urls))


@asynccontextmanager
async def client(
    exchange_id: str, endpoint: str, key: str = "", secret: str = ""
) -> AsyncIterator[Any]:
    """An unpatched client of an emulated exchange; `verify` has a meaning with TLS only, and reading certificates costs 20 ms."""
    exchange = getattr(ccxt.pro, exchange_id)(
        {
            "apiKey": key,
            "secret": secret,
            "enableRateLimit": False,
            "timeout_on_exit": 0,
            "verify": False,
        }
    )
    exchange.urls["api"] = addressed(exchange.urls["api"], endpoint)
    try:
        yield exchange
    finally:
        await exchange.close()


@asynccontextmanager
async def watching(watch: Callable[[], Awaitable[Any]]) -> AsyncIterator[list[Any]]:
    """Everything a watch method gives while the block runs; its failure is raised at the end of the block."""
    seen: list[Any] = []

    async def follow() -> None:
        while True:
            seen.append(await watch())

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def until(holds: Callable[[], Any]) -> Any:
    """Wait until something holds, half a minute at most, and give what it is."""
    end = time.monotonic() + PATIENCE_S
    while not (value := holds()):
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.002)
    return value


def validate(kind: str, exchange: Any, *values: Any, skipped: tuple[str, ...] = ()) -> None:
    """Look at a parsed structure with ccxt's own test of it.

    Args:
        kind: `ticker`, `order` …
        exchange: Whose.
        values: As that test takes them.
        skipped: What this exchange's parser leaves out, whatever the server sends.
    """
    module = importlib.import_module(f"ccxt.test.exchange.base.test_{kind}")
    test = getattr(module, f"test_{kind}")
    test(exchange, dict.fromkeys(skipped, "the parser leaves it out"), f"fetch_{kind}", *values)
