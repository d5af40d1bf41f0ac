"""A system behind a listener, from the first signal handler to the exit code.

Rules of this file: (1) the system owns the server, not the reverse; (2) a part that dies ends the process, and the next
start recovers.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Final

import uvicorn

from realtime.app import System, open_system
from realtime.branch import RefusedStart
from realtime.logs import logs
from realtime.model.principal import ROLES, Principal
from realtime.outside import Outside
from realtime.plans import check, redaction
from realtime.server.access import AccessLog
from realtime.server.heap import look_less
from realtime.server.sockets import bind
from realtime.server.transport import TransportLimits, config, quiet
from realtime.settings import Settings
from realtime.store import StoreCorrupt, StoreLocked, StoreNewer


try:
    import uvloop
except ImportError:  # pragma: no cover - Windows
    uvloop = None  # type: ignore[assignment]  # the loop of asyncio will do

logger = logging.getLogger("realtime.app")

READY_S: Final = 5.0
"""How long the banner waits for the account."""
SWITCH_S: Final = 0.000_2
"""How long a busy event loop may keep the journal's thread from the interpreter: with the default of 5 ms
a loop at full load let the queue of the journal fill up at 2,000 orders/s [s]."""
REFUSED: Final = 2
DIED: Final = 70
CLOSE_S: Final = 5.0
"""How long a loop may take to close: uvloop was seen to wait for ever for a handle nobody held [s]."""


class Server(uvicorn.Server):
    """uvicorn, with signals left to us: it would raise SIGTERM again on its way out."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def serve(
    settings: Settings,
    outside: Outside | None = None,
    started: Callable[[System, str], None] = lambda _system, _address: None,
) -> None:
    """Run a server until a signal ends it.

    Args:
        settings: All of them.
        outside: The world.
        started: Told the system and its address once it listens.
    """
    quiet()
    # Before there is a listener: what must not be reached is not reached for a moment either.
    check(settings)
    limits = TransportLimits(
        high=settings.server.write_buffer_bytes,
        header_s=settings.server.header_timeout_s,
        stall_s=settings.server.stall_s,
        frame_bytes=settings.server.frame_bytes,
    )
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(listening(settings, limits))
        system = await stack.enter_async_context(open_system(settings, outside))
        server = Server(
            uvicorn.Config(
                AccessLog(system.front),
                host=settings.server.host,
                port=settings.server.port,
                **config(limits, system.admission),
            )
        )
        loop = asyncio.get_running_loop()
        hurry = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _signaled, system.stop, hurry)
        serving = system.tasks.create_task(server.serve([listener]), name="server")
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.005)
        # A failing account stays not ready and the server runs; a good one is worth a moment.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                await system.ready.wait()
        look_less()
        sys.setswitchinterval(SWITCH_S)
        try:
            started(system, address(listener, settings.server.host))
            await system.stop.wait()
            await _stop(system, server, hurry)
            await serving
        finally:
            # A part that dies cancels uvicorn before it has closed what it listens on.
            for accepting in server.servers:
                accepting.close()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _signaled(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """Stop at the first signal, skip the politeness at the second."""
    if stop.is_set():
        hurry.set()
    stop.set()


async def _stop(system: System, server: Server, hurry: asyncio.Event) -> None:
    """Drain within the bound, then let go of everything."""
    for accepting in server.servers:
        accepting.close()
    draining = system.tasks.create_task(system.drain(), name="drain")
    hurried = system.tasks.create_task(hurry.wait(), name="second signal")
    await asyncio.wait(
        [draining, hurried],
        timeout=system.settings.shutdown_s - 5,
        return_when=asyncio.FIRST_COMPLETED,
    )
    draining.cancel()
    hurried.cancel()
    server.should_exit = True


@contextlib.contextmanager
def listening(settings: Settings, limits: TransportLimits) -> Iterator[socket.socket]:
    """Listen before anything else is done: a port that is taken should cost nothing.

    Raises:
        RefusedStart: The address cannot be had.
    """
    where = settings.server
    try:
        listener = bind(where.host, where.port, limits)
    except OSError as error:
        raise RefusedStart(f"server.port: {where.host}:{where.port}: {error.strerror}") from error
    with listener:
        yield listener


def address(listener: socket.socket, host: str) -> str:
    """Name where a server listens, with the port it was given."""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{listener.getsockname()[1]}"


def run(
    settings: Settings,
    outside: Outside,
    show: Callable[[dict[str, str]], None],
) -> tuple[int, str]:
    """Run a server in a loop of its own.

    Args:
        settings: All of them.
        outside: The world.
        show: Told name and value of what a person wants to know, once it listens.

    Returns:
        Exit code (0 drained, 2 refused, 70 a part died) and the reason.
    """
    try:
        redact = redaction(settings)
    except RefusedStart as error:
        return REFUSED, str(error)
    logs(settings, redact)
    if outside.monotonic is None:
        # The same clock as the loop's, at a tenth of the cost: an order asks for the time twenty times.
        outside = replace(outside, monotonic=time.monotonic_ns)

    def started(system: System, where: str) -> None:
        show(facts(system, where))

    refusals = (RefusedStart, StoreLocked, StoreNewer, StoreCorrupt, OSError)
    try:
        drive(serve(settings, outside, started))
    except BaseExceptionGroup as group:
        refused, other = group.split(refusals)
        if refused is not None and other is None:
            return REFUSED, redact(str(_first(refused)))
        logger.critical("a part died", exc_info=group)
        return DIED, redact(f"a part died: {_first(group)!r}")
    except refusals as error:
        return REFUSED, redact(str(error))
    return 0, ""


def drive(main: Coroutine[object, object, None]) -> None:
    """Run to the end in a loop of its own, and leave the process when that loop does not close.

    The journal is closed by then, so nothing is lost by leaving.
    """
    code = DIED
    watch: threading.Timer | None = None
    try:
        with asyncio.Runner(loop_factory=new_loop()) as runner:
            try:
                runner.run(main)
                code = 0
            finally:
                watch = threading.Timer(CLOSE_S, os._exit, (code,))
                watch.daemon = True
                watch.start()
    finally:
        if watch is not None:
            watch.cancel()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Take uvloop where there is one."""
    return getattr(uvloop, "new_event_loop", None)


def facts(system: System, where: str) -> dict[str, str]:
    """Say what a person wants to know."""
    settings = system.settings
    page = f"http://{where}/"
    found = {
        "socket": f"ws://{where}/ws",
        "page": page,
        "mode": f"{settings.mode} ({system.status.source})",
        "data": settings.store.path or "in memory",
    }
    if system.auth.required:
        local = Principal(subject="admin", scopes=ROLES["admin"])
        ticket = system.auth.ticket(local, None, bound=False)
        found["page"] = f"{page}#ticket={ticket} (once, within 30 s)"
    unused = [place.plan.id for place in system.places if place.plan.keys]
    if unused:
        found["keys"] = f"of {', '.join(unused)}: not used in mode paper"
    if system.token is not None:
        found["token"] = f"{system.token} (shown this once)"
    return found
