"""The way out of alerts to people: reads the journal behind what each target was told, and sends.

Rules of this file: (1) the journal is the queue: an alert is never waited for, and one of an earlier life is sent in the
next; (2) what a target was told last is a row there, written behind the sending: a message may come twice, with the same
id, and none is lost but by rule 3; (3) a message is given up after the last of `WAITS`, and of a backlog of more than
`MOST` the oldest are passed over: both are said; (4) a failure is logged and shown in `status`, and never an alert.
"""

import asyncio
import contextlib
import functools
import logging
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from realtime.desk.config.sections import Notifications
from realtime.desk.desk import Desk
from realtime.desk.entries import Entry
from realtime.desk.masking import fault_of, loopback
from realtime.desk.notify import (
    MAIL,
    Message,
    Target,
    mailed,
    message_of,
    parted,
    posted,
    room,
    targets_of,
)
from realtime.desk.recovery import OVER, TOLD
from realtime.desk.status import Level
from realtime.model.errors import Refused
from realtime.model.market import MS
from realtime.store.writer import State


logger = logging.getLogger("realtime.notices")

EVERY_S: Final = 0.5
"""Time between two looks at what there is [s]."""
STEP_S: Final = 10.0
"""Patience with a step of a sending: connecting, each answer [s]."""
WHOLE_S: Final = 30.0
"""Patience with a sending [s]."""
WAITS: Final = (2.0, 10.0, 30.0, 60.0, 120.0)
"""Times between the attempts of a message [s]."""
AGAIN_S: Final = 10.0
"""Time until what could not be read is read again [s]."""
UNREAD: Final = "the alerts cannot be read"
PAGE: Final = 500
"""Entries that are read at a time."""
MOST: Final = 5_000
"""Entries that a target may be behind."""
SECURE: Final = 465
"""The port of mail that is encrypted from the first byte."""


class Undelivered(Exception):
    """A message has not arrived; the text says why, without address and password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who sends mail; without a password nobody does."""

    user: str = ""
    password: str = field(default="", repr=False)


NOBODY: Final = Login()


# --- sending, on a thread -------------------------------------------------------------------------


@functools.cache
def trust() -> ssl.SSLContext:
    """Make what judges certificates, once: to read those of the system takes a tenth of a second."""
    paths = ssl.get_default_verify_paths()
    # By name it is read beside the loop; the shorter way of the library holds the interpreter meanwhile.
    return ssl.create_default_context(cafile=paths.cafile, capath=paths.capath)


def post(url: str, body: bytes) -> None:
    """Send to a webhook; follows nothing and reads nothing of the answer but how it begins.

    Raises:
        Undelivered: It was not taken.
    """
    from http.client import HTTPConnection, HTTPException, HTTPSConnection  # noqa: PLC0415 - no server needs it to start

    if fault := fault_of(url):
        raise Undelivered(f"the address {fault}")
    parts = urlsplit(url)
    host = parts.hostname or ""
    way = (
        HTTPSConnection(host, parts.port, timeout=STEP_S, context=trust())
        if parts.scheme == "https"
        else HTTPConnection(host, parts.port, timeout=STEP_S)
    )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"content-type": "application/json", "user-agent": "nexus-realtime"}
    try:
        with contextlib.closing(way):
            way.request("POST", path, body, headers)
            status = way.getresponse().status
    except (HTTPException, OSError, ValueError) as error:
        raise Undelivered(_why(error)) from None
    if not 200 <= status < 300:
        raise Undelivered(f"it answered {status}")


def mail(section: Notifications, login: Login, message: Message, journal: str) -> None:
    """Send a mail, never in clear but within the machine.

    Raises:
        Undelivered: It was not taken.
    """
    import smtplib  # noqa: PLC0415 - no server needs it to start

    host, port = section.smtp_server, section.smtp_port
    try:
        made = mailed(section, message, journal)
        with (
            smtplib.SMTP_SSL(host, port, timeout=STEP_S, context=trust())
            if port == SECURE
            else smtplib.SMTP(host, port, timeout=STEP_S)
        ) as server:
            if port != SECURE and not loopback(host):
                server.starttls(context=trust())
            server.login(login.user or section.sender, login.password)
            server.send_message(made)
    except smtplib.SMTPResponseException as error:
        raise Undelivered(f"it answered {error.smtp_code}") from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise Undelivered(_why(error)) from None


def _why(error: Exception) -> str:
    """Say it in words that no address or password is in."""
    match error:
        case TimeoutError():
            return f"no answer within {STEP_S:g} s"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not good: {error.verify_message}"
        case OSError(strerror=str() as words):
            return words
        case _:
            return type(error).__name__


class Courier:
    """Runs one sending at a time on a thread that does not hold the process."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], None]) -> None:
        """Run it; one that takes too long is left behind, and while it lives there is no other.

        Raises:
            Undelivered: It did not arrive, or it took too long.
        """
        if self._thread is not None and self._thread.is_alive():
            raise Undelivered("the attempt before has not come to an end")
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()

        def run() -> None:
            try:
                work()
            except Undelivered as failed:
                done.set_exception(failed)
            except Exception as strange:
                # What a library makes of a strange answer must not end trading.
                logger.exception("sending failed")
                done.set_exception(Undelivered(type(strange).__name__))
            else:
                done.set_result(None)

        self._thread = threading.Thread(target=run, name="notice", daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(WHOLE_S):
                await asyncio.wrap_future(done)
        except TimeoutError:
            raise Undelivered(f"it took longer than {WHOLE_S:g} s") from None


# --- what is sent when ----------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Line:
    """A target that is served.

    Attributes:
        at: Number of the last entry that it needs to hear of no more.
        kept: The same, as the journal has it.
        missed: Entries passed over and not said yet.
        lost: Alerts given up since the start.
        why: Why the last attempt failed; empty where it did not.
        warned: Whether it was told that the journal cannot be written.
        sent: When it was sent something, within the last minute [ns].
    """

    target: Target
    at: int
    kept: int = -1
    missed: int = 0
    lost: int = 0
    why: str = ""
    warned: bool = False
    sent: deque[int] = field(default_factory=deque)
    courier: Courier = field(default_factory=Courier)
    task: asyncio.Task[None] | None = None


class Notices:
    """Sends the alerts of one account."""

    def __init__(
        self,
        *,
        desk: Desk,
        venue: str,
        mode: str,
        section: Callable[[], Notifications | None],
        login: Login,
        told: Mapping[str, int],
    ) -> None:
        """Make them.

        Args:
            desk: Of the account.
            venue: The account, as messages name it.
            mode: `paper` or `live`.
            section: Gives section `notifications` as it is now; None while nobody knows it.
            login: Who sends mail.
            told: What each target was told last, as the journal has it.
        """
        self._desk = desk
        self._venue = venue
        self._mode = mode
        self._section = section
        self._login = login
        self._told = dict(told)
        self._lines: dict[str, Line] = {}
        # One that is new is told what came behind the last look; at a start, what comes with the start.
        self._seen = desk.store.opened["alerts"]
        self._mute = False

    def condition(self) -> tuple[Level, str]:
        """Say how it is, for `status`."""
        lines = self._lines.values()
        found = [f"{line.target.name}: {line.why}" for line in lines if line.why]
        if self._mute:
            found.append("mail is off: smtp.password is not set")
        lost = sum(line.lost for line in lines)
        told = [f"{lost} alerts given up since the start"] if lost else []
        return "degraded" if found else "ok", "; ".join(found + told)

    async def run(self) -> None:
        """Serve the targets of the configuration without end."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                section = self._section()
                if section is not None:
                    self._agree(targets_of(section), tasks)
                    self._seen = self._desk.entries.alerts
                await asyncio.sleep(EVERY_S)

    def _agree(self, targets: dict[str, Target], tasks: asyncio.TaskGroup) -> None:
        """Serve these and no others."""
        mute = MAIL in targets and not self._login.password
        if mute:
            del targets[MAIL]
            if not self._mute:
                logger.warning("no mail is sent", extra={"why": "smtp.password is not set"})
        self._mute = mute
        for key in [key for key in {*self._told, *self._lines} if key not in targets]:
            line = self._lines.pop(key, None)
            if line is not None and line.task is not None:
                line.task.cancel()
            self._told.pop(key, None)
            with contextlib.suppress(Refused):
                self._desk.store.append(TOLD, key, OVER)
        for key, target in targets.items():
            if key in self._lines:
                self._lines[key].target = target
                continue
            at = min(self._told.pop(key, self._seen), self._seen)
            line = self._lines[key] = Line(target=target, at=at)
            self._note(line)
            line.task = tasks.create_task(self._serve(line), name=f"notices {target.name}")

    def _note(self, line: Line) -> None:
        """Write down what a target was told; where the journal has no room, that is done later."""
        if line.kept != line.at:
            with contextlib.suppress(Refused):
                self._desk.store.append(TOLD, line.target.key, b"%d" % line.at)
                line.kept = line.at

    async def _serve(self, line: Line) -> None:
        """Tell a target what there is, without end."""
        store = self._desk.store
        while True:
            await asyncio.sleep(EVERY_S)
            if store.state is State.FAILED:
                await self._warn(line)
                continue
            line.warned = False
            try:
                await self._look(line)
            except Refused:
                pass  # what a journal is too busy to be asked for now is told a little later
            except Exception:
                # Who cannot read what to tell must not end trading.
                line.why = UNREAD
                logger.exception("alerts not read", extra={"to": line.target.name})
                await asyncio.sleep(AGAIN_S)
            else:
                line.why = "" if line.why == UNREAD else line.why

    async def _warn(self, line: Line) -> None:
        """Say that the journal cannot be written: the alert of it cannot be, either."""
        said: Entry = {"level": "critical", "code": "journal", "data": {}, "acked_by": None}
        text = "the journal cannot be written; trading is halted"
        alert: Entry = {"id": "unwritten", "ts": self._desk.now() // MS, "text": text, **said}
        if not line.warned and line.target.wants(alert):
            line.warned = True
            await self._deliver(line, [alert])

    async def _look(self, line: Line) -> None:
        """Send what is due and may be sent now."""
        behind = self._desk.entries.alerts - line.at
        if behind <= 0:
            return
        if behind > MOST:
            line.missed += behind - MOST
            line.at += behind - MOST
        page = await self._desk.store.logs("alerts", line.at + 1, line.at + PAGE)
        due = [(n, entry) for n, _, entry in page if line.target.wants(entry)]
        groups = parted(due, room(line.sent, self._desk.now()))
        for group in groups:
            arrived = await self._deliver(line, [entry for _, entry in group])
            line.at, _ = group[-1]
            self._note(line)
            if not arrived:
                return  # much may have come meanwhile
        if page and (groups or not due):
            line.at = page[-1][0]
            if line.at - line.kept >= PAGE:
                self._note(line)

    async def _deliver(self, line: Line, alerts: Sequence[Entry]) -> bool:
        """Send a message; False where it was given up."""
        message = message_of(alerts, venue=self._venue, mode=self._mode, missed=line.missed)
        line.sent.append(self._desk.now())
        more: dict[str, object] = {"to": line.target.name, "alert": message["id"]}
        for wait in (*WAITS, None):
            try:
                await line.courier.run(functools.partial(self._send, line.target, message))
            except Undelivered as failed:
                line.why = str(failed)
            else:
                line.why, line.missed = "", 0
                return True
            more["why"] = line.why
            if wait is not None:
                logger.warning("notice not sent", extra={**more, "again_s": wait})
                await asyncio.sleep(wait)
        line.lost += len(alerts)
        logger.error("notice given up", extra={**more, "alerts": len(alerts)})
        return False

    def _send(self, target: Target, message: Message) -> None:
        if target.mail is not None:
            mail(target.mail, self._login, message, self._desk.store.journal_id)
        else:
            post(target.url, posted(target.url, message))
