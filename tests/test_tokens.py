"""Making tokens while the journal is slow."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from realtime import tokens
from realtime.model.errors import Code, Failure, Refused
from realtime.model.events import Who
from realtime.outside import Clock, Outside
from realtime.server.auth import Auth, Token as Held, digest
from realtime.settings import Settings
from realtime.store import Projection
from realtime.tokens import Tokens, identities, token_of
from tests.fakes import World


ROOT = Who(subject="root")
ADMIN = Held(id="t-root", digest=digest("rt_root"), subject="root", scopes=frozenset({"admin"}))


class SlowStore:
    """A journal that writes when it is told to."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.waiting: list[Callable[[], None]] = []

    def append(
        self,
        _kind: str,
        key: str,
        body: bytes,
        then: Callable[[int], None],
        _project: list[Projection],
        *,
        safety: bool,
    ) -> int:
        def write() -> None:
            self.rows[key] = body
            then(0)

        assert safety in {True, False}
        self.waiting.append(write)
        return 0

    def write(self) -> None:
        """Write what waits."""
        waiting, self.waiting = self.waiting, []
        for write in waiting:
            write()


class Desk:
    """Tokens, and what they stand on."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.store = SlowStore()
        self.told: list[Mapping[str, object]] = []
        numbers = iter(range(1_000))

        def secret() -> str:
            return f"{next(numbers):08d}"

        clock = Clock(0, lambda: round(loop.time() * 1e9))
        self.auth = Auth(tokens=[ADMIN], now=clock.ms, clock=loop.time, secret=secret)
        store: Any = self.store
        self.tokens = Tokens(
            auth=self.auth,
            store=store,
            clock=clock,
            secret=secret,
            note=lambda _kind, row, _who: self.told.append(row),
        )

    async def create(self) -> str:
        made, _ = await self.tokens.create(ROOT, "desk", {"read"}, None)
        return made


async def test_those_under_way_count_for_the_greatest_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by a drive: 64 asked for at once all passed, with room for one."""
    monkeypatch.setattr(tokens, "MOST", 3)
    desk = Desk()
    made = [asyncio.create_task(desk.create()) for _ in range(5)]
    await asyncio.sleep(1)
    desk.store.write()
    answers = await asyncio.gather(*made, return_exceptions=True)

    assert [type(answer) for answer in answers] == [str, str, Refused, Refused, Refused]
    assert len(desk.auth.tokens()) == 3


async def test_the_last_admin_token_that_lasts_cannot_be_revoked() -> None:
    """Beside one that is about to expire it could: then nobody was an admin until the next start."""
    desk = Desk()
    hour, day = 3_600_000, 86_400_000
    ends: list[tuple[str, int | None]] = [("soon", hour), ("later", 2 * hour), ("days", day + hour)]
    held = {
        name: Held(
            id=f"t-{name}", digest=digest(name), subject=name, scopes=ADMIN.scopes, expires_at=end
        )
        for name, end in ends
    }
    desk.auth.add(held["soon"])
    desk.auth.add(Held(id="t-eye", digest=digest("eye"), subject="eye", scopes=frozenset({"read"})))

    async def revoke(token_id: str) -> str:
        revoked = asyncio.create_task(desk.tokens.revoke(ROOT, token_id))
        await asyncio.sleep(1)
        desk.store.write()
        try:
            await revoked
        except Refused as refused:
            return f"{refused.code}: {refused.message}"
        return "ended"

    says = "conflict: the other tokens of an admin expire within a day; create another one first"
    assert await revoke("t-root") == says
    assert await revoke("t-soon") == "ended"
    assert await revoke("t-root") == (
        "conflict: it is the last token of an admin; create another one first"
    )
    desk.auth.add(held["later"])
    assert await revoke("t-root") == says
    desk.auth.add(held["soon"])
    assert await revoke("t-eye") == "ended"  # it is no admin's
    desk.auth.add(held["days"])
    assert await revoke("t-root") == "ended"
    assert await revoke("t-days") == says
    assert await revoke("t-soon") == "ended"  # another lasts longer


async def test_one_that_is_written_too_late_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a drive: "no token was made", and the next start had one that nobody knows."""
    monkeypatch.setattr(tokens, "MOST", 2)
    desk = Desk()
    with pytest.raises(Failure) as failed:
        await desk.create()
    assert failed.value.code is Code.INTERNAL
    desk.store.write()
    assert [token_of(body) for body in desk.store.rows.values()] == [None]
    assert desk.told == []
    assert desk.auth.tokens() == [ADMIN]

    again = asyncio.create_task(desk.create())
    await asyncio.sleep(1)
    desk.store.write()
    assert desk.auth.verify(await again, "").subject == "desk"


async def test_one_whose_maker_was_canceled_is_none() -> None:
    """A server that stops cancels what waits: its row came back with the next start, good, and nobody knew it."""
    desk = Desk()
    made = asyncio.create_task(desk.create())
    await asyncio.sleep(1)
    made.cancel()
    with pytest.raises(asyncio.CancelledError):
        await made

    desk.store.write()

    assert [token_of(body) for body in desk.store.rows.values()] == [None]
    assert desk.auth.tokens() == [ADMIN]


async def test_the_oldest_is_known_after_ten_thousand_others_have_come_and_gone() -> None:
    """Found by a drive: a start reads the 10,000 newest rows, and one that was revoked counts as its end."""
    wanted = Settings(auth={"required": True})
    async with World().life() as system:
        first, root = tokens.new(Outside().secret, "root", {"admin"}, 0)
        await tokens.keep(system.store, root, 0)
        for _ in range(20):
            ended = [tokens.new(Outside().secret, "job", {"read"}, 0)[1] for _ in range(500)]
            rows = [tokens.keep(system.store, one, 1, revoked=True) for one in ended]
            await asyncio.gather(*rows)
        auth, made = await identities(wanted, Outside(), system.clock, system.store)

    assert made is None
    assert auth.verify(first, "").subject == "root"
