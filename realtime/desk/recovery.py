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
from realtime.desk.about import symbol_of
from realtime.desk.deadman import KIND as DEADMAN, Action, Scope, Switch
from realtime.desk.entries import ACK
from realtime.desk.sweep import FIRED, KIND as SWEEP, Sweep
from realtime.engine.engine import Engine
from realtime.model.events import (
    AmendFailed,
    CancelFailed,
    Fact,
    Placed,
    StateSet,
    Unknown,
)
from realtime.model.risk import TradingState
from realtime.store.rows import Row


VENUE: Final = "venue"
"""Kind of the paper exchange's own rows."""
EQUITY: Final = "Equity"
"""Kind of a sample of equity."""
NUMBER: Final = "Nonce"
"""Kind of the largest number that a key of an exchange has used; the key of the row is the key's fingerprint."""
OWNER: Final = "Owner"
"""Kind of the row that says whose journal it is: its key is the id of the account."""
MARKET: Final = "Market"
"""Kind of the rules of a market that rows of the journal are about, as they were last; the row's key is its symbol."""
KEPT: Final = "Kept"
"""Kind of a halt told to an account that was not open; the row's key is its scope."""
OVER: Final = b"null"
"""The body of such a row that says that the halt has been carried out, or resumed."""
DOWN: Final = "Down"
"""Kind of the row that says since when nobody has watched prices [ns]; `OVER` once the account is ready again."""
TOLD: Final = "Told"
"""Kind of the number of the last alert that a target of notifications was told; the row's key is the target's."""
IDENTITY: Final = "Token"
"""Kind of a token of a client; a journal that nobody has begun may have some."""
STATE: Final = StateSet.__name__
"""Kind of what trading was set to."""
REPLAYED: Final = frozenset(codec.KINDS) | {DEADMAN, SWEEP, FIRED, ACK}
"""Kinds that `take` knows."""


@dataclass(slots=True)
class Recovered:
    """What the journal says beside the facts.

    Attributes:
        orders, commands: Numbers used so far.
        switches: Armed dead man's switches.
        sweeps: Halts and fired switches whose cancels are not proven.
        acked: Acknowledged alerts and by whom.
        symbols: Markets that facts are about.
    """

    orders: int = 0
    commands: int = 0
    switches: dict[tuple[str, str], Switch] = field(default_factory=dict)
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    acked: dict[str, str] = field(default_factory=dict)
    symbols: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Journaled:
    """What a journal holds; only what an engine is made of is kept row by row.

    Attributes:
        seq: The last row read.
        begun: Whether there is any row but tokens.
        owner: What the journal says of whose it is; None when it is not signed.
        numbers: The largest number that each key of an exchange has used, by its fingerprint.
        kept: Halts that the account was told while it was not open, and that it has not carried out, by their scope.
        halts: What trading is set to, by scope, where it is not active: the bodies of the rows.
        markets: Rules of the markets that the rows are about, by symbol: the venue may not list them any more.
        word: When the last row was written by which a process shows that it watches [ns]; 0 without any.
        down: Since when nobody has watched [ns], where a start has said so and has not come to be ready; else 0.
        told: Number of the last alert that each target of notifications was told, by the target's key.
        venue: What the paper exchange had kept, oldest first; the first entry may sum up those before it.
        rows: What is to be replayed into the engine, oldest first.
        behind: The row that replay begins behind; 0 is the whole journal.
        memory: What `rows` come behind, as `checkpoint.write` kept it; empty with the whole journal.
    """

    seq: int = 0
    begun: bool = False
    owner: Mapping[str, str] | None = None
    numbers: dict[str, int] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    halts: dict[str, bytes] = field(default_factory=dict)
    markets: dict[str, bytes] = field(default_factory=dict)
    word: int = 0
    down: int = 0
    told: dict[str, int] = field(default_factory=dict)
    venue: list[bytes] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    behind: int = 0
    memory: bytes = b""

    def take(self, rows: Iterable[Row]) -> None:
        """Take the next rows of the journal."""
        for row in rows:
            self.seq = row.seq
            if row.kind in REPLAYED or row.kind == EQUITY:
                self.word = row.ts
            if row.kind in REPLAYED:
                self.rows.append(row)
                if row.kind == STATE:
                    self._set(row.body)
            elif row.kind == VENUE:
                self.venue.append(row.body)
            elif row.kind == NUMBER:
                self.numbers[row.key] = int(row.body)
            elif row.kind == MARKET:
                self.markets[row.key] = row.body
            elif row.kind == KEPT:
                self.kept.pop(row.key, None)
                if row.body != OVER:
                    self.kept[row.key] = row.body
            elif row.kind == DOWN:
                self.down = 0 if row.body == OVER else int(row.body)
            elif row.kind == TOLD:
                self.told.pop(row.key, None)
                if row.body != OVER:
                    self.told[row.key] = int(row.body)
            elif row.kind == OWNER and self.owner is None:
                self.owner = orjson.loads(row.body)
            self.begun = self.begun or row.kind != IDENTITY

    def _set(self, body: bytes) -> None:
        fact = codec.decode(STATE, orjson.loads(body)["fact"])
        assert isinstance(fact, StateSet)
        self.halts.pop(fact.halt.scope, None)
        if fact.halt.state is not TradingState.ACTIVE:
            self.halts[fact.halt.scope] = body

    def stopped(self) -> "Journaled":
        """Give what is known of an account that cannot be opened: nothing but what trading is set to."""
        return Journaled(rows=[Row(0, 0, STATE, "", body) for body in self.halts.values()])


def recover(rows: Iterable[Row], engine: Engine, found: Recovered | None = None) -> Recovered:
    """Replay rows into an engine.

    Args:
        rows: Of the journal, oldest first.
        engine: A fresh one, or one that has taken all rows before these and nothing else.
        found: What the rows before these said; changed.
    """
    found = found or Recovered()
    for row in rows:
        take(row, engine, found)
    return found


def take(row: Row, engine: Engine, found: Recovered) -> None:
    """Take one row of the journal."""
    match row.kind:
        case kind if kind in codec.KINDS:
            fact = codec.decode(kind, orjson.loads(row.body)["fact"])
            _count(fact, found)
            about = (
                fact.order.parent_id if type(fact) is Placed else getattr(fact, "order_id", None)
            )
            if about is not None and engine.orders.get(about) is None:
                # What made the order has found no room in the journal: the venue is asked what there is of it.
                return
            engine.replay(fact)
            if type(fact) is StateSet and fact.halt.state is TradingState.ACTIVE:
                # The end of a sweep may have found no room, and what was placed since is not the halt's to cancel.
                scope = fact.halt.scope
                found.sweeps = {
                    name: sweep for name, sweep in found.sweeps.items() if not sweep.ended_by(scope)
                }
        case _ if row.kind == DEADMAN:
            switch = switch_of(orjson.loads(row.body))
            found.switches.pop(switch.key, None)
            if switch.armed:
                found.switches[switch.key] = switch
        case _ if row.kind in {SWEEP, FIRED}:
            sweep = Sweep(**orjson.loads(row.body))
            found.sweeps.pop(sweep.name, None)
            if sweep.running:
                found.sweeps[sweep.name] = sweep
        case _ if row.kind == ACK:
            found.acked[row.key] = orjson.loads(row.body)["acked_by"]
        case _:
            return  # entries, samples, tokens, the venue's own: nothing of the engine


def _count(fact: Fact, found: Recovered) -> None:
    symbol = symbol_of(fact)
    if symbol is not None:
        found.symbols.add(symbol)
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
    """Read the number of an id such as `o-17`, `m-3` or `o-kraken-17`; 0 for any other form."""
    prefix, _, digits = name.rpartition("-")
    return int(digits) if prefix[1:2] in {"", "-"} and prefix and digits.isdecimal() else 0


def switch_of(raw: Mapping[str, object]) -> Switch:
    """Make a switch again from its row."""
    made = dict(raw)
    made["scope"] = Scope(str(raw["scope"]))
    made["action"] = Action(str(raw["action"]))
    return Switch(**made)  # type: ignore[arg-type]  # written by `Switch` itself
