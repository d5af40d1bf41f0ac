"""What a machine does to a server: its disk is full, its clock steps (promises O12, O13)."""

# ruff: noqa: ASYNC110, ASYNC221 - nobody tells when a disk has room; processes are of the test's own

import asyncio
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from realtime.store import verify
from tests.flows.process import Process, Talk, apart, talk
from tests.prices import price


DISK = "48m"
ROOM = {"REALTIME_STORE__WARN_FREE_MB": "8", "REALTIME_STORE__REDUCING_FREE_MB": "4"}
PATIENCE_S = 60.0
BUY: dict[str, Any] = {"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.001"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def resting(line: Talk, *names: str) -> None:
    """Place orders that rest."""
    far = price(await line.result("market.ticker", symbol="BTC/USDT"))
    for name in names:
        await line.result(
            "order.place", **BUY | {"type": "limit", "price": far}, client_order_id=name
        )


async def refused(line: Talk, named: str) -> tuple[dict[str, Any], list[str]]:
    """Buy until it is refused: the error, and the ids of what was taken before."""
    taken: list[str] = []
    while True:
        name = f"{named}-{len(taken)}"
        reply = await line.call("order.place", **BUY, client_order_id=name)
        if not reply["ok"]:
            error: dict[str, Any] = reply["error"]
            return error, taken
        taken.append(name)


async def resumed(line: Talk, name: str) -> None:
    """Resume, and buy as soon as the journal is written again."""
    async with asyncio.timeout(PATIENCE_S):
        await line.result("trading.resume", reason="there is room")
        while not (await line.call("order.place", **BUY, client_order_id=name))["ok"]:
            await asyncio.sleep(0.2)


async def written(line: Talk) -> None:
    """Wait until the room of the ballast has taken what waits: a cancel does not wait for it (`journaled`)."""
    async with asyncio.timeout(PATIENCE_S):
        while (await line.result("monitoring.metrics"))["journal"]["waiting"]:
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.promise("O12")
async def test_on_a_full_disk_entries_stop_and_cancels_are_journaled(tmp_path: Path) -> None:
    """A real file system that is full, and a process that is killed on it."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("a small disk needs root, unshare and nsenter")
    probe = ("unshare", "-m", "mount", "-t", "tmpfs", "none", str(tmp_path))
    if subprocess.run(probe, check=False, capture_output=True, timeout=10).returncode:
        pytest.skip("this kernel gives no namespaces in which a disk can be mounted")
    data, filler = tmp_path / "j.db", tmp_path / "filler"
    with apart("-m", f"mount -t tmpfs -o size={DISK} none '{tmp_path}'") as holder:
        words = ("nsenter", "-t", holder, "-m")

        class Inside(Process):
            """A server that sees the small disk."""

            before = words

        def run(*command: str) -> int:
            return subprocess.run([*words, *command], check=False, capture_output=True).returncode

        with Inside.serve(data, **ROOM) as server:
            async with talk(server.socket) as line:
                await resting(line, "rest-0", "rest-1", "rest-2")
                run("dd", "if=/dev/zero", f"of={filler}", "bs=64k")
                error, bought = await refused(line, "full")
                canceled = await line.call("order.cancel", client_order_id="rest-0")
                print(f"O12: a full disk: {error['message']}")

                assert error["code"] == "halted"
                assert "journal" in error["message"]
                assert canceled["ok"]
                run("rm", str(filler))
                await resumed(line, "again")
                run("dd", "if=/dev/zero", f"of={filler}", "bs=64k")
                _, more = await refused(line, "fuller")
                assert (await line.call("order.cancel", client_order_id="rest-1"))["ok"]
                await written(line)
            server.kill()
        run("rm", str(filler))
        with Inside.serve(data, **ROOM) as server:
            async with talk(server.socket) as line:
                for name in (*bought, *more, "again"):
                    row = await line.result("order.get", client_order_id=name)
                    assert row["status"] == "filled", name
                for number, status in enumerate(("canceled", "canceled", "open")):
                    row = await line.result("order.get", client_order_id=f"rest-{number}")
                    assert row["status"] == status
                await resumed(line, "last")
            assert server.terminate() == 0
        copied = tmp_path.with_name("copied.db")
        with copied.open("wb") as target:
            subprocess.run([*words, "cat", str(data)], check=True, stdout=target)
    assert verify(copied).ok


# --- the clock ------------------------------------------------------------------------------------

HOUR_S = 3_600


def faketime() -> str:
    """The library that lies about the time, or "" where there is none."""
    named = os.environ.get("LIBFAKETIME")
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return named or (str(found[0]) if found else "")


def lying(library: str, **env: str) -> dict[str, str]:
    """Environment in which the time is not what it is; makes sure that it is not."""
    given = {"LD_PRELOAD": library, "FAKETIME_NO_CACHE": "1", **env}
    said = subprocess.run(
        ["date", "+%s"], check=True, capture_output=True, env=os.environ | given, text=True
    )
    assert abs(abs(int(said.stdout) - time.time()) - HOUR_S) < 60, "the library does not lie"
    return given


async def bought_once(line: Talk, name: str) -> None:
    """Buy, and ask for the very same once more."""
    first = await line.result("order.place", **BUY, client_order_id=name)
    again = await line.result("order.place", **BUY, client_order_id=name)

    assert first["status"] == "filled"
    assert again["duplicate"] is True
    assert again["id"] == first["id"]
    assert (await line.result("order.get", client_order_id="rest"))["status"] == "open"


async def once_each(line: Talk, *names: str) -> None:
    """Every order has its fills, and none twice."""
    fills = (await line.result("fill.list", limit=500))["fills"]

    assert len({fill["id"] for fill in fills}) == len(fills)
    assert {fill["client_order_id"] for fill in fills} == set(names)


@pytest.mark.slow
@pytest.mark.promise("O13")
async def test_a_step_of_the_wall_clock_by_an_hour_ends_nothing_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    """Under a running server, and between two lives of one journal."""
    library = faketime()
    if not library:
        pytest.skip("no libfaketime (Debian: faketime; else LIBFAKETIME names it)")
    data, step = tmp_path / "j.db", tmp_path / "step"
    step.write_text(f"+{HOUR_S}\n")
    stepped = lying(library, FAKETIME_TIMESTAMP_FILE=str(step), FAKETIME_DONT_FAKE_MONOTONIC="1")
    step.write_text("+0\n")
    with Process.serve(data, **stepped) as server:
        async with talk(f"{server.socket}?client=c") as line:
            await resting(line, "rest")
            await line.result("deadman", timeout=120)
            for number, hours in enumerate((1, -1)):
                step.write_text(f"{hours * HOUR_S:+d}\n")
                await asyncio.sleep(2.0)
                await bought_once(line, f"b-{number}")
            await line.result("deadman", timeout=0)
            await once_each(line, "b-0", "b-1")
        server.kill()
    for number, hours in enumerate((-1, 1), 2):
        with Process.serve(data, **lying(library, FAKETIME=f"{hours * HOUR_S:+d}s")) as server:
            async with talk(f"{server.socket}?client=c") as line:
                await bought_once(line, f"b-{number}")
            assert server.terminate() == 0
    with Process.serve(data) as server:
        async with talk(f"{server.socket}?client=c") as line:
            await bought_once(line, "b-4")
            await once_each(line, *(f"b-{number}" for number in range(5)))
        assert server.terminate() == 0
    assert verify(data).ok
    print("O13: steps of +1 h and -1 h, with the server running and away: nothing ended or doubled")
