"""Health, status, faults."""

from collections.abc import Mapping, Sequence
from typing import Any

from realtime.commands import log, monitoring, system, token
from realtime.commands.registry import ANONYMOUS
from realtime.desk.codec import dumps
from realtime.model.errors import Code
from realtime.model.market import Market
from realtime.venues.listing import Fees, markets_of
from tests.commands.kit import NOW, Desk


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


class Kept:
    """Tokens that are good; none is made or ended."""

    create: Any = None
    revoke: Any = None

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self._rows = rows

    def rows(self) -> Sequence[Mapping[str, object]]:
        return self._rows


def test_a_page_of_tokens_fits_into_a_message() -> None:
    """Found by a count: 1,000 tokens limited to 100 symbols each were 1.7 MB, and clients take 1 MiB."""
    symbols = [f"COIN{number}/USDT" for number in range(100)]
    kept: list[dict[str, object]] = [
        {
            "token_id": f"t-{(number * 7) % 1000:03d}",
            "symbols": symbols,
            # The oldest do not know when they were made, and some were made together.
            "created_ts": NOW + number // 3 if number > 1 else None,
        }
        for number in range(1000)
    ]
    keeper = Desk(*token.ops(Kept(kept), dict))

    def page(**args: Any) -> Any:
        reply = keeper.call("system.token.list", **args)
        assert reply.ok
        assert len(dumps(reply.result)) < 1_048_576
        return reply.result

    before = {row["token_id"] for row in kept}
    got = page()
    found = got["tokens"]
    assert 0 < len(found) < 1000
    # One that ends between two pages shifts nothing.
    kept.remove(found[5])
    while got["next_cursor"] is not None:
        got = page(cursor=got["next_cursor"])
        found += got["tokens"]

    assert len(found) == len(before)
    assert {row["token_id"] for row in found} == before
    times = [row["created_ts"] or 0 for row in found]
    assert times == sorted(times)
    assert len(page(limit=3)["tokens"]) == 3
    assert keeper.call("system.token.list", cursor="5").code is Code.INVALID


def test_a_page_of_streams_fits_into_a_message() -> None:
    """Found by a count: 3,000 streams were more than 1 MiB; they come and go between two pages."""

    def feeds(venue: str, *names: str) -> list[Mapping[str, object]]:
        return [
            {"venue": venue, "channel": f"{kind}:{name}", "symbol": name, "source": "ws", **FEED}
            for name in names
            for kind in ("ticker", "orderbook", "trades")
        ]

    names = [f"COIN{number}/USDT:USDT" for number in range(1500)]
    accounts = [feeds("one", *names), feeds("two", "BTC/USDT")]
    share: dict[str, object] = {"ws_share": 1.0, "poll_share": 0.0, "rest_calls_saved": 0}
    figures = {
        "summary": share,
        "accounts": [{"id": "one", "feeds": 4500, **share}, {"id": "two", "feeds": 3, **share}],
    }
    watch = Desk(
        *monitoring.ops(
            connections=dict,
            latency=dict,
            metrics=dict,
            cache=dict,
            nonce=dict,
            hybrid=lambda: (figures, accounts),
        )
    )

    def page(**args: Any) -> Any:
        reply = watch.call("monitoring.hybrid", **args)
        assert reply.ok
        assert len(dumps(reply.result)) < 1_048_576
        return reply.result

    before = [(row["venue"], row["channel"]) for rows in accounts for row in rows]
    got = page()
    found = got["feeds"]
    assert 0 < len(found) < 4500
    assert {name: got[name] for name in figures} == figures
    gone = next(n for n, row in enumerate(accounts[0]) if row["channel"] == found[5]["channel"])
    del accounts[0][gone]
    while got["next_cursor"] is not None:
        got = page(cursor=got["next_cursor"])
        found += got["feeds"]

    assert sorted((row["venue"], row["channel"]) for row in found) == sorted(before)
    assert len(page(limit=3)["feeds"]) == 3
    assert watch.call("monitoring.hybrid", cursor="5").code is Code.INVALID


FEED: Mapping[str, object] = {
    "since_ts": NOW, "last_msg_age_ms": 12, "reconnects": 0, "fallbacks": 0, "rest_calls": 0, "messages": 123_456,
    "messages_per_s": 12.34, "gaps": 0, "state": "ok", "health": 1.0,
}  # fmt: skip


class Told:
    """A log of long lines."""

    lines: Sequence[Mapping[str, object]] = [
        {"id": f"l-{number}", "message": "x" * 3_000} for number in range(1000)
    ]

    def tail(
        self, *, level: str, component: str | None, limit: int
    ) -> Sequence[Mapping[str, object]]:
        assert (level, component) == ("info", None)
        return self.lines[-limit:]


def test_of_long_lines_the_newest_that_fit_into_a_message_are_given() -> None:
    """A strategy's own error, which may be of any length, is a line."""
    lines: Any = Desk(*log.ops(Told())).call("log.tail", limit=1000).result

    assert 700_000 < len(dumps(lines)) < 1_048_576
    assert lines["lines"] == Told.lines[-len(lines["lines"]) :]
