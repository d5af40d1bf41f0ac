"""Ops: the table from which socket, HTTP twin, help and documents are made, and their dispatch.

Rules of this file: (1) every op, from everywhere, passes `Registry.dispatch` and the same checks in
the same order; (2) a handler is called in the step that decoded the frame, so that commands keep their
order of arrival (K1); it returns an `Answer` or something to await; (3) an exception nobody expected
is caught here and nowhere else, logged once with its trace id, and answered `internal`; (4) stopping
never asks back: no policy can name an op of the safety lane.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel

from realtime.commands.confirm import Confirmations, Policy, content_of
from realtime.commands.params import CommandParams, read, suggest
from realtime.hub import protocol
from realtime.hub.hub import Since
from realtime.model.errors import Code, Failure, Outcome, Refused
from realtime.model.frozen import frozen
from realtime.model.principal import ADMIN, Principal


P = TypeVar("P", bound=BaseModel)

Lane = Literal["sub", "query", "orders", "safety"]
Idempotency = Literal["absolute", "client_order_id", "version", "request_id"]
Source = Literal["socket", "http"]

LANES: Final[tuple[Lane, ...]] = ("sub", "query", "orders", "safety")
FIRST: Final = frozenset({"auth", "help", "ping", "bye"})
"""Ops a socket may send before it is authenticated."""
BOUND: Final = frozenset({"auth", "subscribe", "unsubscribe", "pace", "bye"})
"""Ops that need a connection: `not_supported` over HTTP."""
BOUND_ARGUMENTS: Final[Mapping[str, frozenset[str]]] = {"deadman": frozenset({"grace"})}
"""Arguments that are about a connection, by op: `not_supported` over HTTP."""
HTTP_ONLY: Final = frozenset({"auth.login", "auth.logout", "auth.ticket"})
"""Ops that need a browser's request: `not_supported` over a socket."""
REMEMBERED_MS: Final = 24 * 3600 * 1000
REMEMBERED: Final = 10_000
"""Results kept for repeats of a `request_id`; beyond it the oldest is forgotten."""
RETRY_DRAINING_S: Final = 5.0

ANONYMOUS: Final = Principal(subject="", scopes=frozenset())
"""Who has not authenticated yet."""

logger = logging.getLogger(__name__)


# --- what a handler gets and gives ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One item of `subscribe`, its name as the client wrote it."""

    name: str
    since: Since | None = None
    snapshot: bool = True


@frozen(kw_only=True)
class Answer:
    """What a handler answers.

    Attributes:
        result: Goes to the wire as it is; no Decimal (format it first).
        at: Stream name to `{"epoch", "seq"}` where the effect is visible; None for queries.
        cookie: Value for the page's cookie (HTTP only); empty ends it, None leaves it alone.
    """

    result: Mapping[str, object]
    at: Mapping[str, object] | None = None
    cookie: str | None = None

    ok: ClassVar[bool] = True
    error: ClassVar[Mapping[str, object] | None] = None
    code: ClassVar[Code | None] = None
    retry_after: ClassVar[float | None] = None


@frozen(kw_only=True)
class ErrorReply:
    """What is told of an op that was not done."""

    error: Mapping[str, object]
    code: Code
    at: Mapping[str, object] | None = None

    ok: ClassVar[bool] = False
    result: ClassVar[Mapping[str, object] | None] = None
    cookie: ClassVar[str | None] = None

    @property
    def retry_after(self) -> float | None:
        """Seconds, where repeating makes sense."""
        seconds = self.error.get("retry_after")
        return seconds if isinstance(seconds, int | float) else None


Reply: TypeAlias = Answer | ErrorReply
"""The answer to one request, before it becomes bytes."""


class Session(Protocol):
    """What an op may do to the connection it came over."""

    @property
    def id(self) -> str:
        """The `session` of its welcome."""
        ...

    def authenticate(self, principal: Principal) -> None:
        """Become this principal, before the next frame is looked at."""
        ...

    def subscribe(self, asked: Sequence[Asked]) -> "Answer | Awaitable[Answer]":
        """Subscribe; the reply must be written in the step in which the answer is made."""
        ...

    def unsubscribe(self, names: Sequence[str] | None) -> list[str]:
        """End subscriptions (None: all) and name them."""
        ...

    def pace(self, every: int) -> None:
        """Change the pace [ms]."""
        ...

    def bye(self) -> None:
        """Close with 1000 behind the reply, without firing a deadman."""
        ...

    def figures(self) -> tuple[int, int]:
        """Bytes waiting to be sent, and values skipped."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Where a request came from.

    Attributes:
        address: The socket's peer.
        origin: Of a browser's request, already checked against the allow-list; None otherwise.
        cookie: Value of the page's cookie, if it came with one.
    """

    address: str = ""
    origin: str | None = None
    cookie: str | None = None


NOWHERE: Final = Peer()
"""Where a request came from that nobody has sent."""


@frozen(kw_only=True)
class Call(Generic[P]):
    """What a handler gets.

    Attributes:
        principal: `ANONYMOUS` for ops without a scope before authentication.
        client: Name of the connection's owner, tags orders together with the subject.
        session: None over HTTP.
        received: When the frame was decoded [wire ms].
        raw: The arguments as sent, for comparisons of content.
    """

    params: P
    principal: Principal
    client: str
    source: Source
    session: Session | None
    received: int
    peer: Peer = field(default_factory=Peer)
    raw: Mapping[str, object] = field(default_factory=dict)


class Failed(Failure):
    """An error reply that carries `at`: what is known to be visible although it failed."""

    def __init__(
        self,
        code: Code,
        message: str,
        details: Mapping[str, object] | None = None,
        *,
        retry_after: float | None = None,
        at: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(code, message, details, retry_after=retry_after)
        self.at = at


Handler = Callable[[Call[Any]], Answer | Awaitable[Answer]]
"""Called synchronously; what it does before its first await happens in the step of the frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One row of the table.

    Attributes:
        scope: `read`, `trade`, `bots`, `admin`, `trade|bots`, or None.
        idempotency: What repeating means.
        http: Aliases such as `GET /api/orders/{order_id}`.
        aliases: Other names of the same op.
        errors: Codes special to it, for people; the common ones go without saying.
        example: Arguments that would be accepted.
        command: Whether it changes state.
        cost: Tokens of its lane that it takes, by its arguments as sent.
        effect: What it would change, computed now; None when nothing. Ops with it may ask back (8.7).
            For `notional` above a threshold the effect has `notional` [valuation currency].
        judge: Raises what the handler would refuse now, and does nothing: nobody is asked to confirm that. Its caller
            is about to ask back, so that the handler judges again.
        judged_as: Another op whose confirmation policies hold for this one, too: what a batch places.
        repeated: Tells that a call was carried out before, so that all it can get is what it led to:
            that is told also after `expires_at`.
    """

    name: str
    params: type[BaseModel]
    scope: str | None
    lane: Lane
    idempotency: Idempotency = "absolute"
    handler: Handler
    aliases: tuple[str, ...] = ()
    http: tuple[str, ...] = ()
    summary: str
    errors: tuple[Code, ...] = ()
    example: Mapping[str, object] = field(default_factory=dict)
    command: bool = False
    cost: Callable[[Mapping[str, object]], int] | None = None
    effect: Callable[[Call[Any]], Mapping[str, object] | None] | None = None
    judge: Callable[[Call[Any]], None] | None = None
    judged_as: str | None = None
    repeated: Callable[[Call[Any]], bool] | None = None


class Lanes(Protocol):
    """Token buckets by principal and lane."""

    def take(self, owner: str, lane: Lane, cost: int) -> float:
        """Take tokens: 0 when they were there, else the seconds after which they will be."""
        ...


class Unlimited:
    """Lanes without a limit."""

    def take(self, owner: str, lane: Lane, cost: int) -> float:  # noqa: ARG002  # the port's names
        """Let everything pass."""
        return 0.0


@dataclass(slots=True)
class Pending:
    """An op whose answer is still awaited."""

    # It lives until a commit, so what was read of the arguments is let go of: the collector looks at what lives.
    registry: "Registry"
    name: str
    op: Op
    who: Principal
    client: str
    source: Source
    raw: Mapping[str, object]
    awaitable: Awaitable[Answer]

    def reply(self, future: asyncio.Future[Answer]) -> Reply:
        """Read a future that is done."""
        if future.cancelled():
            return self._failed(asyncio.CancelledError())
        error = future.exception()
        if error is not None:
            return self._failed(error)
        return future.result()

    async def wait(self) -> Reply:
        """Await the answer; only cancellation gets out."""
        try:
            return await self.awaitable
        except Exception as error:  # noqa: BLE001  # rule 3: the one place, with `dispatch`
            return self._failed(error)

    def _failed(self, error: BaseException) -> Reply:
        return self.registry.failed(
            self.name, self.op, self.who, self.client, self.source, self.raw, error
        )


def failure(name: str, op: Op | None, error: BaseException, trace: Callable[[], str]) -> Reply:
    """Make the reply of an exception; one nobody expected is logged, once, with its trace id."""
    if isinstance(error, Failure):
        return ErrorReply(
            error=protocol.refusal(error), code=error.code, at=getattr(error, "at", None)
        )
    mark = trace()
    logger.error("op failed", exc_info=error, extra={"op": name, "trace": mark})
    changes = op is not None and op.command
    return ErrorReply(
        code=Code.INTERNAL,
        error={
            "code": Code.INTERNAL,
            "message": f"our fault; the log has it under {mark}",
            "outcome": Outcome.UNKNOWN if changes else Outcome.NOT_DONE,
            "details": {"trace": mark},
        },
    )


error_of = protocol.refusal
"""Makes the `error` object of a reply, also of one item of a batch."""


def check_mode(params: object, mode: str) -> None:
    """Refuse a command that was meant for a server of the other mode.

    Raises:
        Refused: `mode_mismatch`.
    """
    asserted = getattr(params, "mode", None)
    if asserted is not None and asserted != mode:
        raise Refused(
            Code.MODE_MISMATCH,
            f"this server is in mode {mode}, the command was meant for {asserted}",
            {"mode": mode},
        )


def check_time(params: object, now: int, repeated: Callable[[], bool]) -> None:
    """Refuse a command that comes too late, unless it was carried out and only asks what it led to.

    Raises:
        Refused: `expired`.
    """
    expires_at = getattr(params, "expires_at", None)
    if expires_at is not None and expires_at <= now and not repeated():
        late = now - expires_at
        raise Refused(Code.EXPIRED, f"expires_at passed {late} ms before the command was processed")


def may(principal: Principal, scope: str | None) -> bool:
    """Tell whether a principal has a scope; admin contains all."""
    if scope is None or ADMIN in principal.scopes:
        return True
    return any(part in principal.scopes for part in scope.split("|"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that was refused, for the audit; `raw` are its arguments as sent."""

    op: str
    principal: Principal
    client: str
    source: Source
    raw: Mapping[str, object]
    error: Refused


def keep_silent(_refusal: Refusal) -> None:
    """Tell nobody of refusals: until there is an audit."""


# --- the table ------------------------------------------------------------------------------------


class Registry:
    """All ops, and the way to each of them.

    Args:
        ops: The rows.
        mode: `paper` or `live`, the server's.
        now: Wire ms; a step of the wall clock must not move it backwards.
        token: Makes 128 random bits as text: confirmation tokens and trace ids.
        lanes: Buckets.
        policies: Ops that ask back.
        remembered: Results kept for repeats of a `request_id` at most.

    Attributes:
        on_refused: Called for every command of somebody known that was understood and refused; not for
            dry runs, and not for arguments that make no command (`invalid`).

    Raises:
        ValueError: Two ops of one name; a policy that names an unknown op, one of the safety lane, or
            one that cannot show its effect.
    """

    def __init__(
        self,
        ops: Iterable[Op] = (),
        *,
        mode: str,
        now: Callable[[], int],
        token: Callable[[], str],
        lanes: Lanes | None = None,
        policies: Sequence[Policy] = (),
        remembered: int = REMEMBERED,
    ) -> None:
        self._remembered = remembered
        self.mode = mode
        self.draining = False
        self.on_refused: Callable[[Refusal], None] = keep_silent
        self.ops: dict[str, Op] = {}
        self._names: dict[str, Op] = {}
        self._now = now
        self._token = token
        self._lanes = lanes or Unlimited()
        self._confirmations = Confirmations(token=token, now=now)
        self._done: dict[tuple[str, str, str], _Done] = {}
        for op in ops:
            self.add(op)
        self.policies = tuple(policies)
        for policy in self.policies:
            self._check_policy(policy)

    @property
    def names(self) -> Mapping[str, Op]:
        """Every name that can be asked for, aliases included."""
        return self._names

    def add(self, op: Op) -> None:
        """Add a row."""
        for name in (op.name, *op.aliases):
            if name in self._names:
                raise ValueError(f"two ops are called {name}")
            self._names[name] = op
        fields = set(op.params.model_fields)
        if op.idempotency == "request_id" and "request_id" not in fields:
            raise ValueError(f"{op.name} is idempotent by request_id and does not take one")
        if (
            op.command
            and op.lane in {"orders", "safety"}
            and not issubclass(op.params, CommandParams)
        ):
            raise ValueError(f"{op.name} is a command of lane {op.lane} and must know dry_run")
        self.ops[op.name] = op

    def _check_policy(self, policy: Policy) -> None:
        op = self._names.get(policy.op)
        if op is None:
            raise ValueError(f"confirmation policy names an unknown op: {policy.op}")
        if op.lane == "safety":
            raise ValueError(
                f"confirmation policy names {policy.op}, an op of the safety lane: "
                "a kill switch must not ask for confirmation"
            )
        if op.effect is None:
            raise ValueError(f"confirmation policy names {policy.op}, which has no effect to show")

    def asks_back(self, op: Op, principal: Principal) -> bool:
        """Tell whether an op may ask this principal for a confirmation."""
        return any(self._is_about(p, op) and p.concerns(principal) for p in self.policies)

    def _is_about(self, policy: Policy, op: Op) -> bool:
        return self._names[policy.op].name in {op.name, op.judged_as}

    # --- dispatch ---------------------------------------------------------------------------------

    def dispatch(
        self,
        name: str,
        raw: Mapping[str, object],
        *,
        principal: Principal | None,
        client: str,
        source: Source,
        session: Session | None = None,
        received: int | None = None,
        peer: Peer | None = None,
        problem: Refused | None = None,
    ) -> Reply | Pending:
        """Check a request and call its handler.

        Args:
            name: The op.
            raw: Its arguments, decoded, without `op` and `id`.
            principal: None before authentication.
            client: See `Call`.
            source: Over what it came.
            session: The connection, None over HTTP.
            received: When it was decoded [wire ms].
            peer: Where it came from.
            problem: Why its arguments cannot be taken, found while they were decoded; told to whoever may ask.

        Returns:
            The reply, or what to await for it. Never raises.
        """
        op = self._names.get(name)
        who = principal or ANONYMOUS
        where = peer or NOWHERE
        try:
            if op is None:
                self.take("query", principal, where.address)
                return failure(name, None, self._unknown(name), self._token)
            params = self._admit(op, raw, who, source, where, problem)
            call = Call(
                params=params,
                principal=who,
                client=client,
                source=source,
                session=session,
                received=self._now() if received is None else received,
                peer=where,
                raw=raw,
            )
            if getattr(params, "expires_at", None) is not None:
                check_time(params, self._now(), lambda: self._repeated(op, call))
            if op.idempotency == "request_id" and _is_named(call):
                answer = self._once(op, call)
            else:
                if self.policies:
                    self._confirm(op, call)
                answer = op.handler(call)
        except Exception as error:  # noqa: BLE001  # rule 3: the one place, with `Pending.wait`
            return self.failed(name, op, who, client, source, raw, error)
        if isinstance(answer, Answer):
            return answer
        return Pending(self, name, op, who, client, source, raw, answer)

    def failed(
        self,
        name: str,
        op: Op | None,
        who: Principal,
        client: str,
        source: Source,
        raw: Mapping[str, object],
        error: BaseException,
    ) -> Reply:
        """Make the reply of an exception, and tell of it where it is the refusal of a command."""
        if (
            isinstance(error, Refused)
            and error.code is not Code.INVALID
            and op is not None
            and op.command
            and who is not ANONYMOUS
            and raw.get("dry_run") is not True
        ):
            self.on_refused(Refusal(op.name, who, client, source, raw, error))
        return failure(name, op, error, self._token)

    def _unknown(self, name: str) -> Refused:
        meant = suggest(name, self._names)
        hint = f"did you mean {meant}?" if meant else 'try {"op":"help","about":"ops"}'
        return Refused(Code.UNKNOWN_OP, f"no op '{name[:40]}'; {hint}")

    def _admit(
        self,
        op: Op,
        raw: Mapping[str, object],
        who: Principal,
        source: Source,
        peer: Peer,
        problem: Refused | None,
    ) -> BaseModel:
        """Say everything that can be said before the handler is asked, in this order."""
        if source == "http" and op.name in BOUND:
            raise Refused(Code.NOT_SUPPORTED, f"{op.name} needs a connection: use /ws")
        if source == "socket" and op.name in HTTP_ONLY:
            raise Refused(Code.NOT_SUPPORTED, f"{op.name} is for HTTP: POST /api/{op.name}")
        cost = 1 if op.cost is None else max(1, op.cost(raw))
        wait = self._lanes.take(who.subject or f"@{peer.address}", op.lane, cost)
        if wait > 0:
            raise _exhausted(op.lane, wait)
        if who is ANONYMOUS:
            _check_anonymous(op, source)
        elif who.expires_at is not None and who.expires_at <= self._now():
            raise Refused(Code.UNAUTHORIZED, "the token expired")
        if not may(who, op.scope):
            needed = str(op.scope).replace("|", " or ")
            raise Refused(Code.FORBIDDEN, f"{op.name} needs scope {needed}", {"scope": op.scope})
        if problem is not None:
            raise problem
        params = read(op.params, raw)
        if getattr(params, "mode", None) is not None:
            check_mode(params, self.mode)
        if self.draining and op.command and op.lane != "safety":
            raise Refused(Code.BUSY, "the server is stopping", retry_after=RETRY_DRAINING_S)
        return params

    def _repeated(self, op: Op, call: Call[Any]) -> bool:
        if op.idempotency == "request_id" and _is_named(call):
            known = self._done.get(_key(op, call))
            return known is not None and known.until > self._now()
        return op.repeated is not None and op.repeated(call)

    def take(self, lane: Lane, principal: Principal | None, address: str) -> None:
        """Take one token of a lane for something that is no op.

        Raises:
            Refused: `rate_limited`.
        """
        wait = self._lanes.take(principal.subject if principal else f"@{address}", lane, 1)
        if wait > 0:
            raise _exhausted(lane, wait)

    def _confirm(self, op: Op, call: Call[Any]) -> None:
        if op.effect is None or getattr(call.params, "dry_run", False):
            return
        policies = [
            p for p in self.policies if self._is_about(p, op) and p.concerns(call.principal)
        ]
        if not policies:
            return
        effect = op.effect(call)
        if effect is None or not any(policy.asks(effect) for policy in policies):
            return  # a command without effect asks nothing
        if op.judge is not None:
            op.judge(call)
        confirm = getattr(call.params, "confirm", None)
        self._confirmations.check(op.name, call.raw, call.principal, effect, confirm)

    # --- request_id -------------------------------------------------------------------------------

    def _once(self, op: Op, call: Call[Any]) -> Answer | Awaitable[Answer]:
        """Run a command with a `request_id`, or answer what it answered before."""
        key = _key(op, call)
        # As read: a default that is said, and a number in other words, are no other content.
        content = content_of(op.name, call.params.model_dump())
        known = self._done.get(key)
        if known is not None and known.until > self._now():
            if known.content != content:
                raise Refused(
                    Code.CONFLICT,
                    f"request_id {key[2]} was used with other content",
                    {"request_id": key[2]},
                )
            if known.running is not None and not known.running.done():
                return known.wait()
            return known.again()
        if self.policies:
            self._confirm(op, call)
        answer = op.handler(call)
        done = _Done(content, self._now() + REMEMBERED_MS)
        self._forget()
        self._done[key] = done
        if isinstance(answer, Answer):
            done.answer = answer
            return answer
        done.running = asyncio.get_running_loop().create_future()
        return self._finish(key, done, answer)

    async def _finish(
        self, key: tuple[str, str, str], done: "_Done", answer: Awaitable[Answer]
    ) -> Answer:
        try:
            done.answer = await answer
        except Failure as error:
            if error.code.outcome is Outcome.UNKNOWN:
                done.error = error
            raise
        finally:
            if done.answer is None and done.error is None:
                self._done.pop(key, None)  # nothing was done: the id may be used again
            if done.running is not None:
                done.running.set_result(None)
        return done.answer

    def _forget(self) -> None:
        now = self._now()
        while self._done:
            oldest = next(iter(self._done))
            if self._done[oldest].until > now and len(self._done) < self._remembered:
                break
            del self._done[oldest]


@dataclass(slots=True)
class _Done:
    """What a `request_id` led to."""

    content: bytes
    until: int
    answer: Answer | None = None
    error: Failure | None = None
    running: asyncio.Future[None] | None = None

    def again(self) -> Answer:
        """Give the first result once more."""
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise Refused(Code.BUSY, "the first request did not finish; repeat", retry_after=1.0)
        return replace(self.answer, result={**self.answer.result, "duplicate": True})

    async def wait(self) -> Answer:
        """Give it when it is there."""
        assert self.running is not None
        # Not a shield: nobody cancels this future, each waiter only stops waiting for it.
        await asyncio.wait([self.running])
        return self.again()


def _is_named(call: Call[Any]) -> bool:
    """Whether a request is to be done once only; a dry run does nothing, so it takes no id."""
    return call.raw.get("request_id") is not None and not getattr(call.params, "dry_run", False)


def _key(op: Op, call: Call[Any]) -> tuple[str, str, str]:
    return call.principal.subject, op.name, str(call.raw["request_id"])


def _check_anonymous(op: Op, source: Source) -> None:
    """Let somebody unknown ask for what everybody may."""
    if source == "socket" and op.name not in FIRST:
        raise Refused(Code.UNAUTHORIZED, 'send {"op":"auth","token":"..."} first')
    if source == "http" and op.scope is not None:
        raise Refused(Code.UNAUTHORIZED, "no token; send the header Authorization: Bearer TOKEN")


def _exhausted(lane: Lane, wait: float) -> Refused:
    return Refused(
        Code.RATE_LIMITED,
        f"lane {lane} is exhausted; repeat in {wait:g} s",
        {"lane": lane},
        retry_after=wait,
    )
