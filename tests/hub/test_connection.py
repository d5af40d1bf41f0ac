"""One connection: replies and their queue, misuse, deadlines."""

from collections.abc import Callable

import orjson
import pytest

from realtime.hub import protocol
from realtime.hub.connection import REACTION_S, Bounds, Connection
from realtime.hub.protocol import Close, Options, Request
from realtime.model.errors import Code, Refused
from realtime.model.principal import ROLES, Principal
from tests.hub.wires import HeldWire


START = 1_790_000_000_000
PING = Request(id=1, op="ping", args={})
ALICE = Principal(subject="alice", scopes=ROLES["operator"])


class Time:
    """Both clocks of a connection."""

    def __init__(self) -> None:
        self.now = 100.0

    def ms(self) -> int:
        return START + round((self.now - 100) * 1000)


def make(
    time: Time, wire: HeldWire, options: Options | None = None, bounds: Bounds | None = None
) -> Connection:
    return Connection(
        session="s-1",
        client="bot",
        options=options or Options(),
        wire=wire,
        bounds=bounds or Bounds(),
        now=time.now,
        stamp=time.ms,
    )


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def wire() -> HeldWire:
    return HeldWire()


def beat() -> bytes:
    return b'{"type":"heartbeat"}'


# --- out ------------------------------------------------------------------------------------------


def test_a_message_is_one_frame(time: Time, wire: HeldWire) -> None:
    assert make(time, wire).send(b'{"a":1}')

    assert wire.texts == ['{"a":1}']


def test_with_batch_a_message_is_an_array(time: Time, wire: HeldWire) -> None:
    make(time, wire, Options(batch=True)).send(b'{"a":1}')

    assert wire.texts == ['[{"a":1}]']


def test_a_paused_wire_gets_nothing_until_it_has_drained(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    wire.paused = True

    assert not connection.send(b"1")
    assert not connection.send(b"2")
    assert not connection.drain()
    assert wire.texts == []

    wire.paused = False
    assert connection.drain()
    assert wire.texts == ["1", "2"]
    assert connection.drain()


def test_what_waited_is_one_array_with_batch(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire, Options(batch=True))
    wire.paused = True
    connection.send(b"1")
    connection.send(b"2")
    wire.paused = False
    connection.drain()

    assert wire.texts == ["[1,2]"]


def test_nothing_overtakes_what_waits(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    wire.paused = True
    connection.send(b"1")
    wire.paused = False
    connection.send(b"2")
    connection.drain()

    assert wire.texts == ["1", "2"]


def test_more_than_64_KiB_of_replies_waiting_ends_it(time: Time, wire: HeldWire) -> None:  # noqa: N802
    connection = make(time, wire)
    wire.paused = True
    for _ in range(64):
        connection.send(b"x" * 1024)
    assert wire.end() is None

    connection.send(b"x")

    assert wire.end() == (4508, "slow_consumer")
    assert not connection.drain()
    assert not connection.send(b"y")


def test_one_long_reply_waits_beside_the_64_KiB(time: Time, wire: HeldWire) -> None:  # noqa: N802
    """Found by an audit: `subscribe` of `orders` and `order.history` in one breath ended the connection."""
    connection = make(time, wire)
    wire.paused = True
    for _ in range(2):
        connection.send(b"1")
        connection.send(b"x" * 500_000)
        connection.send(b"y" * 65_535)
        assert wire.end() is None
        wire.paused = False
        assert connection.drain()
        wire.paused = True
    assert [len(text) for text in wire.texts] == [1, 500_000, 65_535] * 2

    connection.send(b"x" * 500_000)
    assert wire.end() is None
    connection.send(b"x" * 500_000)

    assert wire.end() == (4508, "slow_consumer")


def test_a_long_reply_that_waited_is_joined_with_nothing(time: Time, wire: HeldWire) -> None:
    """Found by a review: as one array with what waited beside it, it was longer than clients take."""
    connection = make(time, wire, Options(batch=True))
    wire.paused = True
    for size in (60_000, 1_000_000, 5_000):
        connection.send(b"1" * size)
    wire.paused = False
    assert connection.drain()

    assert [len(text) for text in wire.texts] == [60_002, 1_000_002, 5_002]
    assert all((text[0], text[-1]) == ("[", "]") for text in wire.texts)


def test_a_close_happens_once_and_ends_writing(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    connection.close(Close.SHUTDOWN)
    connection.close(Close.INTERNAL)
    connection.send(b"1")

    assert wire.end() == (4503, "shutdown")
    assert wire.texts == []


def test_replies_and_notices_carry_the_servers_time(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    time.now += 1
    connection.reply(PING, result={"a": 1})
    busy = Refused(Code.BUSY, "later", retry_after=1)
    connection.reply(PING, error=protocol.refusal(busy))
    connection.notify("stale", {"stale": True}, ["status"])

    ok, error, notice = map(orjson.loads, wire.texts)
    assert ok == {
        "type": "reply",
        "id": 1,
        "op": "ping",
        "ok": True,
        "ts": START + 1000,
        "result": {"a": 1},
    }
    assert error["error"]["code"] == "busy"
    assert notice["channels"] == ["status"]


def test_bye_is_remembered(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    assert not connection.said_bye

    connection.bye()

    assert connection.said_bye


# --- in -------------------------------------------------------------------------------------------


def test_a_readable_frame_is_a_request(time: Time, wire: HeldWire) -> None:
    assert make(time, wire).receive('{"op":"ping","id":1}', time.now) == PING


def test_the_twentieth_unreadable_frame_in_a_minute_ends_it(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    for _ in range(19):
        assert connection.receive("hello", time.now) is None
        time.now += 1
    assert wire.end() is None

    connection.receive("hello", time.now)

    assert wire.end() == (4400, "protocol_error")
    assert len(wire.texts) == 20
    assert orjson.loads(wire.texts[0]) == {
        "type": "reply",
        "ok": False,
        "ts": START,
        "error": {
            "code": "bad_request",
            "message": 'not JSON at character 1; try {"op":"help"}',
            "outcome": "not_done",
        },
    }


def test_unreadable_frames_of_earlier_minutes_do_not_count(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    for _ in range(60):
        connection.receive("hello", time.now)
        time.now += 3.5

    assert wire.end() is None


def test_the_safety_lane_is_never_full(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    connection.in_flight = 63
    assert not connection.full("orders")

    connection.in_flight = 64

    assert connection.full("orders")
    assert not connection.full("safety")


def test_ignoring_retry_after_three_times_ends_it(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    for _ in range(3):
        connection.limited("orders", time.now, 1.0)
        time.now += 2 * REACTION_S
    assert wire.end() is None

    connection.limited("orders", time.now, 1.0)

    assert wire.end() == (4429, "flooding")


def test_a_burst_that_was_under_way_is_not_ignorance(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    for _ in range(65):
        connection.limited("orders", time.now, 1.0)

    assert wire.end() is None


def test_an_endless_burst_is(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    for _ in range(68):
        connection.limited("orders", time.now, 1.0)

    assert wire.end() == (4429, "flooding")


def test_waiting_is_forgiveness_and_lanes_are_apart(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    for lane in ("orders", "query"):
        for _ in range(3):
            connection.limited(lane, time.now, 5.0)
            time.now += 1
    connection.waited("orders", time.now)  # admitted before its time: no merit
    time.now += 5
    connection.waited("orders", time.now)
    connection.limited("orders", time.now, 5.0)
    time.now += 1
    assert wire.end() is None

    connection.limited("orders", time.now, 5.0)
    connection.limited("query", time.now, 5.0)
    assert wire.end() is None
    for _ in range(2):
        time.now += 1
        connection.limited("orders", time.now, 5.0)

    assert wire.end() == (4429, "flooding")


def test_who_waits_as_long_as_told_is_never_closed_however_often_it_is_refused(
    time: Time, wire: HeldWire
) -> None:
    connection = make(time, wire)
    for wait in (0.1, 1.9, 0.09, 0.1, 0.09) * 10:
        connection.limited("orders", time.now, wait)
        time.now += wait

    assert wire.end() is None


def test_many_at_once_that_wait_as_told_and_are_refused_again_are_not_closed(
    time: Time, wire: HeldWire
) -> None:
    connection = make(time, wire)
    for _ in range(50):
        start = time.now
        connection.waited("orders", time.now)
        for _ in range(29):  # one of thirty got the token of this tenth of a second
            time.now += 0.0005
            connection.limited("orders", time.now, start + 0.1 - time.now)
        time.now = start + 0.1

    assert wire.end() is None


@pytest.mark.parametrize("gap_ms", [1, 2, 5, 8, 10])
def test_a_steady_flood_is_closed_although_a_token_falls_to_it_now_and_then(
    time: Time, wire: HeldWire, gap_ms: int
) -> None:
    """Twenty tokens per second, as the lane `query` has them."""
    connection = make(time, wire)
    start, ms, free_ms = time.now, 0, 0
    while wire.end() is None:
        ms += gap_ms
        time.now = start + ms / 1000
        if ms >= free_ms:
            free_ms += 50
            connection.waited("query", time.now)
        else:
            connection.limited("query", time.now, ((free_ms - ms) // 10 + 1) / 100)
        assert ms < 1000

    assert wire.end() == (4429, "flooding")


# --- deadlines ------------------------------------------------------------------------------------


def run_until(connection: Connection, time: Time, end: float, beat: Callable[[], bytes]) -> None:
    """Let time pass as the pump does."""
    while connection.closed is None and connection.due <= end:
        time.now = connection.due
        connection.tick(time.now, beat)
    time.now = end


def test_no_auth_within_ten_seconds_ends_it(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    run_until(connection, time, 109.9, beat)
    assert wire.end() is None

    run_until(connection, time, 110, beat)

    assert wire.end() == (4401, "unauthorized")
    assert wire.texts == [beat().decode()]  # at 5 s; nothing follows the end


def test_heartbeats_come_every_interval(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire, Options(heartbeat=2))
    connection.authenticate(ALICE, now=time.now)
    run_until(connection, time, 110, beat)

    assert len(wire.texts) == 5


def test_a_late_heartbeat_is_one_and_the_next_keeps_the_grid(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    connection.authenticate(ALICE, now=time.now)
    time.now = 117.5
    assert connection.tick(time.now, beat)

    assert len(wire.texts) == 1
    assert connection.due == 120


def test_expiry_is_announced_a_minute_before_and_then_ends_it(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire, Options(heartbeat=30))
    expiring = Principal(subject="alice", scopes=ROLES["trader"], expires_at=START + 3_600_000)
    connection.authenticate(expiring, now=time.now)
    run_until(connection, time, 100 + 3540, beat)

    notices = [m for m in map(orjson.loads, wire.texts) if m["type"] == "notice"]
    assert [(n["event"], n["data"], n["ts"]) for n in notices] == [
        ("auth_expiring", {"in": 60}, START + 3_540_000)
    ]
    run_until(connection, time, 100 + 3600, beat)
    assert wire.end() == (4401, "unauthorized")


def test_a_token_that_expires_within_the_minute_is_announced_at_once(
    time: Time, wire: HeldWire
) -> None:
    connection = make(time, wire)
    expiring = Principal(subject="alice", scopes=ROLES["trader"], expires_at=START + 30_000)
    connection.authenticate(expiring, now=time.now)
    connection.tick(time.now, beat)

    assert orjson.loads(wire.texts[0])["data"] == {"in": 30}


@pytest.mark.parametrize("lane", ["orders", "safety"])
def test_whose_credential_has_ended_waits_for_the_replies_under_way_but_no_second(
    time: Time, wire: HeldWire, lane: str
) -> None:
    connection = make(time, wire)
    connection.authenticate(ALICE, now=time.now)
    connection.count(lane, 1)
    connection.expel(time.now)
    time.now += 0.5
    connection.expel(time.now)
    assert connection.tick(time.now, beat)
    assert wire.end() is None
    time.now = connection.due
    assert not connection.tick(time.now, beat)

    assert wire.end() == (4401, "unauthorized")
    assert time.now < 101
    assert wire.texts == []


def test_whose_credential_has_ended_and_waits_for_nothing_is_closed_at_once(
    time: Time, wire: HeldWire
) -> None:
    connection = make(time, wire)
    connection.authenticate(ALICE, now=time.now)
    connection.expel(time.now)

    assert wire.end() == (4401, "unauthorized")


def test_a_fresh_token_of_the_same_subject_extends(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    for hours in (1, 2):
        principal = Principal(
            subject="alice", scopes=ROLES["trader"], expires_at=START + hours * 3_600_000
        )
        connection.authenticate(principal, now=time.now)
    run_until(connection, time, 100 + 3700, beat)

    assert wire.end() is None


def test_a_token_of_somebody_else_is_forbidden(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    connection.authenticate(ALICE, now=time.now)

    with pytest.raises(Refused) as caught:
        connection.authenticate(Principal(subject="bob", scopes=ROLES["admin"]), now=time.now)

    assert caught.value.code is Code.FORBIDDEN
    assert connection.principal is ALICE


def test_a_tick_before_its_time_does_nothing(time: Time, wire: HeldWire) -> None:
    assert make(time, wire).tick(time.now, beat)

    assert wire.texts == []


def test_a_tick_tells_when_the_wire_has_had_enough(time: Time, wire: HeldWire) -> None:
    connection = make(time, wire)
    connection.authenticate(ALICE, now=time.now)
    wire.paused = True
    time.now += 5

    assert not connection.tick(time.now, beat)
