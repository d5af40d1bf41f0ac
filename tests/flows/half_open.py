"""Two network namespaces and a router between them that drops what one client sends and is sent (reliability 8.7).

Run inside a namespace of its own: `unshare -n python -m tests.flows.half_open JOURNAL`. It prints one JSON object.

    clients 10.77.1.2, .3  --  10.77.1.1 router 10.77.2.1  --  10.77.2.2 server

The router throws packets away without a word: no end learns of it from its kernel, as behind a dead mobile link.
"""

# ruff: noqa: ASYNC110 - nobody tells what the other side's kernel knows

import asyncio
import itertools
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import quantiles

import orjson
from websockets.asyncio.client import ClientConnection, connect

from tests.flows.process import Process, apart


GOOD, LOST, SERVER = "10.77.1.2", "10.77.1.3", "10.77.2.2"
PATIENCE_S = 120.0
CALM_S = 8.0


def command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=10)


def inside(pid: str, *words: str) -> None:
    command("nsenter", "-t", pid, "-n", *words)


def wire(router: str, server: str) -> None:
    """Lay the cables of the picture above."""
    command("ip", "link", "add", "c0", "type", "veth", "peer", "name", "r0", "netns", router)
    inside(router, "ip", "link", "add", "r1", "type", "veth", "peer", "name", "s0", "netns", server)
    for address in (GOOD, LOST):
        command("ip", "addr", "add", f"{address}/24", "dev", "c0")
    for device, address in (("r0", "10.77.1.1"), ("r1", "10.77.2.1")):
        inside(router, "ip", "addr", "add", f"{address}/24", "dev", device)
        inside(router, "ip", "link", "set", device, "up")
    inside(router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    inside(server, "ip", "addr", "add", f"{SERVER}/24", "dev", "s0")
    for device in ("lo", "s0"):
        inside(server, "ip", "link", "set", device, "up")
    command("ip", "link", "set", "c0", "up")
    command("ip", "route", "add", "default", "via", "10.77.1.1")
    inside(server, "ip", "route", "add", "default", "via", "10.77.2.1")


def cut(router: str) -> None:
    """From now on nothing of the lost client passes, in neither direction."""
    for direction in ("from", "to"):
        inside(router, "ip", "rule", "add", direction, LOST, "blackhole")


async def subscribed(url: str, source: str) -> ClientConnection:
    """A subscriber; the library answers its pings."""
    made = await connect(url, local_addr=(source, 0), compression=None, ping_interval=None)
    await made.send('{"op":"subscribe","id":0,"channels":["ticker:BTC/USDT"]}')
    return made


async def listen(connection: ClientConnection, heard: list[float]) -> None:
    """Note when each message comes [s, monotonic]."""
    while True:
        await connection.recv()
        heard.append(time.monotonic())


async def ask(connection: ClientConnection, taken: list[tuple[float, float]]) -> None:
    """Call `ping` again and again, and note when each answer came and after how long [s]."""
    for number in itertools.count(1):
        asked = time.monotonic()
        await connection.send(f'{{"op":"ping","id":{number}}}')
        while orjson.loads(await connection.recv()).get("id") != number:
            pass
        taken.append((time.monotonic(), time.monotonic() - asked))
        await asyncio.sleep(0.05)


def known(server: Process, address: str) -> bool:
    """Whether the server's kernel still has a socket with a peer of this address, however it stands."""
    packed = socket.inet_aton(address)[::-1].hex().upper()
    rows = Path(f"/proc/{server.process.pid}/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[2].startswith(f"{packed}:") for row in rows)


def quick(taken: list[float]) -> float:
    """The round trip that a tenth of them kept below: what the machine does besides makes only the others longer."""
    return quantiles(taken, n=10)[0]


async def measure(server: Process, router: str) -> dict[str, float]:
    """Cut a subscriber off; how long the server keeps it, and whether another one notices."""
    good, lost = [await subscribed(server.socket, address) for address in (GOOD, LOST)]
    heard: list[float] = []
    taken: list[tuple[float, float]] = []
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        tasks = [group.create_task(listen(lost, heard)), group.create_task(ask(good, taken))]
        await asyncio.sleep(CALM_S)
        cut(router)
        began = time.monotonic()
        assert known(server, LOST)
        while known(server, LOST):
            await asyncio.sleep(0.05)
        gone = time.monotonic()
        for task in tasks:
            task.cancel()
    return {
        "gone_s": gone - began,
        "heard": sum(t < began for t in heard),
        "heard_after": sum(t > began for t in heard),
        "calm_s": quick([spent for at, spent in taken if at < began]),
        "while_s": quick([spent for at, spent in taken if at > began]),
        "longest_s": max(spent for at, spent in taken if at > began),
    }


def main() -> None:
    with apart("-n") as router, apart("-n") as place:
        wire(router, place)

        class Inside(Process):
            """A server in the other namespace."""

            before = ("nsenter", "-t", place, "-n")

        server = Inside.serve(
            Path(sys.argv[1]),
            "--host",
            SERVER,
            REALTIME_AUTH__INSECURE_I_KNOW="true",
            REALTIME_LOG__LEVEL="critical",
        )
        with server:
            figures = asyncio.run(measure(server, router))
            assert server.terminate() == 0
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
