"""Calls of handlers without a server."""

from collections.abc import Awaitable, Sequence
from typing import Any

from realtime.commands.registry import ANONYMOUS, Answer, Asked, Op, Peer, Registry, Reply
from realtime.model.principal import ROLES, Principal


NOW = 1_790_000_000_000
ROOT = Principal(subject="root", scopes=ROLES["admin"])


class FakeSession:
    """A connection that notes what it is told."""

    id = "s-1"

    def __init__(self) -> None:
        self.done: list[Any] = []

    def authenticate(self, principal: Principal) -> None:
        self.done.append(principal)

    def subscribe(self, asked: Sequence[Asked]) -> Answer | Awaitable[Answer]:
        self.done.append(list(asked))
        return Answer(result={"channels": [], "failed": []})

    def unsubscribe(self, names: Sequence[str] | None) -> list[str]:
        self.done.append(names)
        return ["orders"]

    def pace(self, every: int) -> None:
        self.done.append(every)

    def bye(self) -> None:
        self.done.append("bye")

    def figures(self) -> tuple[int, int]:
        return 7, 3


class Desk:
    """A registry with some rows, and one caller."""

    def __init__(self, *ops: Op) -> None:
        self.session = FakeSession()
        self.registry = Registry(ops, mode="paper", now=lambda: NOW, token=lambda: "x")

    def call(
        self,
        op: str,
        *,
        source: Any = "socket",
        principal: Principal = ROOT,
        peer: Peer | None = None,
        **args: Any,
    ) -> Reply:
        reply = self.registry.dispatch(
            op,
            args,
            principal=None if principal is ANONYMOUS else principal,
            client="bot",
            source=source,
            session=self.session if source == "socket" else None,
            peer=peer,
        )
        assert isinstance(reply, Reply)
        return reply
