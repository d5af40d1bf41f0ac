"""A start from a checkpoint comes to what a replay of the whole journal comes to, or is one (promises O1, O5, O6)."""

import asyncio
import os
import pickle
import random
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import settings as hypothesis_settings, strategies as st
from hypothesis.stateful import rule

from realtime.app import open_system
from realtime.desk import checkpoint
from realtime.desk.checkpoint import (
    Misfit,
    Terms,
    beside,
    code,
    dumps,
    loads,
    look,
    read,
    remember,
    restore,
    resume,
    write,
)
from realtime.desk.condense import condense, refresh
from realtime.desk.recovery import Journaled, Recovered, recover
from realtime.desk.routine import back_up
from realtime.engine.engine import Engine
from realtime.engine.matching import Exchange
from realtime.engine.matching.state import adopt
from realtime.model.errors import Code, Refused, VenueRejected
from realtime.outside import Outside
from realtime.store import Store, StoreCorrupt
from tests.engine.adversary import Trader
from tests.engine.floor import picture
from tests.engine.kit import OFF, Kit
from tests.fakes import BUY, FREE, LOCAL, WatchedStore, World, finished, no_page, until
from tests.prices import price
from tests.test_accounts import Away, outside, settings


NAMES = ("a", "b")
SYMBOLS = ("BTC/USDT", "ETH/USDT")


def state_of(engine: Engine) -> object:
    """All that an engine has come to, more than `digest` tells of."""
    return engine.digest(), picture(engine, {id(v): k for k, v in engine.given.items()})


# --- any history ----------------------------------------------------------------------------------


class Remembering(Trader):
    """The adversary of H1, who stops a replay at any fact and goes on from its memory."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts: list[int] = []

    @rule(back=st.integers(0, 40))
    def cut(self, back: int) -> None:
        self.cuts.append(max(0, len(self.kit.journal) - back))

    def teardown(self) -> None:
        super().teardown()
        kit = self.kit
        whole = state_of(kit.replayed())
        terms = terms_of(kit)
        for cut in self.cuts[-3:]:
            before = terms.engine()
            for fact in kit.journal[:cut]:
                before.replay(fact)
            held = Journaled(memory=remember(before, Recovered(orders=cut), terms))
            after, found = resume(held, terms)
            for fact in kit.journal[cut:]:
                after.replay(fact)

            assert state_of(after) == whole
            assert found.orders == cut


def terms_of(kit: Kit) -> Terms:
    return Terms(
        venue="paper",
        mode="paper",
        markets=kit.markets,
        limits=kit.engine_limits,
        currency="USDT",
        sizes=kit.engine.orders.sizes,
    )


TestRemembering = Remembering.TestCase
TestRemembering.settings = hypothesis_settings(
    max_examples=25, stateful_step_count=40, deadline=None
)


# --- a journal of the paper exchange, of two accounts ---------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A journal that a server has left, and what its account was made with."""

    path: Path
    terms: Terms


async def lived(folder: Path, seed: int, steps: int = 30) -> list[Past]:
    """Let two paper accounts trade at random; give their journals."""
    chance = random.Random(seed)
    made = settings(
        venues=[{"id": name, "exchange": "paper"} for name in NAMES],
        store={"path": str(folder / "j.db"), "backup_hours": 0},
        limits={"orders_per_s": 100_000, "commands_per_s": 100_000, "safety_per_s": 100_000},
        paper={
            "latency_ms": 0,
            "flow_per_s": 0.01,
            "seed": seed,
            "symbols": SYMBOLS,
        },
    )
    async with open_system(made, Outside(store=WatchedStore, page=no_page)) as system:
        await until(system.ready.is_set)

        async def call(op: str, **args: Any) -> Any:
            return await finished(
                system.registry.dispatch(op, args, principal=LOCAL, client="c", source="socket")
            )

        told = [(await call("market.ticker", symbol=symbol)).result for symbol in SYMBOLS]
        for number in range(steps):
            await step(call, number, chance, dict(zip(SYMBOLS, told, strict=True)))
        return [
            Past(path=p.store.path, terms=p.branch.terms) for p in system.places if p.store.path
        ]


async def step(
    call: Any, number: int, chance: random.Random, tickers: Mapping[str, Mapping[str, Any]]
) -> None:
    venue, name = chance.choice(NAMES), f"n{number}"
    symbol = chance.choice(SYMBOLS)
    order = {"venue": venue, "symbol": symbol, "side": "buy", "client_order_id": name}
    match chance.randrange(8):
        case 0 | 1:
            await call("order.place", **order, type="market", amount="0.01")
        case 2:
            low = price(tickers[symbol], "-0.5")
            await call("order.place", **order, type="market", amount="0.02", stop_loss=low)
        case 3:
            far = price(tickers[symbol])
            await call("order.place", **order, type="limit", amount="0.1", price=far)
        case 4:
            await call("order.place", **order | {"side": "sell"}, type="market", amount="0.005")
        case 5:
            await call("order.cancel_all", venue=venue)
        case 6:
            await call("trading.halt", venue=venue, reason="drill")
            await call("trading.resume", venue=venue, reason="drill")
        case _:
            await call("deadman", timeout=100)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    store = await WatchedStore.open(path, now=lambda: 1, new_id=lambda: "j-again")
    try:
        yield store
    finally:
        await store.close()


def account_of(held: Journaled, terms: Terms) -> object:
    """The paper account as the next start adopts it."""
    exchange = Exchange(venue="paper", markets=terms.markets)
    adopt(exchange, "main", [orjson.loads(body) for body in held.venue])
    return picture(exchange)


def beginning(held: Journaled) -> tuple[object, ...]:
    return held.seq, held.begun, held.owner, held.numbers, held.word, held.down, held.told


@pytest.fixture(scope="module")
def pasts(tmp_path_factory: pytest.TempPathFactory) -> list[Past]:
    from tests.conftest import VirtualClockLoop  # noqa: PLC0415 - the loop of one fixture

    loop = VirtualClockLoop()
    try:
        return loop.run_until_complete(lived(tmp_path_factory.mktemp("past"), 7))
    finally:
        loop.close()


@pytest.fixture
def past(pasts: list[Past], tmp_path: Path) -> Past:
    """The journal of the first account, to be spoilt."""
    path = tmp_path / "j.db"
    shutil.copy(pasts[0].path, path)
    return replace(pasts[0], path=path)


@pytest.mark.parametrize("number", [0, 1])
async def test_a_checkpoint_at_any_row_and_the_rest_are_the_whole_journal(
    pasts: list[Past], number: int
) -> None:
    """Every fourth row here, and all rows of longer histories in the slow suite."""
    await cut_at(pasts[number], 4, number)


@pytest.mark.slow
@pytest.mark.promise("O6")
@pytest.mark.parametrize("seed", range(20, 26))
async def test_a_checkpoint_at_every_row_of_many_histories(tmp_path: Path, seed: int) -> None:
    for past in await lived(tmp_path, seed, 60):
        await cut_at(past, 1, 0)


async def cut_at(past: Past, every: int, phase: int) -> None:
    """Stop a replay at rows, keep what it came to, and go on from there."""
    async with opened(past.path) as store:
        whole = await read(store, whole=True)
        engine, found = resume(whole, past.terms)
        rows = [row async for page in store.replay() for row in page]
        growing, taken = past.terms.engine(), Recovered()
        so_far = Journaled()
        assert len(rows) > 40
        for row in rows:
            so_far.take([row])
            recover(so_far.rows, growing, taken)
            so_far.rows.clear()
            if row.seq % every != phase:
                continue
            row_hash = await store.hash_of(row.seq)
            assert row_hash is not None
            write(beside(past.path), so_far, row_hash, remember(growing, taken, past.terms))

            held = await read(store)
            again, said = resume(held, past.terms)

            assert held.behind == row.seq
            assert beginning(held) == beginning(whole)
            assert again.digest() == engine.digest()
            assert said == found
            if row.seq % 5 == 0:
                assert state_of(again) == state_of(engine)
                assert account_of(held, past.terms) == account_of(whole, past.terms)
    beside(past.path).unlink()


async def kept(past: Past) -> None:
    """Write the checkpoint of a whole journal."""
    async with opened(past.path) as store:
        held = await read(store, whole=True)
        engine, found = resume(held, past.terms)
        row_hash = await store.hash_of(held.seq)
        assert row_hash is not None
        write(beside(past.path), held, row_hash, remember(engine, found, past.terms))


async def started(past: Past) -> tuple[int, str]:
    """Start on a journal: where the replay began, and what it came to."""
    async with opened(past.path) as store:
        held = await read(store)
        engine, _ = await restore(store, held, past.terms)
        return held.behind, engine.digest()


def signed(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode() + b"\n" + body


def torn(data: bytes) -> list[bytes]:
    """Damaged files: cut off, overwritten, and whole files of nonsense."""
    chance = random.Random(1)
    cuts = [data[: chance.randrange(len(data))] for _ in range(20)]
    flips = []
    for _ in range(40):
        at = chance.randrange(len(data))
        flips.append(data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :])
    return [b"", *cuts, *flips, signed(b""), signed(b"{}\n"), signed(b"[1]\nx"), signed(b"null")]


async def test_a_damaged_checkpoint_means_a_whole_replay(past: Past) -> None:
    whole = await started(past)
    await kept(past)
    good = beside(past.path).read_bytes()
    used = await started(past)
    assert used[0] > whole[0] == 0
    assert used[1] == whole[1]
    held = Journaled()
    async with opened(past.path) as store:
        for data in torn(good):
            beside(past.path).write_bytes(data)
            held = await read(store)
            assert (held.behind, held.memory) == (0, b"")
        engine, _ = await restore(store, held, past.terms)
    assert engine.digest() == whole[1]


class Evil:
    """What runs a command when an ordinary decoder reads it."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.made = (call, args)

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize(
    "memory",
    [
        pickle.dumps(Evil(os.system, "true")),
        pickle.dumps(Evil(eval, "1")),
        pickle.dumps(Evil(checkpoint.look, Path("x"))),
        b"cbuiltins\neval\n.",
        b"crealtime.engine.engine\nEngine.process\n.",
        b"\x80\x04\x8c\x17realtime.engine.account\x8c\x05homes\x93.",
        b"\x80\x04\x8c\x16realtime.engine.engine\x8c\x06sha256\x93.",
        b"nonsense",
        pickle.dumps((1, 2)),
        pickle.dumps(None),
    ],
    ids=[
        "system",
        "eval",
        "ours",
        "global",
        "dotted",
        "function",
        "borrowed",
        "bytes",
        "short",
        "none",
    ],
)
async def test_what_is_not_a_memory_is_not_read_and_means_a_whole_replay(
    past: Past, memory: bytes
) -> None:
    whole = await started(past)
    await kept(past)
    path = beside(past.path)
    head, _, rest = path.read_bytes().partition(b"\n")[2].partition(b"\n")
    paper = rest[: orjson.loads(head)["paper"]]
    path.write_bytes(signed(head + b"\n" + paper + memory))

    assert await started(past) == (orjson.loads(head)["seq"], whole[1])


def test_what_a_journal_says_beside_its_facts_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "j.db.checkpoint"
    held = Journaled(
        seq=7,
        begun=True,
        owner={"id": "kraken"},
        numbers={"fingerprint": 9},
        kept={"all": b'{"reason":"told while it was shut"}'},
        halts={"all": b'{"fact":{"halt":{}}}'},
        markets={"BTC/USDT": b"{}"},
        word=5,
        down=6,
        told={"mail": 3},
    )
    write(path, held, b"\x01" * 32, b"memory")
    found = look(path)

    assert found is not None
    assert found.at(b"\x01" * 32) == replace(held, behind=7, memory=b"memory")
    assert found.at(b"\x02" * 32) == found.at(None) == Journaled()


@pytest.mark.parametrize(
    "name",
    [
        ("realtime.engine.account", "homes"),
        ("realtime.engine.engine", "sha256"),
        ("realtime.model.orders", "Decimal"),
        ("realtime.model.events", "Enum"),
        ("realtime.desk.desk", "Desk"),
    ],
    ids=".".join,
)
def test_a_memory_names_no_functions_and_nothing_borrowed(name: tuple[str, str]) -> None:
    named = f"c{name[0]}\n{name[1]}\n.".encode()
    with pytest.raises(Misfit, match="cannot be read"):
        loads(named, {})


async def test_a_checkpoint_of_another_program_or_other_terms_is_not_used(past: Past) -> None:
    whole = await started(past)
    await kept(past)
    path = beside(past.path)
    good = path.read_bytes().partition(b"\n")[2]
    path.write_bytes(signed(good.replace(checkpoint.CODE.encode(), b"0" * 64)))
    assert await started(past) == whole

    await kept(past)
    symbols = list(past.terms.markets)
    others = [
        replace(past.terms, limits=replace(past.terms.limits, max_open_orders=3)),
        replace(
            past.terms, markets={**past.terms.markets, "X/USDT": past.terms.markets[symbols[0]]}
        ),
        replace(past.terms, currency="EUR"),
    ]
    for terms in others:
        async with opened(past.path) as store:
            engine, found = await restore(store, await read(store), terms)
            expected, said = resume(await read(store, whole=True), terms)
        assert engine.digest() == expected.digest()
        assert found == said
    assert (await started(past))[0] > 0


async def test_a_journal_restored_from_a_backup_is_not_taken_for_its_later_self(
    pasts: list[Past], past: Past, tmp_path: Path
) -> None:
    old = tmp_path / "backup.db"
    async with opened(past.path) as store:
        await store.backup(old)
        for number in range(5):
            store.append("Equity", "", b"%d" % number)
        last = store.seq
    await kept(past)
    taken = beside(past.path).read_bytes()
    old.replace(past.path)
    for side in ("-wal", "-shm"):
        past.path.with_name(past.path.name + side).unlink(missing_ok=True)
    whole = await started(past)
    assert whole[0] == 0, "the checkpoint is newer than the journal"

    async with opened(past.path) as store:
        while store.seq < last + 3:
            store.append("Equity", "", b"another life")
    assert (await started(past))[0] == 0, "the row is there, and another one"

    beside(past.path).write_bytes(taken)
    other = replace(past, path=pasts[1].path)
    shutil.copy(beside(past.path), beside(other.path))
    try:
        assert (await started(other))[0] == 0, "it is of another account"
    finally:
        beside(other.path).unlink()


async def test_a_row_changed_behind_the_checkpoint_is_found(past: Past) -> None:
    import sqlite3  # noqa: PLC0415 - damage by other hands

    await kept(past)
    async with opened(past.path) as store:
        store.append("Equity", "", b"1")
        store.append("Equity", "", b"2")
        last = store.seq
    db = sqlite3.connect(past.path)
    db.execute("UPDATE journal SET body = ? WHERE seq = ?", (b"3", last))
    db.commit()
    db.close()

    with pytest.raises(StoreCorrupt):
        await started(past)


async def test_a_death_at_any_step_of_writing_leaves_the_old_one_or_the_new_one(past: Past) -> None:
    async with opened(past.path) as store:
        held = Journaled()
        async for page in store.replay():
            held.take(page[: len(page) // 2])
            break
        row_hash = await store.hash_of(held.seq)
    assert row_hash is not None
    engine, found = resume(held, past.terms)
    write(beside(past.path), held, row_hash, remember(engine, found, past.terms))
    old, first = beside(past.path).read_bytes(), held.seq
    await kept(past)
    new = beside(past.path).read_bytes()
    whole = (await started(past))[1]
    part = beside(past.path).with_name(beside(past.path).name + ".part")
    for size in (0, 1, 64, 65, 200, len(new) // 2, len(new) - 1, len(new)):
        beside(past.path).write_bytes(old)
        part.write_bytes(new[:size])

        assert await started(past) == (first, whole)

    await kept(past)
    assert beside(past.path).read_bytes() == new
    assert not part.exists()


async def test_a_checkpoint_that_cannot_be_written_does_not_stop_a_start(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await started(past)
    monkeypatch.setattr(checkpoint, "MANY", 1)
    beside(past.path).with_name(beside(past.path).name + ".part").mkdir()

    assert await started(past) == whole
    assert not beside(past.path).exists()


async def test_a_checkpoint_that_cannot_be_opened_means_a_whole_replay(past: Past) -> None:
    whole = await started(past)
    beside(past.path).mkdir()

    assert await started(past) == whole


async def test_a_long_replay_is_written_down_at_the_start(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "MANY", 40)
    first, second = await started(past), await started(past)

    assert first[0] == 0
    assert second[0] > 40
    assert first[1] == second[1]


def test_a_program_without_sources_makes_and_uses_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "CODE", code(tmp_path))
    write(tmp_path / "c", Journaled(seq=1), b"h", b"m")

    assert checkpoint.CODE == ""
    assert not (tmp_path / "c").exists()
    (tmp_path / "c").write_bytes(signed(orjson.dumps({"code": ""}) + b"\n"))
    assert look(tmp_path / "c") is None


def test_the_collector_is_left_as_it_was() -> None:
    import gc  # noqa: PLC0415

    terms = terms_of(Kit(OFF).open(USDT="1"))
    gc.disable()
    try:
        resume(Journaled(), terms)
        assert not gc.isenabled()
    finally:
        gc.enable()
    resume(Journaled(), terms)
    assert gc.isenabled()


def test_terms_survive_the_way_to_another_process() -> None:
    terms = terms_of(Kit(OFF).open(USDT="1"))

    again = loads(dumps(replace(terms, markets=dict(terms.markets)), {}), {})

    assert again.digest() == terms.digest()
    with pytest.raises(Misfit):
        loads(b"", {})


# --- beside a running server ----------------------------------------------------------------------


async def test_backups_begin_with_their_folder_and_outlive_a_bad_hour(
    past: Past, tmp_path: Path
) -> None:
    """Found here: the first backup of a new installation had no folder, and its server ended with it."""
    folder, made = tmp_path / "backups", asyncio.Queue[Path]()
    async with opened(past.path) as store, asyncio.TaskGroup() as group:
        running = group.create_task(back_up(store, folder, 1, made.put))
        first = await made.get()
        assert first.parent == folder

        aside = folder.rename(tmp_path / "aside")
        folder.write_text("in the way")
        await asyncio.sleep(4_000)
        assert made.empty()

        folder.unlink()
        aside.rename(folder)
        assert (await made.get()).parent == folder
        running.cancel()


async def test_a_backup_that_a_busy_journal_refuses_is_made_the_next_time(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found here: too many questions at that moment, and the server ended with the backup."""
    made = asyncio.Queue[Path]()
    async with opened(past.path) as store, asyncio.TaskGroup() as group:
        really, tries = store.backup_into, 0

        async def backup_into(directory: Path) -> Path:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise Refused(Code.BUSY, "too many questions wait for the journal")
            return await really(directory)

        monkeypatch.setattr(store, "backup_into", backup_into)
        running = group.create_task(back_up(store, tmp_path / "backups", 1, made.put))
        assert (await made.get()).exists()
        running.cancel()

    assert tries == 2


async def test_a_backup_is_condensed_into_the_checkpoint(past: Past, tmp_path: Path) -> None:
    copy, target = tmp_path / "copy.db", beside(past.path)
    async with opened(past.path) as store:
        await store.backup(copy)
    terms = replace(past.terms, markets=dict(past.terms.markets))
    whole = await started(past)
    seq = condense(copy, target, terms)
    assert await started(past) == (seq, whole[1])
    assert condense(copy, target, terms) == seq, "nothing is new"

    async with opened(past.path) as store:
        store.append("Equity", "", b"1")
        await until(lambda: not store.busy)
        await store.backup(copy)
    other = replace(terms, limits=replace(terms.limits, max_open_orders=3))
    assert condense(copy, target, other) > seq, "the whole of it for other limits"
    assert condense(copy, target, terms) > seq
    assert await started(past) == (seq + 1, whole[1])

    target.write_bytes(b"nonsense")
    assert condense(copy, target, terms) == seq + 1


def test_what_is_no_backup_is_named(tmp_path: Path) -> None:
    terms = terms_of(Kit(OFF).open(USDT="1"))
    (tmp_path / "text").write_text("no database at all, whatever its name says it would be")
    for name in ("text", "new"):
        with pytest.raises(StoreCorrupt):
            condense(tmp_path / name, tmp_path / "c", terms)
    assert not (tmp_path / "c").exists()


async def test_a_restart_goes_on_from_the_checkpoint_as_from_the_whole_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "MANY", 1)
    path = tmp_path / "j.db"
    world = World(path)
    digests = []
    for number in range(4):
        async with world.life() as system:
            await world.call("order.place", **BUY, client_order_id=f"g-{number}")
            assert world.order(f"g-{number}").id == f"o-{number + 1}"
            assert all(world.order(f"g-{old}").id == f"o-{old + 1}" for old in range(number))
            digests.append(system.desk.engine.digest())
            terms = system.branch.terms
        assert beside(path).exists() is (number > 0)
        async with opened(path) as store:
            held = await read(store)
            whole = await read(store, whole=True)
            assert resume(held, terms)[0].digest() == resume(whole, terms)[0].digest()
            assert (held.behind > 0) is (number > 0)
    assert len(set(digests)) == 4


async def test_an_account_that_opens_late_starts_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "MANY", 1)
    made = settings(
        risk={"limits": dict(FREE)},
        venues=[{"id": "kraken", "exchange": "paper"}],
        store={"path": str(tmp_path / "j.db"), "backup_hours": 0},
    )
    held = Journaled()
    for times in (0, 0, 1):
        venue = Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), times)
        async with open_system(made, outside(kraken=venue)) as system:
            await until(system.ready.is_set)
            args = {**BUY, "client_order_id": f"late-{times}"}
            got = system.registry.dispatch(
                "order.place", args, principal=LOCAL, client="c", source="socket"
            )
            await finished(got)
            held = system.places[0].read
    assert held.behind > 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_process_of_its_own_makes_it(
    past: Past, tmp_path: Path, anyio_backend: str
) -> None:
    assert anyio_backend
    copy, target = tmp_path / "copy.db", beside(past.path)
    whole = await started_really(past)
    store = await Store.open(past.path, now=lambda: 1, new_id=lambda: "j")
    await store.backup(copy)
    await store.close()

    await refresh(copy, target, past.terms)

    behind, digest = await started_really(past)
    assert behind > 0
    assert digest == whole[1]


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_process_that_fails_leaves_the_checkpoint_as_it_is(
    past: Past, tmp_path: Path, anyio_backend: str
) -> None:
    assert anyio_backend
    target = beside(past.path)
    target.write_bytes(b"as it was")

    await refresh(tmp_path / "not there.db", target, past.terms)

    assert target.read_bytes() == b"as it was"


async def started_really(past: Past) -> tuple[int, str]:
    store = await Store.open(past.path, now=lambda: 1, new_id=lambda: "j")
    try:
        held = await read(store)
        engine, _ = await restore(store, held, past.terms)
        return held.behind, engine.digest()
    finally:
        await store.close()
