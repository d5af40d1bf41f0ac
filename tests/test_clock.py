"""The virtual clock of the tests."""

import asyncio
import threading
import time

import pytest

from tests.conftest import Deadlock, VirtualClockLoop, virtual_loop


async def test_an_hour_passes_at_once_and_exactly() -> None:
    loop = virtual_loop()
    began = time.monotonic()

    await asyncio.sleep(3600)

    assert loop.time() == 3600
    assert time.monotonic() - began < 1


async def test_timers_fire_in_their_order() -> None:
    loop = virtual_loop()
    seen: list[float] = []

    loop.call_later(2, lambda: seen.append(loop.time()))
    loop.call_later(1, lambda: seen.append(loop.time()))
    await asyncio.sleep(3)

    assert seen == [1, 2]


def test_waiting_for_nothing_is_called_a_deadlock() -> None:
    loop = VirtualClockLoop()

    with pytest.raises(Deadlock):
        loop.run_until_complete(loop.create_future())

    loop.close()


async def test_time_stands_while_a_worker_thread_works() -> None:
    loop = virtual_loop()

    await asyncio.to_thread(time.sleep, 0.01)

    assert loop.time() == 0


async def test_time_stands_while_an_announced_thread_works() -> None:
    loop = virtual_loop()
    done = loop.create_future()
    at_work = True

    def work() -> None:
        nonlocal at_work
        time.sleep(0.01)
        loop.call_soon_threadsafe(done.set_result, None)
        at_work = False

    loop.outside.append(lambda: at_work)
    thread = threading.Thread(target=work)
    thread.start()
    async with asyncio.timeout(1):
        await done
    thread.join()

    assert loop.time() == 0
