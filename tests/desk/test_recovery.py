"""What the rows of a journal say beside the facts: numbers, switches, sweeps, halts, whose it is."""

from types import SimpleNamespace
from typing import Any

import orjson

from realtime.desk import codec
from realtime.desk.codec import dumps
from realtime.desk.deadman import KIND as DEADMAN, Switch
from realtime.desk.recovery import (
    DOWN,
    IDENTITY,
    KEPT,
    NUMBER,
    OVER,
    OWNER,
    Journaled,
    Recovered,
    recover,
)
from realtime.desk.sweep import FIRED, KIND as SWEEP, Sweep
from realtime.model.events import AmendFailed, CancelFailed, Fact, StateSet, Unknown
from realtime.model.risk import Halt, TradingState
from realtime.store.rows import Row


def recovered(*rows: tuple[str, bytes]) -> Recovered:
    engine: Any = SimpleNamespace(orders={}, replay=lambda _fact: ())
    return recover(
        [Row(seq, seq, kind, "k", body) for seq, (kind, body) in enumerate(rows, 1)], engine
    )


def held(*rows: tuple[str, str, bytes]) -> Journaled:
    made = Journaled()
    made.take([Row(seq, seq, *row) for seq, row in enumerate(rows, 1)])
    return made


def test_a_switch_is_as_it_was_left() -> None:
    armed = Switch(subject="alice", client="bot", timeout=60.0, fires_at=1_000)
    longer = Switch(subject="alice", client="bot", timeout=90.0, fires_at=2_000, grace=5.0)
    off = Switch(subject="alice", client="bot")
    other = Switch(subject="alice", client="page", grace=5.0)

    def switches(*told: Switch) -> dict[tuple[str, str], Switch]:
        return recovered(*((DEADMAN, dumps(switch)) for switch in told)).switches

    assert switches(armed, other) == {armed.key: armed, other.key: other}
    assert switches(armed, longer) == {armed.key: longer}
    assert switches(armed, other, off) == {other.key: other}
    assert switches(armed, off, armed) == {armed.key: armed}


def test_a_sweep_that_has_ended_is_not_begun_again() -> None:
    running = Sweep(scope="all", legs=True, subject="alice", since=7)
    over = Sweep(scope="all", legs=True, subject="alice", since=7, running=False)
    other = Sweep(scope="bot:b", legs=False, subject="alice", since=8)

    def sweeps(*told: Sweep) -> dict[str, Sweep]:
        return recovered(*((SWEEP, dumps(sweep)) for sweep in told)).sweeps

    assert sweeps(running, other) == {"all": running, "bot:b": other}
    assert sweeps(running, other, over) == {"bot:b": other}


def test_a_sweep_whose_scope_was_resumed_is_over_even_if_its_end_is_not_there() -> None:
    """Symptom: its end had found no room; the next start cancelled the stop of a position opened since."""
    rows = [
        (SWEEP, dumps(Sweep(scope=scope, legs=True, subject="alice", since=7)))
        for scope in ("all", "bot:b", "symbol:S")
    ]
    fired = FIRED, dumps(Sweep(scope="account", legs=True, subject="alice", since=7))

    def left(scope: str, state: TradingState) -> list[str]:
        halt = Halt(scope=scope, state=state, reason="", by="alice", ts=8)
        return [*recovered(*rows, fired, ("StateSet", codec.encode(StateSet(halt=halt)))).sweeps]

    assert left("bot:b", TradingState.ACTIVE) == ["all", "symbol:S", "account with protection"]
    assert left("all", TradingState.ACTIVE) == ["account with protection"]
    assert len(left("all", TradingState.HALTED)) == 4


def test_both_sweeps_of_a_client_whose_switch_fired_twice_go_on() -> None:
    """The second switch kept protection; rows of a kind that an older program does not know."""
    first = Sweep(scope="client:alice/bot", legs=True, subject="alice", since=7)
    second = Sweep(scope="client:alice/bot", legs=False, subject="alice", since=8)
    over = Sweep(scope="client:alice/bot", legs=True, subject="alice", since=7, running=False)

    def sweeps(*told: Sweep) -> list[Sweep]:
        return list(recovered(*((FIRED, dumps(sweep)) for sweep in told)).sweeps.values())

    assert sweeps(first, second) == [first, second]
    assert sweeps(first, second, over) == [second]


def test_ids_of_commands_go_on_above_every_one_that_a_client_was_told() -> None:
    def commands(*told: Fact) -> int:
        return recovered(*((type(fact).__name__, codec.encode(fact)) for fact in told)).commands

    placing = Unknown(order_id="o-1", command="m-3", ts=1)
    cancel = CancelFailed(order_id="o-1", unknown=True, command="m-7", reason="no answer", ts=2)
    refused = CancelFailed(order_id="o-1", unknown=False, command=None, reason="no", ts=3)
    amend = AmendFailed(order_id="o-1", unknown=True, command="m-kraken-9", reason="", ts=4)

    assert commands(placing) == 3
    assert commands(placing, cancel, refused) == 7
    assert commands(cancel, placing) == 7
    assert commands(amend, cancel) == 9


def test_a_journal_is_whose_it_was_first_and_begun_by_more_than_tokens() -> None:
    first, second = orjson.dumps({"id": "kraken"}), orjson.dumps({"id": "bybit"})
    token = (IDENTITY, "t-1", b"{}")

    assert not held(token, token).begun
    assert held(token, (OWNER, "kraken", first), token).begun
    assert held((OWNER, "kraken", first), (OWNER, "bybit", second)).owner == {"id": "kraken"}
    assert held(token).owner is None


def test_of_halts_numbers_and_the_time_without_a_watch_the_last_word_counts() -> None:
    rows = (KEPT, "all", b'{"a":1}'), (KEPT, "bot:b", b"{}"), (NUMBER, "key", b"5")
    left = held(*rows, (NUMBER, "key", b"9"), (KEPT, "all", OVER), (DOWN, "", b"77"))

    assert held(*rows).kept == {"all": b'{"a":1}', "bot:b": b"{}"}
    assert (left.kept, left.numbers, left.down) == ({"bot:b": b"{}"}, {"key": 9}, 77)
    assert held((DOWN, "", b"77"), (DOWN, "", OVER)).down == 0
