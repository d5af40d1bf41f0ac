"""Health, status, faults."""

from collections.abc import Mapping, Sequence
from typing import Any

from realtime.commands import system
from realtime.commands.registry import ANONYMOUS
from realtime.model.errors import Code
from realtime.model.market import Market
from realtime.venues.listing import Fees, markets_of
from tests.commands.kit import Desk


class Switches:
    """Faults that note how they are switched."""

    kinds: Sequence[str] = ("lost_after", "frozen_feed")
    markets: Mapping[str, Market] = markets_of(["BTC/USDT"], Fees())

    def __init__(self) -> None:
        self.on: list[Mapping[str, Any]] = []
        self.times = 0

    def switched(self) -> Sequence[Mapping[str, object]]:
        return self.on

    def switch(self, faults: Sequence[Mapping[str, Any]]) -> None:
        self.on = list(faults)
        self.times += 1


def desk(faults: Switches | None = None) -> Desk:
    return Desk(
        *system.ops(
            health=lambda: {"status": "ok", "ready": True},
            status=lambda: {"status": "degraded"},
            faults=faults,
        )
    )


def test_health_is_for_everybody_over_http() -> None:
    reply = desk().call("system.health", source="http", principal=ANONYMOUS)

    assert reply.result == {"status": "ok", "ready": True}


def test_status_is_what_the_system_says() -> None:
    assert desk().call("system.status").result == {"status": "degraded"}


def test_faults_are_listed_and_switched_as_a_whole() -> None:
    switches = Switches()
    world = desk(switches)
    frozen = {"kind": "frozen_feed", "symbol": "BTC/USDT", "probability": 0.5, "duration_s": 1.5}
    lost = {"kind": "lost_after", "times": 2}
    whole = [
        {**frozen, "times": None},
        {"kind": "lost_after", "symbol": None, "probability": 1.0, "duration_s": None, "times": 2},
    ]
    results = [
        reply.result
        for reply in (
            world.call("system.fault"),
            world.call("system.fault", faults=[{**frozen, "symbol": "btcusdt"}, lost]),
            world.call("system.fault", faults=[frozen, lost]),
            world.call("system.fault", faults=[]),
        )
    ]

    kinds = ["lost_after", "frozen_feed"]
    assert results == [
        {"kinds": kinds, "faults": [], "changed": False},
        {"kinds": kinds, "faults": whole, "changed": True},
        {"kinds": kinds, "faults": whole, "changed": False},
        {"kinds": kinds, "faults": [], "changed": True},
    ]
    assert switches.times == 2


def test_a_wrong_fault_is_named_and_nothing_is_switched() -> None:
    for part, field, hint in (
        ({"kind": "lost_aftr"}, "faults.1.kind", "did you mean lost_after?"),
        ({"kind": "zzz"}, "faults.1.kind", "lost_after, frozen_feed"),
        ({"kind": "lost_after", "probability": 2}, "faults.1.probability", "1"),
        ({"kind": "lost_after", "duration_s": 0}, "faults.1.duration_s", "0"),
    ):
        switches = Switches()
        reply = desk(switches).call("system.fault", faults=[{"kind": "lost_after"}, part])
        assert reply.code is Code.INVALID
        assert reply.error is not None
        assert reply.error["details"]["fields"][0]["field"] == field  # type: ignore[index]
        assert hint in str(reply.error["message"])
        assert switches.on == []
    nowhere = {"kind": "lost_after", "symbol": "ABC/DEF"}
    assert desk(Switches()).call("system.fault", faults=[nowhere]).code is Code.NOT_FOUND


def test_without_a_paper_exchange_nothing_goes_wrong_on_purpose() -> None:
    assert desk().call("system.fault").code is Code.NOT_SUPPORTED
