"""Dispatch: every check, in order, for every op; and what becomes of exceptions."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from realtime.commands.confirm import Policy
from realtime.commands.params import CommandParams, Params, Positive, RequestId
from realtime.commands.registry import (
    ANONYMOUS,
    Answer,
    Call,
    Failed,
    Lane,
    Op,
    Pending,
    Registry,
    Reply,
    Unlimited,
    error_of,
    may,
)
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.principal import ROLES, Principal


NOW = 1_790_000_000_000
ADMIN = Principal(subject="root", scopes=ROLES["admin"])
VIEWER = Principal(subject="vera", scopes=ROLES["viewer"])
TRADER = Principal(subject="tom", scopes=ROLES["trader"])


class Buckets:
    """Lanes with a fixed number of tokens."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.taken: list[tuple[str, str, int]] = []

    def take(self, owner: str, lane: Lane, cost: int) -> float:
        if self.tokens < cost:
            return 0.5
        self.tokens -= cost
        self.taken.append((owner, lane, cost))
        return 0.0


class PlaceParams(CommandParams):
    amount: int = 1
    price: Positive | None = None
    request_id: RequestId | None = None


class World:
    """One op, everything adjustable."""

    def __init__(self, **op: Any) -> None:
        self.now = NOW
        self.calls: list[Call[PlaceParams]] = []
        self.answer: Answer | Awaitable[Answer] | BaseException = Answer(result={"done": True})
        self.effect: Mapping[str, object] | None = {"orders": 1, "notional": "100"}
        self._tokens = iter(range(1, 10_000))
        policies = op.pop("policies", ())
        lanes = op.pop("lanes", None)
        remembered = op.pop("remembered", 10_000)
        made: dict[str, Any] = {
            "name": "order.place",
            "params": PlaceParams,
            "scope": "trade",
            "lane": "orders",
            "handler": self.handle,
            "summary": "place",
            "command": True,
            "effect": lambda _call: self.effect,
        }
        self.registry = Registry(
            [Op(**(made | op))],
            mode="paper",
            now=lambda: self.now,
            token=lambda: f"c-{next(self._tokens)}",
            lanes=lanes,
            policies=policies,
            remembered=remembered,
        )

    def handle(self, call: Call[PlaceParams]) -> Answer | Awaitable[Answer]:
        if isinstance(self.answer, BaseException):
            raise self.answer
        self.calls.append(call)
        return self.answer

    def dispatch(
        self, op: str = "order.place", principal: Principal | None = ADMIN, **raw: Any
    ) -> Reply:
        source = raw.pop("source", "socket")
        got = self.registry.dispatch(op, raw, principal=principal, client="bot", source=source)
        assert isinstance(got, Reply)
        return got

    async def wait(self, principal: Principal | None = ADMIN, **raw: Any) -> Reply:
        got = self.registry.dispatch(
            "order.place", raw, principal=principal, client="bot", source="socket"
        )
        assert isinstance(got, Pending)
        return await got.wait()


def code(reply: Reply) -> object:
    assert reply.error is not None
    assert reply.error["code"] == reply.code
    return reply.code


def details(reply: Reply) -> Mapping[str, Any]:
    assert reply.error is not None
    found = reply.error["details"]
    assert isinstance(found, Mapping)
    return found


# --- the table ------------------------------------------------------------------------------------


def test_an_op_is_found_by_its_aliases() -> None:
    world = World(aliases=("order.put",))

    assert world.dispatch("order.put").ok
    assert set(world.registry.names) == {"order.place", "order.put"}
    assert set(world.registry.ops) == {"order.place"}


def test_two_ops_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two ops are called"):
        World(aliases=("order.place",))


def test_an_op_by_request_id_must_take_one() -> None:
    with pytest.raises(ValueError, match="does not take one"):
        World(params=CommandParams, idempotency="request_id")


@pytest.mark.parametrize("lane", ["orders", "safety"])
def test_a_command_of_the_trading_lanes_must_know_dry_run(lane: str) -> None:
    with pytest.raises(ValueError, match="must know dry_run"):
        World(params=Params, lane=lane)


# --- checks, in order -----------------------------------------------------------------------------


def test_a_handler_gets_everything_about_its_call() -> None:
    world = World()
    world.dispatch(amount=5)

    call = world.calls[0]
    assert call.params == PlaceParams(amount=5)
    assert (call.principal, call.client, call.source, call.session) == (
        ADMIN,
        "bot",
        "socket",
        None,
    )
    assert call.received == NOW
    assert call.raw == {"amount": 5}


def test_an_unknown_op_comes_with_a_hint() -> None:
    reply = World().dispatch("order.plce")

    assert code(reply) is Code.UNKNOWN_OP
    assert reply.error is not None
    assert "did you mean order.place?" in str(reply.error["message"])
    assert 'try {"op":"help"' in str((World().dispatch("x" * 500).error or {})["message"])


def test_before_authentication_a_socket_may_do_little() -> None:
    world = World()

    assert code(world.dispatch(principal=None)) is Code.UNAUTHORIZED
    assert code(World(scope=None).dispatch(principal=None)) is Code.UNAUTHORIZED
    free = World(name="ping", scope=None, lane="sub", command=False)
    assert free.dispatch("ping", principal=None).ok
    assert free.calls[0].principal is ANONYMOUS


def test_over_http_what_needs_no_scope_needs_no_token() -> None:
    assert World(scope=None).dispatch(principal=None, source="http").ok
    assert code(World().dispatch(principal=None, source="http")) is Code.UNAUTHORIZED


def test_an_expired_principal_is_nobody() -> None:
    world = World()
    expired = Principal(subject="root", scopes=ROLES["admin"], expires_at=NOW)

    assert code(world.dispatch(principal=expired)) is Code.UNAUTHORIZED
    world.now -= 1
    assert world.dispatch(principal=expired).ok


def test_ops_bound_to_a_connection_are_not_for_http_and_the_reverse() -> None:
    bound = World(name="pace", scope="read", lane="sub", command=False)
    page = World(name="auth.login", scope=None, lane="sub", command=False)

    assert code(bound.dispatch("pace", source="http")) is Code.NOT_SUPPORTED
    assert bound.dispatch("pace").ok
    assert code(page.dispatch("auth.login")) is Code.NOT_SUPPORTED
    assert page.dispatch("auth.login", source="http").ok


@pytest.mark.parametrize(
    ("scope", "role", "allowed"),
    [
        ("read", "viewer", True),
        ("trade", "viewer", False),
        ("trade", "trader", True),
        ("trade|bots", "viewer", False),
        ("trade|bots", "operator", True),
        ("bots", "trader", False),
        ("admin", "operator", False),
        ("admin", "admin", True),
        (None, "viewer", True),
    ],
)
def test_scopes_are_checked(scope: str | None, role: str, allowed: bool) -> None:  # noqa: FBT001
    principal = Principal(subject="x", scopes=ROLES[role])
    reply = World(scope=scope).dispatch(principal=principal)

    assert reply.ok is allowed
    assert may(principal, scope) is allowed
    if not allowed:
        assert code(reply) is Code.FORBIDDEN
        assert details(reply) == {"scope": scope}


def test_admin_alone_contains_all() -> None:
    assert may(Principal(subject="x", scopes=frozenset({"admin"})), "trade")


def test_an_exhausted_lane_says_when_to_come_back() -> None:
    buckets = Buckets(1)
    world = World(lanes=buckets)
    assert world.dispatch().ok

    reply = world.dispatch()

    assert code(reply) is Code.RATE_LIMITED
    assert reply.retry_after == 0.5
    assert details(reply) == {"lane": "orders"}
    assert buckets.taken == [("root", "orders", 1)]


def test_a_batch_counts_its_items() -> None:
    buckets = Buckets(10)
    world = World(lanes=buckets, cost=lambda raw: raw["amount"])

    assert world.dispatch(amount=7).ok
    # All of it or nothing: a refusal must not eat what the next try needs.
    assert code(world.dispatch(amount=7)) is Code.RATE_LIMITED
    assert [taken for _, _, taken in buckets.taken] == [7]
    assert world.dispatch(amount=0).ok
    assert buckets.taken[-1] == ("root", "orders", 1)


def test_unknown_ops_and_strangers_cost_tokens_too() -> None:
    buckets = Buckets(10)
    world = World(lanes=buckets)
    world.dispatch("nope")
    world.dispatch(principal=None)

    assert buckets.taken == [("root", "query", 1), ("@", "orders", 1)]
    world.registry.take("query", None, "1.2.3.4")
    assert buckets.taken[-1] == ("@1.2.3.4", "query", 1)
    buckets.tokens = 0
    with pytest.raises(Refused):
        world.registry.take("query", ADMIN, "")
    assert code(world.dispatch("nope")) is Code.RATE_LIMITED


def test_lanes_without_limit_never_refuse() -> None:
    assert Unlimited().take("x", "orders", 10**9) == 0


def test_invalid_arguments_do_not_reach_the_handler() -> None:
    world = World()

    assert code(world.dispatch(amuont=1)) is Code.INVALID
    assert world.calls == []


def test_the_other_mode_is_a_mismatch_and_changes_nothing() -> None:
    world = World()
    reply = world.dispatch(mode="live")

    assert code(reply) is Code.MODE_MISMATCH
    assert world.calls == []
    assert world.dispatch(mode="paper").ok


def test_what_expired_is_not_carried_out() -> None:
    world = World()

    assert code(world.dispatch(expires_at=NOW)) is Code.EXPIRED
    assert world.calls == []
    assert world.dispatch(expires_at=NOW + 1).ok


def test_what_was_carried_out_already_is_not_too_late() -> None:
    known: set[object] = set()
    world = World(repeated=lambda call: call.params.amount in known)
    late: dict[str, Any] = {"expires_at": NOW - 1}
    assert code(world.dispatch(**late)) is Code.EXPIRED

    known.add(1)

    assert world.dispatch(**late).ok
    assert code(world.dispatch(amount=2, **late)) is Code.EXPIRED


def test_a_request_that_was_carried_out_already_is_not_too_late() -> None:
    world = World(idempotency="request_id")
    wish: dict[str, Any] = {"request_id": "r-1", "expires_at": NOW + 1}
    assert world.dispatch(**wish).ok
    world.now += 10

    again = world.dispatch(**wish)

    assert again.result == {"done": True, "duplicate": True}
    assert code(world.dispatch(request_id="r-2", expires_at=NOW + 1)) is Code.EXPIRED
    world.now += 24 * 3_600_000
    assert code(world.dispatch(**wish)) is Code.EXPIRED
    assert code(world.dispatch(expires_at=NOW)) is Code.EXPIRED


def test_while_draining_only_safety_and_queries_pass() -> None:
    placing, stopping, reading = (
        World(),
        World(lane="safety"),
        World(command=False, lane="query"),
    )
    for world in (placing, stopping, reading):
        world.registry.draining = True

    reply = placing.dispatch()
    assert code(reply) is Code.BUSY
    assert reply.retry_after is not None
    assert stopping.dispatch().ok
    assert reading.dispatch().ok


# --- exceptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Refused(Code.HALTED, "halted"), Code.HALTED),
        (VenueRejected(Code.VENUE_REJECTED, "no"), Code.VENUE_REJECTED),
        (VenueUnknown("no answer"), Code.OUTCOME_UNKNOWN),
        (
            Failed(Code.OUTCOME_UNKNOWN, "no answer", at={"orders": {"seq": 1}}),
            Code.OUTCOME_UNKNOWN,
        ),
    ],
    ids=["refused", "rejected", "unknown", "failed"],
)
def test_the_families_of_errors_are_replies(error: Refused, expected: Code) -> None:
    world = World()
    world.answer = error
    reply = world.dispatch()

    assert code(reply) is expected
    assert reply.error == error_of(error)
    assert reply.at == getattr(error, "at", None)


@pytest.mark.parametrize(("command", "outcome"), [(True, "unknown"), (False, "not_done")])
def test_an_unexpected_exception_is_internal_with_one_log_line(
    command: bool,  # noqa: FBT001
    outcome: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(command=command, lane="query")
    world.answer = ZeroDivisionError("secret")
    with caplog.at_level(logging.ERROR, "realtime"):  # another test may have set it
        reply = world.dispatch()

    assert code(reply) is Code.INTERNAL
    assert reply.error is not None
    assert reply.error["outcome"] == outcome
    assert "secret" not in str(reply.error)
    assert details(reply)["trace"] == "c-1"
    assert len(caplog.records) == 1


async def test_an_awaited_answer_is_a_reply_like_any_other() -> None:
    world = World()
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    world.answer = future
    future.set_result(Answer(result={"late": True}, at={"orders": {}}))
    reply = await world.wait()

    assert reply == Answer(result={"late": True}, at={"orders": {}})


async def test_an_awaited_exception_is_a_reply_like_any_other() -> None:
    async def fail(error: BaseException) -> Answer:
        raise error

    world = World()
    world.answer = fail(Refused(Code.HALTED, "halted"))
    assert code(await world.wait()) is Code.HALTED
    world.answer = fail(ZeroDivisionError())
    assert code(await world.wait()) is Code.INTERNAL


async def test_a_future_is_read_when_it_is_done() -> None:
    loop = asyncio.get_running_loop()
    world = World()
    world.answer = loop.create_future()
    pending = world.registry.dispatch(
        "order.place", {}, principal=ADMIN, client="bot", source="socket"
    )
    assert isinstance(pending, Pending)

    good, bad, gone = loop.create_future(), loop.create_future(), loop.create_future()
    good.set_result(Answer(result={}))
    bad.set_exception(Refused(Code.HALTED, "halted"))
    gone.cancel()

    assert pending.reply(good).ok
    assert code(pending.reply(bad)) is Code.HALTED
    assert code(pending.reply(gone)) is Code.INTERNAL


def test_the_synchronous_part_runs_before_dispatch_returns() -> None:
    world = World()
    world.dispatch()

    assert len(world.calls) == 1


# --- confirmation ---------------------------------------------------------------------------------


ASK = Policy(op="order.place")


def test_without_a_policy_nothing_is_asked() -> None:
    assert World().dispatch().ok


def test_a_command_is_confirmed_by_its_token_once() -> None:
    world = World(policies=[ASK])
    asked = world.dispatch(amount=5)

    assert code(asked) is Code.CONFIRM_REQUIRED
    assert Code.CONFIRM_REQUIRED.http == 428
    assert details(asked) == {
        "confirm": "c-1",
        "expires_at": NOW + 60_000,
        "effect": {"orders": 1, "notional": "100"},
    }
    assert world.calls == []

    assert world.dispatch(amount=5, confirm="c-1", expires_at=NOW + 5, mode="paper").ok
    again = world.dispatch(amount=5, confirm="c-1")
    assert details(again)["reason"] == "used"


def test_a_token_is_bound_to_its_arguments_subject_and_minute() -> None:
    world = World(policies=[ASK])
    world.dispatch(amount=5)

    assert details(world.dispatch(amount=6, confirm="c-1"))["reason"] == "mismatch"
    assert (
        details(world.dispatch(principal=TRADER, amount=5, confirm="c-1"))["reason"] == "mismatch"
    )
    assert details(world.dispatch(amount=5, confirm="c-999"))["reason"] == "mismatch"
    world.now += 60_000
    expired = world.dispatch(amount=5, confirm="c-1")
    assert details(expired)["reason"] == "expired"
    assert world.dispatch(amount=5, confirm=details(expired)["confirm"]).ok


@pytest.mark.parametrize(
    ("shown", "now", "asks_again"),
    [
        ({"orders": 1}, {"orders": 2}, True),
        ({"orders": 2}, {"orders": 1}, False),
        ({"notional": "100"}, {"notional": "102"}, False),
        ({"notional": "100"}, {"notional": "102.01"}, True),
        ({"notional": "-100"}, {"notional": "-102.01"}, True),
        ({"notional": "0"}, {"notional": "0.01"}, True),
        ({"notional": None}, {"notional": "1"}, True),
        ({"notional": "1"}, {"notional": None}, True),
        ({"notional": None}, {"notional": None}, False),
        ({"amount": "0.01000"}, {"amount": "0.01001"}, True),
        ({"amount": "0.01000"}, {"amount": "0.00999"}, True),
        ({"price": "100"}, {"price": "99"}, True),
        ({"flatten": True}, {"flatten": False}, True),
        ({"notional": "-100"}, {"notional": "99"}, False),
        ({"symbols": ["A"]}, {"symbols": ["A", "B"]}, True),
        ({"symbols": ["A", "B"]}, {"symbols": ["B"]}, False),
        ({"state": "active"}, {"state": "reducing"}, True),
        ({"state": "active"}, {"state": "active"}, False),
        ({"flatten": False}, {"flatten": True}, True),
        ({"by": {"A": 1}}, {"by": {"A": 2}}, True),
        ({"by": {"A": 1}}, {"by": {"A": 1}}, False),
        ({}, {"orders": 0}, True),
    ],
)
def test_a_grown_effect_is_shown_again(
    shown: dict[str, object],
    now: dict[str, object],
    asks_again: bool,  # noqa: FBT001
) -> None:
    world = World(policies=[ASK])
    world.effect = shown
    world.dispatch()
    world.effect = now
    reply = world.dispatch(confirm="c-1")

    assert reply.ok is not asks_again
    if asks_again:
        assert details(reply)["reason"] == "effect_changed"
        assert details(reply)["effect"] == now


def test_a_command_without_effect_asks_nothing() -> None:
    world = World(policies=[ASK])
    world.effect = None

    assert world.dispatch().ok


def test_the_audit_hears_of_refused_commands_and_not_of_what_was_only_tried() -> None:
    world, told = World(), list[str]()
    world.registry.on_refused = lambda refusal: told.append(str(refusal.error.code))
    world.answer = Refused(Code.CONFLICT, "no")

    assert world.dispatch(dry_run=True).code is Code.CONFLICT
    assert told == []
    assert world.dispatch(dry_run=False).code is Code.CONFLICT
    assert told == ["conflict"]


def test_a_dry_run_is_never_asked_about() -> None:
    assert World(policies=[ASK]).dispatch(dry_run=True).ok


@pytest.mark.parametrize(
    ("notional", "asks"),
    [("1000", False), ("1000.01", True), ("-2000", True), (None, True), ("?", True)],
)
def test_a_threshold_is_a_notional(notional: str | None, asks: bool) -> None:  # noqa: FBT001
    world = World(policies=[Policy(op="order.place", above=Decimal(1000))])
    world.effect = {"notional": notional}

    assert world.dispatch().ok is not asks


def test_a_policy_may_concern_some_principals_only() -> None:
    policies = [
        Policy(op="order.place", scope="bots"),
        Policy(op="order.place", role="viewer"),
        Policy(op="order.place", token_id="t-1"),
    ]
    world = World(policies=policies, scope="read")
    named = Principal(subject="tom", scopes=ROLES["trader"], token_id="t-1")
    op = world.registry.ops["order.place"]

    assert world.dispatch(principal=TRADER).ok
    assert not world.registry.asks_back(op, TRADER)
    for principal in (ADMIN, VIEWER, named):
        assert world.registry.asks_back(op, principal)
        assert code(world.dispatch(principal=principal)) is Code.CONFIRM_REQUIRED


def test_a_policy_that_names_a_safety_op_stops_the_start() -> None:
    with pytest.raises(ValueError, match=r"names order.place, an op of the safety lane"):
        World(lane="safety", policies=[ASK])


def test_a_policy_must_name_an_op_that_can_show_its_effect() -> None:
    with pytest.raises(ValueError, match="unknown op"):
        World(policies=[Policy(op="order.cancel")])
    with pytest.raises(ValueError, match="has no effect to show"):
        World(policies=[ASK], effect=None)


def test_tokens_are_forgotten_in_time() -> None:
    world = World(policies=[ASK])
    for _ in range(1_001):
        world.dispatch()
    assert details(world.dispatch(confirm="c-1"))["reason"] == "mismatch"
    world.now += 11 * 60_000
    world.dispatch()

    assert details(world.dispatch(confirm="c-1001"))["reason"] == "mismatch"


# --- request_id -----------------------------------------------------------------------------------


def test_a_repeat_gets_the_first_result() -> None:
    world = World(idempotency="request_id")
    first = world.dispatch(request_id="r", amount=1)
    again = world.dispatch(request_id="r", amount=1, mode="paper")

    assert first.result == {"done": True}
    assert again.result == {"done": True, "duplicate": True}
    assert len(world.calls) == 1


def test_other_content_under_the_same_id_is_a_conflict() -> None:
    world = World(idempotency="request_id")
    world.dispatch(request_id="r", amount=1)

    assert code(world.dispatch(request_id="r", amount=2)) is Code.CONFLICT
    assert world.dispatch(principal=TRADER, request_id="r", amount=2).ok


def test_the_same_in_other_words_is_the_same_content() -> None:
    world = World(idempotency="request_id")
    world.dispatch(request_id="r", price="0.10")

    for same in (
        {"price": 0.1},
        {"price": "0.1", "amount": 1},
        {"price": "0.100", "dry_run": False},
    ):
        again = world.dispatch(request_id="r", **same)
        assert again.result == {"done": True, "duplicate": True}
    assert code(world.dispatch(request_id="r", price="0.11")) is Code.CONFLICT
    assert code(world.dispatch(request_id="r")) is Code.CONFLICT


def test_a_dry_run_takes_no_id() -> None:
    world = World(idempotency="request_id")

    assert world.dispatch(request_id="r", amount=2, dry_run=True).result == {"done": True}
    assert world.dispatch(request_id="r", amount=2).result == {"done": True}
    assert world.dispatch(request_id="r", amount=2, dry_run=True).result == {"done": True}
    assert world.dispatch(request_id="r", amount=2).result == {"done": True, "duplicate": True}


def test_an_id_is_not_forgotten_before_a_day_is_over() -> None:
    world = World(idempotency="request_id")
    world.dispatch(request_id="r", amount=1)
    world.now += 24 * 3600 * 1000 - 1

    assert world.dispatch(request_id="r", amount=1).result == {"done": True, "duplicate": True}
    assert len(world.calls) == 1


def test_an_id_is_remembered_for_a_day() -> None:
    world = World(idempotency="request_id")
    world.dispatch(request_id="r", amount=1)
    world.now += 24 * 3600 * 1000

    assert world.dispatch(request_id="r", amount=2).ok
    assert len(world.calls) == 2


def test_without_an_id_every_request_counts() -> None:
    world = World(idempotency="request_id")
    world.dispatch(amount=1)
    world.dispatch(amount=1)
    world.dispatch(amount=1, request_id=None)

    assert len(world.calls) == 3


def test_a_refused_request_leaves_its_id_free() -> None:
    world = World(idempotency="request_id")
    world.answer = Refused(Code.HALTED, "halted")
    assert code(world.dispatch(request_id="r", amount=1)) is Code.HALTED
    world.answer = Answer(result={})

    assert world.dispatch(request_id="r", amount=2).ok


async def test_a_repeat_waits_for_the_first_and_gets_its_result() -> None:
    world = World(idempotency="request_id")
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    world.answer = future
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(world.wait(request_id="r"))
        second = tasks.create_task(world.wait(request_id="r"))
        await asyncio.sleep(1)
        assert not first.done()
        future.set_result(Answer(result={"n": 1}))

    assert first.result().result == {"n": 1}
    assert second.result().result == {"n": 1, "duplicate": True}
    assert len(world.calls) == 1


async def test_a_repeat_of_what_failed_may_try_again() -> None:
    world = World(idempotency="request_id")
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    world.answer = future
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(world.wait(request_id="r"))
        second = tasks.create_task(world.wait(request_id="r"))
        await asyncio.sleep(1)
        future.set_exception(Refused(Code.HALTED, "halted"))

    assert code(first.result()) is Code.HALTED
    assert code(second.result()) is Code.BUSY
    world.answer = Answer(result={})
    assert world.dispatch(request_id="r").ok


async def test_a_repeat_of_what_is_unknown_stays_unknown() -> None:
    world = World(idempotency="request_id")
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    future.set_exception(VenueUnknown("no answer"))
    world.answer = future

    assert code(await world.wait(request_id="r")) is Code.OUTCOME_UNKNOWN
    assert code(world.dispatch(request_id="r")) is Code.OUTCOME_UNKNOWN
    assert len(world.calls) == 1


def test_the_memory_of_ids_is_bounded() -> None:
    world = World(idempotency="request_id", remembered=10)
    for n in range(30):
        world.dispatch(request_id=f"r{n}", amount=1)

    assert world.dispatch(request_id="r0", amount=2).ok
    assert code(world.dispatch(request_id="r29", amount=2)) is Code.CONFLICT
