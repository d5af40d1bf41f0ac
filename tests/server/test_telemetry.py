"""`/metrics`: parsed strictly over real HTTP, complete beside the ops, and without a secret."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from realtime.server import telemetry
from tests.flows.process import Process
from tests.server.front import PAGE, stack


NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
SUFFIXES = {"summary": ("", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Family:
    """What stands between one HELP line and the next."""

    help: str
    kind: str
    samples: dict[Key, float] = field(default_factory=dict)


def parse(text: str) -> dict[str, Family]:
    """Read the text format 0.0.4, every rule of it a failure when broken."""
    assert text.endswith("\n")
    found: dict[str, Family] = {}
    helped, name = "", ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, name, helped = line.split(" ", 3)
            assert re.fullmatch(NAME, name)
            assert name not in found, f"{name} is told in two places"
            assert helped
            assert "\\" not in helped
        elif line.startswith("# TYPE "):
            _, _, typed, kind = line.split(" ")
            assert typed == name, "TYPE follows HELP of the same family"
            found[name] = Family(helped, kind)
        else:
            whole = SAMPLE.fullmatch(line)
            assert whole, line
            family = found[name]
            suffix = whole[1].removeprefix(name)
            assert whole[1].startswith(name)
            assert suffix in SUFFIXES[family.kind], line
            labels = tuple(LABEL.findall(whole[2] or ""))
            assert ",".join(f'{key}="{value}"' for key, value in labels) == (whole[2] or "")
            assert len({key for key, _ in labels}) == len(labels)
            assert ("quantile" in dict(labels)) is (family.kind == "summary" and not suffix)
            key = (suffix, tuple(sorted(labels)))
            assert key not in family.samples, f"{line} is told twice"
            family.samples[key] = float(whole[3])
    for called, family in found.items():
        assert family.samples, called
        assert called.endswith("_total") is (family.kind == "counter")
        if family.kind == "counter":
            assert all(value >= 0 for value in family.samples.values())
    return found


def leaves(row: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def of(figures: tuple[telemetry.Figure, ...]) -> set[tuple[str, ...]]:
    return {path for figure in figures for path, _ in figure.places}


def test_a_scraper_reads_the_figures_of_the_ops_over_http() -> None:
    with Process.serve("") as server, httpx.Client(base_url=server.http) as http:
        buy = {"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.001"}
        placed = http.post("/api/order.place", json={**buy, "client_order_id": "canary-7f3a91"})
        got = http.get("/metrics")
        op = http.post("/api/monitoring.metrics", json={}).json()["result"]
        wrong = http.get("/metrics?x=1")
        described = http.get("/openapi.json").json()["paths"]["/metrics"]["get"]

    assert placed.status_code == 200
    assert (got.status_code, got.headers["content-type"]) == (200, telemetry.KIND)
    found = parse(got.text)
    paper = ("venue", "paper")
    assert found["realtime_order_intents_total"].samples == {("", (paper,)): 1.0}
    (journal,) = found["realtime_journal_seq"].samples.values()
    assert journal <= op["journal"]["seq"] <= journal + 50
    assert found["realtime_journal_state"].samples[("", (("state", "ok"), paper))] == 1
    legs = found["realtime_latency_seconds"].samples
    assert legs[("_count", (("leg", "loop_lag"),))] >= 0
    assert 0 <= legs[("_sum", (("leg", "order_to_ack"), paper))] < 60
    # Each figure of the op has its place, so one that is new there is missed here; the first account's are its row's.
    (account,) = op.pop("accounts")
    assert account.pop("id") == "paper"
    assert op.pop("exchanges") == []
    assert set(leaves(account)) - of(telemetry.ACCOUNTS) == {("journal", "state")}
    assert set(leaves(op)) - of(telemetry.FIGURES) == set(leaves(account))
    # Nothing a client named is a label, nor in any other place.
    assert "canary" not in got.text
    assert "BTC" not in got.text
    assert wrong.status_code == 400
    assert set(described["responses"]) == {"200", "400", "401", "403", "429"}


async def test_it_asks_for_the_scope_of_the_ops() -> None:
    async with stack(locked=True, metrics=lambda: b"# nothing\n") as s:

        async def status(**headers: str) -> int:
            return (await s.request("GET", "/metrics", headers=headers)).status

        page = {"origin": PAGE}
        admin = await s.request("POST", "/api/auth.login", {"token": "rt_root"}, headers=page)
        cookie = admin.headers["set-cookie"].partition(";")[0]

        assert await status() == 401
        assert await status(authorization="Bearer rt_nobody") == 401
        assert await status(authorization="Bearer rt_tom") == 403
        assert await status(authorization="Bearer rt_root") == 200
        assert await status(cookie=cookie, **page) == 200


async def test_nothing_is_there_without_figures() -> None:
    async with stack() as s:
        assert (await s.request("GET", "/metrics")).status == 404


def test_what_nobody_knows_is_left_out() -> None:
    unknown: dict[str, Any] = {
        "uptime_s": 3,
        "process": {"cpu_user_s": 0.1, "cpu_system_s": 0.2, "rss_max_kb": None},
        "accounts": [{"id": "kraken", "journal": {"state": "full"}}],
        "exchanges": [{"venue": "kraken", "use": "public", "available": False, "lanes": {}}],
    }
    legs = {"loop_lag": {"p50_ms": None, "p99_ms": 1.5, "max_ms": 2, "sum_ms": 5, "samples": 4}}
    found = parse(telemetry.text(unknown, legs).decode())

    assert {name.removeprefix(telemetry.PREFIX) for name in found} == {
        "uptime_seconds",
        "process_cpu_seconds_total",
        "journal_state",
        "exchange_available",
        "latency_seconds",
    }
    kraken = ("venue", "kraken")
    assert found["realtime_journal_state"].samples[("", (("state", "full"), kraken))] == 1
    assert found["realtime_exchange_available"].samples == {("", (("use", "public"), kraken)): 0.0}
    lag = ("leg", "loop_lag")
    assert found["realtime_latency_seconds"].samples == {
        ("", (lag, ("quantile", "0.99"))): 0.0015,
        ("", (lag, ("quantile", "1"))): 0.002,
        ("_sum", (lag,)): 0.005,
        ("_count", (lag,)): 4.0,
    }
