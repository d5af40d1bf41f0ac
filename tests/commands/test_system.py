"""Health, status, connections, faults."""

from collections.abc import Sequence

from realtime.commands import system
from realtime.commands.registry import ANONYMOUS
from realtime.model.errors import Code
from realtime.model.principal import ROLES, Principal
from tests.commands.kit import Desk


class Switches:
    """Faults that note how they are switched."""

    names: Sequence[str] = ("lost_after", "frozen_feed")

    def __init__(self) -> None:
        self.done: list[tuple[str, int, float | None]] = []

    def switch(self, name: str, *, count: int, seconds: float | None) -> None:
        self.done.append((name, count, seconds))


def desk(faults: Switches | None = None) -> Desk:
    return Desk(
        *system.ops(
            health=lambda: {"status": "ok", "ready": True},
            status=lambda: {"status": "degraded"},
            connections=lambda: {"active_connections": 3},
            faults=faults,
        )
    )


def test_health_is_for_everybody_over_http() -> None:
    reply = desk().call("system.health", source="http", principal=ANONYMOUS)

    assert reply.result == {"status": "ok", "ready": True}


def test_status_and_connections_are_what_the_system_says() -> None:
    assert desk().call("system.status").result == {"status": "degraded"}
    assert desk().call("monitoring.connections").result == {"active_connections": 3}
    viewer = Principal(subject="v", scopes=ROLES["viewer"])
    assert desk().call("monitoring.connections", principal=viewer).code is Code.FORBIDDEN


def test_faults_are_listed_and_switched() -> None:
    switches = Switches()
    world = desk(switches)

    assert world.call("system.fault").result == {"faults": ["lost_after", "frozen_feed"]}
    reply = world.call("system.fault", fault="frozen_feed", count=2, seconds=1.5)
    assert reply.result == {"fault": "frozen_feed", "count": 2, "seconds": 1.5}
    world.call("system.fault", fault="lost_after", count=0)
    assert switches.done == [("frozen_feed", 2, 1.5), ("lost_after", 0, None)]


def test_an_unknown_fault_comes_with_a_hint() -> None:
    for word, hint in (
        ("lost_aftr", "did you mean lost_after?"),
        ("zzz", "lost_after, frozen_feed"),
    ):
        reply = desk(Switches()).call("system.fault", fault=word)
        assert reply.code is Code.NOT_FOUND
        assert reply.error is not None
        assert hint in str(reply.error["message"])


def test_without_a_paper_exchange_nothing_goes_wrong_on_purpose() -> None:
    assert desk().call("system.fault").code is Code.NOT_SUPPORTED
