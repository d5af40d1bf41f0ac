"""One connection as a state machine: identity, deadlines, replies, and how much misuse it may commit.

Rules of this file: (1) it reads no clock and starts no timer: times come in, `due` says when to come
back; (2) whatever waits here is bounded; (3) after `close` nothing is written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from realtime.hub import protocol
from realtime.hub.frames import array_frame, text_frame
from realtime.hub.hub import Wire
from realtime.hub.protocol import Close, Options, Request
from realtime.model.errors import Code, Refused
from realtime.model.principal import Principal


MINUTE: Final = 60.0
BURST: Final = 0.25
"""Part of a wait within which others of the burst that caused it may still come."""
REACTION_S: Final = 0.1
"""A client that was told `retry_after` may not have read it yet: time it is given to do so [s]."""


LAST_WORD_S: Final = 0.9
"""How long a connection whose credential has ended waits for the replies under way: it is to be gone within 1 s [s]."""


class Line(Wire, Protocol):
    """A wire that can tell whether it takes anything now, and that may join what is written at a time."""

    @property
    def paused(self) -> bool:
        """Whether what is written now only waits in memory."""
        ...

    def write_soon(self, blob: bytes) -> bool:
        """As `write`, in the same order; it may leave with what else is written in this turn of the loop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one connection may do (protocol document, sections 3.2, 6.6, 9.2 and 10)."""

    auth_s: float = 10.0
    warn_s: float = 60.0
    reply_bytes: int = 65_536
    unreadable: int = 20
    in_flight: int = 64
    ignored: int = 3
    channels: int = 256


class Connection:
    """The state of one connection.

    Args:
        session: Its id in `welcome`, logs and audit.
        client: Name of its owner.
        options: As accepted.
        wire: The way out.
        bounds: What it may do.
        now: Monotonic time of the upgrade [s].
        stamp: Wire ms, for `ts`.

    Attributes:
        principal: None before authentication.
        sent: Replies, notices and heartbeats said so far, those that still wait among them.
        in_flight: Commands that were not answered yet, those of the safety lane apart.
        urgent: Those of the safety lane.
        closed: The code it was closed with by us; None while open.
        expelled: Whether it only waits for its last replies.
        floods: By lane, refusals as `rate_limited` that are not forgiven yet; to read.
    """

    __slots__ = (
        "_auth_at",
        "_bad",
        "_beat_at",
        "_expire_at",
        "_long",
        "_stamp",
        "_waiting",
        "_waiting_bytes",
        "_warn_at",
        "batch",
        "bounds",
        "client",
        "closed",
        "expelled",
        "floods",
        "in_flight",
        "options",
        "principal",
        "said_bye",
        "sent",
        "session",
        "urgent",
        "wire",
    )

    def __init__(
        self,
        *,
        session: str,
        client: str,
        options: Options,
        wire: Line,
        bounds: Bounds,
        now: float,
        stamp: Callable[[], int],
    ) -> None:
        self.session = session
        self.client = client
        self.options = options
        self.wire = wire
        self.bounds = bounds
        self.principal: Principal | None = None
        self.sent = 0
        self.in_flight = 0
        self.urgent = 0
        self.closed: Close | None = None
        self.said_bye = False
        self.expelled = False
        self.batch = options.batch
        self._stamp = stamp
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        # Whether one that is longer than all of these may be waits among them.
        self._long = False
        self._bad: list[float] = []  # never more than `unreadable`
        self.floods: dict[str, _Flood] = {}
        self._beat_at = now + options.heartbeat
        self._auth_at: float | None = now + bounds.auth_s
        self._warn_at: float | None = None
        self._expire_at: float | None = None

    # --- out ---------------------------------------------------------------------------------------

    def send(self, payload: bytes) -> bool:
        """Send a welcome, notice or heartbeat; queue it while the wire is paused.

        Returns:
            Whether the wire takes more. False also when this send filled it: the hub must be told.
        """
        return self._send(payload, self.wire.write)

    def _send(self, payload: bytes, write: Callable[[bytes], bool]) -> bool:
        if self.closed is not None:
            return False
        self.sent += 1
        if self.wire.paused or self._waiting:  # behind what waits already, in order
            self._waiting.append(payload)
            most = self.bounds.reply_bytes
            if len(payload) > most and not self._long:
                # A list may be longer than all that may wait: whoever asks for one behind a snapshot is not slow yet.
                self._long = True
                return False
            self._waiting_bytes += len(payload)
            if self._waiting_bytes > most:
                self.close(Close.SLOW_CONSUMER)
            return False
        return write(array_frame([payload]) if self.batch else text_frame(payload))

    def drain(self) -> bool:
        """Send what has waited; call when the wire takes again, before any data.

        Returns:
            Whether the wire still takes.
        """
        if self.closed is not None or self.wire.paused:
            return False
        if not self._waiting:
            return True
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        long, self._long = self._long, False
        if self.batch and not long:
            return self.wire.write(array_frame(waiting))
        # What is long is joined with nothing: with 64 KiB more it could be longer than a client takes.
        texts = [b"[%b]" % payload for payload in waiting] if self.batch else waiting
        return self.wire.write(b"".join(map(text_frame, texts)))

    def reply(
        self,
        request: Request,
        *,
        result: Mapping[str, object] | None = None,
        error: Mapping[str, object] | None = None,
        at: Mapping[str, object] | None = None,
    ) -> bool:
        """Answer a request; returns as `send`.

        Raises:
            TypeError: The result cannot be encoded; nothing was sent.
        """
        payload = protocol.reply(
            mark=request.id, op=request.op, ts=self._stamp(), result=result, error=error, at=at
        )
        return self._send(payload, self.wire.write_soon)

    def notify(self, event: str, data: Mapping[str, object], channels: Sequence[str] = ()) -> bool:
        """Send a notice; returns as `send`."""
        return self.send(protocol.notice(event, ts=self._stamp(), data=data, channels=channels))

    def close(self, code: Close) -> None:
        """Close, once."""
        if self.closed is None:
            self.closed = code
            self._waiting.clear()
            self._waiting_bytes = 0
            self.wire.close(code, code.reason)

    def bye(self) -> None:
        """Note that it was said: the session closes with 1000 behind the reply, and no deadman fires."""
        self.said_bye = True

    # --- in ----------------------------------------------------------------------------------------

    def receive(self, text: str, now: float) -> Request | None:
        """Decode a text frame; an unreadable one is answered, and too many of them close."""
        try:
            return protocol.decode(text)
        except Refused as refused:
            error = protocol.refusal(refused)
        self.send(protocol.reply(mark=None, op=None, ts=self._stamp(), error=error))
        self._bad.append(now)
        while self._bad[0] <= now - MINUTE:
            del self._bad[0]
        if len(self._bad) >= self.bounds.unreadable:
            self.close(Close.PROTOCOL_ERROR)
        return None

    def count(self, lane: str, by: int) -> None:
        """Count a command of this lane that is under way, or is not any more."""
        if lane == "safety":
            self.urgent += by
        else:
            self.in_flight += by

    def full(self, lane: str) -> bool:
        """Tell whether one more command of this lane is too many."""
        return lane != "safety" and self.in_flight >= self.bounds.in_flight

    def limited(self, lane: str, now: float, retry_after: float) -> None:
        """Note that a command was refused as `rate_limited`; close when that is ignored.

        Source: 9.2, "`retry_after` ignored three times". A command that came before its time counts as
        ignoring when its sender could know: it came `REACTION_S` after the refusal, or behind more
        refused commands than a client may have unanswered at all. A burst that was under way already is
        not ignorance.

        Args:
            lane: Of the command.
            now: When it came [s].
            retry_after: What it is told [s].
        """
        self.waited(lane, now)
        flood = self.floods.get(lane)
        if flood is None:
            self.floods[lane] = _Flood(told_at=now, since=now, until=now + retry_after, last=now)
            return
        flood.refused += 1
        flood.last = now
        if now >= flood.until:
            flood.since, flood.until, flood.early = now, now + retry_after, False
            return
        flood.early |= now - flood.since > (flood.until - flood.since) * BURST
        if now - flood.told_at < REACTION_S and flood.refused <= self.bounds.in_flight:
            return
        flood.ignored += 1
        flood.told_at = now
        if flood.ignored >= self.bounds.ignored:
            self.close(Close.FLOODING)

    def waited(self, lane: str, now: float) -> None:
        """Note that a command of this lane came; earlier refusals are forgiven if it waited.

        Being admitted is no merit of its own: under a flood a token falls to somebody every few ms. Nor
        is coming late, right behind others that did not wait.
        """
        flood = self.floods.get(lane)
        if flood is None or now < flood.until:
            return
        if not flood.early or now - flood.last >= flood.until - flood.since:
            del self.floods[lane]

    # --- identity ----------------------------------------------------------------------------------

    def authenticate(self, principal: Principal, *, now: float) -> None:
        """Become a principal, or extend the one there is.

        Args:
            principal: Of the token that was just verified.
            now: Monotonic [s].

        Raises:
            Refused: `forbidden`, for another subject than before.
        """
        if self.principal is not None and self.principal.subject != principal.subject:
            raise Refused(
                Code.FORBIDDEN,
                f"this connection belongs to {self.principal.subject}; open another one",
            )
        self.principal = principal
        self._auth_at = None
        self._warn_at = self._expire_at = None
        if principal.expires_at is not None:
            # On the monotonic clock from here on: a step of the wall clock expires nothing.
            self._expire_at = now + (principal.expires_at - self._stamp()) / 1000
            self._warn_at = max(self._expire_at - self.bounds.warn_s, now)

    def expel(self, now: float) -> None:
        """End it as unauthorized: at once, or behind the replies under way, such as that to what has ended it.

        Args:
            now: Monotonic [s].
        """
        if not (self.in_flight or self.urgent):
            self.close(Close.UNAUTHORIZED)
        elif not self.expelled:
            self.expelled = True
            self._warn_at, self._expire_at = None, now + LAST_WORD_S

    # --- time --------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When `tick` has something to do [monotonic s]."""
        times = (self._beat_at, self._auth_at, self._warn_at, self._expire_at)
        return min(time for time in times if time is not None)

    def tick(self, now: float, heartbeat: Callable[[], bytes]) -> bool:
        """Do what is due.

        Args:
            now: Monotonic [s].
            heartbeat: Encodes the heartbeat of this moment.

        Returns:
            As `send`; True when nothing was sent.
        """
        takes = True
        if self._expire_at is not None and now >= self._expire_at:
            self.close(Close.UNAUTHORIZED)
            return False
        if self._auth_at is not None and now >= self._auth_at:
            self.close(Close.UNAUTHORIZED)
            return False
        if now >= self._beat_at:
            # One heartbeat however late we are; the next keeps the grid.
            missed = int((now - self._beat_at) // self.options.heartbeat)
            self._beat_at += (missed + 1) * self.options.heartbeat
            takes = self.send(heartbeat())
        if self._warn_at is not None and self._expire_at is not None and now >= self._warn_at:
            self._warn_at = None
            left = round(self._expire_at - now)
            takes = self.notify("auth_expiring", {"in": left}) and takes
        return takes


@dataclass(slots=True, kw_only=True)
class _Flood:
    """A lane whose `retry_after` was not respected yet.

    Attributes:
        told_at: When it was told, or when ignoring it was counted last [s].
        since, until: The wait that was told last [s].
        early: Whether commands came during that wait, apart from those right behind its cause.
        last: When a command was refused last [s].
    """

    told_at: float
    since: float
    until: float
    last: float
    early: bool = False
    refused: int = 0
    ignored: int = 0
