"""Keys of exchanges go in and never come out: a server that trades with them, everything it says and writes (S4)."""

import asyncio
import base64
import gzip
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from realtime.emulate.bybit import emulated
from realtime.emulate.floor import Customer
from tests.flows.process import Process, Talk, talk


MIDDLE = "canary-in-the-middle"
GOOD = (f"k1-{MIDDLE}-key/+=aaaa", f"s1-{MIDDLE}-secret/+=bbbb")
BAD = (f"k2-{MIDDLE}-key/+=cccc", f"s2-{MIDDLE}-secret/+=dddd")
PRICE = "59000"
READS = (
    "system.status",
    "system.health",
    "monitoring.nonce",
    "monitoring.cache",
    "monitoring.metrics",
    "monitoring.connections",
    "config.get",
    "order.list",
    "balance.list",
    "market.list",
    "event.list",
    "alert.list",
    "help",
)
PATHS = (
    "/metrics",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/",
    "/api/status",
    "/api/config",
    "/api/monitoring/nonce",
    "/api/orders",
    "/nowhere",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def forms() -> list[bytes]:
    """Every form in which a secret might be found."""
    found: list[bytes] = []
    for secret in (*GOOD, *BAD):
        raw = secret.encode()
        found += [
            raw,
            base64.b64encode(raw),
            base64.urlsafe_b64encode(raw),
            raw.hex().encode(),
            quote(secret, safe="").encode(),
        ]
    return [*found, MIDDLE.encode(), base64.b64encode(MIDDLE.encode())[4:-4]]


def leaks(data: bytes) -> list[bytes]:
    return [form for form in forms() if form in data]


def written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".secret":
            raw = path.read_bytes()
            yield path, raw
            if path.suffix == ".gz":
                yield path, b"".join(_lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) as file:
            yield from file
    except EOFError:
        return  # the end of the newest part is not written yet


def settings(tmp_path: Path, endpoint: str, accounts: tuple[str, ...]) -> Path:
    """A good key from a file, and one that is refused, in the settings themselves."""
    for name, text in (("key", GOOD[0]), ("secret", GOOD[1])):
        (tmp_path / f"{name}.secret").write_text(text)
        (tmp_path / f"{name}.secret").chmod(0o600)
    rows = {
        "good": f'key_file = "{tmp_path}/key.secret"\nsecret_file = "{tmp_path}/secret.secret"',
        "bad": f'key = "{BAD[0]}"\nsecret = "{BAD[1]}"',
    }
    lines = ['mode = "live"', "[record]", f'path = "{tmp_path}/recordings"']
    for name in accounts:
        at = f'id = "{name}"\nexchange = "bybit"\nendpoint = "{endpoint}"'
        lines += ["[[venues]]", at, rows[name]]
    config = tmp_path / "settings.secret"
    config.write_text("\n".join(lines))
    config.chmod(0o600)
    return config


async def exercise(client: Talk, token: str, accounts: tuple[str, ...]) -> bytes:
    """Use what there is, well and badly; gives all that was answered."""
    said: list[object] = [await client.call("auth", token=token)]
    said.append(await client.call("subscribe", channels=["logs", "orders", "alerts", "balances"]))
    buy = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "amount": "0.001"}
    for venue in accounts:
        at = {"venue": venue} if len(accounts) > 1 else {}
        said.append(await client.call("order.place", **buy, price=PRICE, **at))
        said.append(await client.call("alert.list", **at))
    placed: dict[str, Any] = said[2]  # type: ignore[assignment]
    assert placed["ok"], placed["error"]
    wrong = {**buy, "symbol": "NO/NO"}
    said.append(await client.call("order.place", **buy, price=PRICE, apiKey="nothing of ours"))
    said.append(await client.call("order.place", **wrong, price="1"))
    said.append(await client.call("order.cancel", order_id=placed["result"]["id"]))
    said.append(await client.call("log.tail", level="debug", limit=500))
    said += [await client.call(op) for op in READS]
    said += client.messages
    return repr(said).encode()


@pytest.mark.parametrize(
    "accounts",
    [
        pytest.param(("good",), id="a good key"),
        # A server waits five seconds for an account that does not get ready.
        pytest.param(("good", "bad"), id="and one that is refused", marks=pytest.mark.slow),
    ],
)
@pytest.mark.promise("S4")
async def test_keys_of_exchanges_are_nowhere_but_in_the_signed_requests(
    tmp_path: Path, accounts: tuple[str, ...]
) -> None:
    people = (
        Customer(key=GOOD[0], secret=GOOD[1], balances={"USDT": Decimal(10_000)}),
        Customer(account="other", key=BAD[0], secret="another", balances={"USDT": Decimal(1)}),
    )
    async with emulated(symbols=("BTC/USDT",), customers=people) as bybit:
        config = settings(tmp_path, bybit.endpoint, accounts)
        log = (tmp_path / "server.log").open("wb")
        server = await asyncio.to_thread(
            Process.serve,
            tmp_path / "j.db",
            "--config",
            str(config),
            REALTIME_LOG__LEVEL="debug",
            REALTIME_RISK__LIMITS='{"max_price_age_ms": 600000}',
            XDG_STATE_HOME=str(tmp_path / "state"),
        )
        with server, log:
            token = server.facts["token"].split()[0]
            headers = {"authorization": f"Bearer {token}"}
            async with talk(server.socket) as client, httpx.AsyncClient(headers=headers) as http:
                said = await exercise(client, token, accounts)
                pages = [await http.get(server.http + path) for path in PATHS]
            assert server.process.stderr is not None
            server.process.terminate()
            out, errors = await asyncio.to_thread(server.process.communicate, None, 30)
            log.write(out.encode() + errors.encode())
        everything = said + b"".join(page.content + repr(page.headers).encode() for page in pages)
        seen = re.compile(rb"good|bybit").search(everything)
        files = list(written(tmp_path))

        assert leaks(everything) == []
        assert {str(path.name): leaks(data) for path, data in files if leaks(data)} == {}
        assert seen is not None
        assert b"'rate_limited': False" in said  # the way of a key is counted, and the key masked
        assert b"***aaaa" in said
        # The control: what is looked for would be found, and the server did trade and was refused.
        assert leaks(f"x{GOOD[1]}".encode())
        assert ("bad" not in accounts) or b"error sign" in everything
        assert any(path.name.endswith(".db") and len(data) > 4_096 for path, data in files)
        print(
            f"S4: {len(forms())} forms of 4 secrets in {len(everything):,} bytes of answers and "
            f"{sum(len(data) for _, data in files):,} bytes of {len(files)} files: 0 found"
        )
