"""From the journal back to memory: starting is recovering.

Rules of this file: (1) facts go through the engine as they did, their effects are dropped; (2) an order without an
outcome is unknown, whether or not it had left; (3) what the venue kept in the same journal is handed back to it
before anything else is asked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from realtime.desk import codec
from realtime.desk.deadman import KIND as DEADMAN, Action, Scope, Switch
from realtime.desk.entries import ACK
from realtime.desk.sweep import KIND as SWEEP, Sweep
from realtime.engine.engine import Engine
from realtime.model.events import (
    AmendFailed,
    CancelFailed,
    Fact,
    Placed,
    Unknown,
)
from realtime.store.rows import Row
from realtime.store.store import Store


VENUE: Final = "venue"
"""Kind of the paper exchange's own rows."""
EQUITY: Final = "Equity"
"""Kind of a sample of equity."""


@dataclass(slots=True)
class Recovered:
    """What the journal says beside the facts.

    Attributes:
        orders, commands: Numbers used so far.
        switches: Armed dead man's switches.
        sweeps: Halts whose cancels are not proven.
        acked: Acknowledged alerts and by whom.
        facts: How many facts were replayed.
    """

    orders: int = 0
    commands: int = 0
    switches: dict[tuple[str, str], Switch] = field(default_factory=dict)
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    acked: dict[str, str] = field(default_factory=dict)
    facts: int = 0


async def read(store: Store) -> tuple[list[bytes], list[Row]]:
    """Read the journal: what the paper exchange had kept, and everything else, each in order."""
    venue: list[bytes] = []
    rest: list[Row] = []
    async for page in store.replay():
        for row in page:
            if row.kind == VENUE:
                venue.append(row.body)
            else:
                rest.append(row)
    return venue, rest


def recover(rows: Iterable[Row], engine: Engine) -> Recovered:
    """Replay rows into a fresh engine."""
    found = Recovered()
    for row in rows:
        take(row, engine, found)
    return found


def take(row: Row, engine: Engine, found: Recovered) -> None:
    """Take one row of the journal."""
    match row.kind:
        case kind if kind in codec.KINDS:
            fact = codec.decode(kind, orjson.loads(row.body)["fact"])
            _count(fact, found)
            engine.process(fact)
        case _ if row.kind == DEADMAN:
            switch = switch_of(orjson.loads(row.body))
            found.switches.pop(switch.key, None)
            if switch.armed:
                found.switches[switch.key] = switch
        case _ if row.kind == SWEEP:
            raw = orjson.loads(row.body)
            found.sweeps.pop(raw["scope"], None)
            if raw["running"]:
                found.sweeps[raw["scope"]] = Sweep(**raw)
        case _ if row.kind == ACK:
            found.acked[row.key] = orjson.loads(row.body)["acked_by"]
        case _:
            return  # entries, samples, tokens, the venue's own: nothing of the engine


def _count(fact: Fact, found: Recovered) -> None:
    found.facts += 1
    match fact:
        case Placed(order=order):
            found.orders = max(found.orders, number(order.id))
        case Unknown(command=command):
            found.commands = max(found.commands, number(command))
        case CancelFailed(command=str() as command) | AmendFailed(command=str() as command):
            found.commands = max(found.commands, number(command))
        case _:
            return


def number(name: str) -> int:
    """Read the number of an id such as `o-17` or `m-3`; 0 for any other form."""
    prefix, mark, digits = name.partition("-")
    return int(digits) if mark and len(prefix) == 1 and digits.isdecimal() else 0


def switch_of(raw: Mapping[str, object]) -> Switch:
    """Make a switch again from its row."""
    made = dict(raw)
    made["scope"] = Scope(str(raw["scope"]))
    made["action"] = Action(str(raw["action"]))
    return Switch(**made)  # type: ignore[arg-type]  # written by `Switch` itself
