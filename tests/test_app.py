"""The composition root: what it refuses, what it prints, how a process ends (reliability 4.2, 5.1)."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from realtime import serving, settings
from realtime.app import Making, Outside
from realtime.cli import commands as cli
from realtime.logs import JsonLines, TextLines
from realtime.model.errors import Refused
from realtime.model.events import MarketEvent, VenueEvent
from realtime.model.market import MS, SECOND
from realtime.outside import Clock, replaying
from realtime.server.auth import Auth
from realtime.serving import DIED, REFUSED, facts, run
from realtime.settings import Settings
from realtime.tokens import identities
from realtime.venues.ccxt.account import Secret
from realtime.venues.ccxt.redaction import Redaction
from tests.conftest import VirtualClockLoop
from tests.fakes import BUY, START_NS, ScriptedVenue, World, no_page, until
from tests.flows.process import Process, talk


def given(tmp_path: Path, **more: Any) -> Settings:
    made: dict[str, Any] = {
        "server": {"port": 0},
        "store": {"path": str(tmp_path / "j.db"), "backup_hours": 0},
        "log": {"level": "critical"},
    }
    return Settings(**(made | more))


def outside(venue: ScriptedVenue) -> Outside:
    def make(making: Making) -> ScriptedVenue:
        venue.bind(making.now)
        return venue

    return Outside(venue=make, page=no_page)


class Running:
    """A server that runs in this thread; `seen` is called once it listens, then it is stopped."""

    def __init__(self, seen: Any = None) -> None:
        self.facts: dict[str, str] = {}
        self._seen = seen

    def __call__(self, told: dict[str, str]) -> None:
        self.facts = told
        if self._seen is not None:
            self._seen(told)
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_ends_it_with_zero(tmp_path: Path) -> None:
    running = Running()
    code, reason = run(given(tmp_path), outside(ScriptedVenue()), running)

    assert (code, reason) == (0, "")
    assert running.facts["mode"] == "paper (embedded)"
    assert running.facts["data"].endswith("j.db")
    assert running.facts["socket"].startswith("ws://127.0.0.1:")
    assert not running.facts["socket"].endswith(":0/ws")
    assert "token" not in running.facts


def test_a_feed_that_dies_ends_the_process_with_seventy(tmp_path: Path) -> None:
    class Dying(ScriptedVenue):
        async def run(self) -> None:
            await asyncio.sleep(0.2)
            raise ZeroDivisionError("the feed")

    code, reason = run(given(tmp_path), outside(Dying()), lambda _facts: None)

    assert code == DIED
    assert "the feed" in reason


def test_a_handler_that_breaks_does_not_end_it(tmp_path: Path) -> None:
    class Breaking(ScriptedVenue):
        async def ohlcv(self, *_: object, **__: object) -> Sequence[Any]:
            raise ZeroDivisionError("a question")

    replies: list[httpx.Response] = []

    def ask(told: dict[str, str]) -> None:
        def work() -> None:
            url = told["page"] + "api/market.ohlcv"
            replies.append(httpx.post(url, json={"symbol": "BTC/USDT"}))
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=work).start()

    code, _ = run(given(tmp_path), outside(Breaking()), ask)

    assert code == 0
    assert replies[0].status_code == 500
    assert replies[0].json()["error"]["code"] == "internal"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"server": {"host": "0.0.0.0", "port": 0}, "auth": {"required": False}}, "loopback"),
        ({"mode": "live"}, "live"),
        ({"confirm": [{"op": "trading.halt"}]}, "safety lane"),
        ({"confirm": [{"op": "nonsense"}]}, "unknown op"),
        ({"confirm": [{"op": "market.list"}]}, "no effect"),
    ],
    ids=str,
)
@pytest.mark.promise("S1")
def test_what_is_not_safe_does_not_start(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    """Conformance 50, promise S1."""
    code, reason = run(given(tmp_path, **wrong), outside(ScriptedVenue()), Running())

    assert code == REFUSED
    assert says in reason


def test_what_is_not_safe_is_refused_before_anything_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bound(*_: object) -> socket.socket:
        raise AssertionError("it listens")

    monkeypatch.setattr(serving, "bind", bound)
    unsafe = {"server": {"host": "0.0.0.0", "port": 0}, "auth": {"required": False}}
    code, reason = run(given(tmp_path, **unsafe), outside(ScriptedVenue()), Running())

    assert code == REFUSED
    assert "server.host 0.0.0.0 is not loopback" in reason


def test_a_symbol_a_limit_or_a_recording_that_is_none_is_a_refusal(tmp_path: Path) -> None:
    file = tmp_path / "words.jsonl"
    file.write_text("# words\n")
    unknown = given(tmp_path, paper={"symbols": ["NOPE/USDT"]})

    for settings_of, world, says in (
        (unknown, Outside(), "paper: NOPE/USDT is not one of the embedded markets"),
        (
            given(tmp_path),
            replaying(file, None),
            "words.jsonl: the file is not a recording: line 1 ",
        ),
    ):
        code, reason = run(settings_of, world, Running())

        assert code == REFUSED
        assert reason.startswith(says)


def test_a_journal_that_cannot_be_made_is_a_refusal_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "j.db"):
        code, reason = run(
            given(tmp_path, store={"path": str(path)}), outside(ScriptedVenue()), Running()
        )

        assert code == REFUSED
        assert reason.startswith(f"store.path: {path}")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("REALTIME_SEVER__PORT", "1", "REALTIME_SEVER__PORT: there is no section sever"),
        ("REALTIME_AUTH_REQUIRED", "true", "use REALTIME_AUTH__REQUIRED, with two underscores"),
        ("REALTIME_STRATEGY__SYMBOL", "A/B", "strategy is runtime configuration"),
        ("REALTIME_PAPER__SYMBOLS", "BTC/USDT", "paper.symbols: Input should be a valid tuple"),
        ("REALTIME_PAPER__BALANCES", '{"usdt":5}', "no currency 'usdt'; did you mean USDT?"),
        ("REALTIME_PAPER__BALANCES", '{"":5}', "paper.balances: no currency ''"),
        ("REALTIME_PAPER__BALANCES", "USDT=5", "paper.balances: Input should be a valid dict"),
        ("REALTIME_VENUES", "kraken", "venues: Input should be a valid tuple"),
        ("REALTIME_VENUES__KRAKEN__TYPES", "spo", "venues.kraken.types.0: Input should be 'spot'"),
        ("REALTIME_VENUES__KRAKEN", "3", "venues.0: Input should be a valid dictionary"),
        ("REALTIME_RISK__TIMEZONE", "Mars/Base", "risk.timezone: no time zone 'Mars/Base'"),
        ("REALTIME_SERVER__HOSTS", '["*"]', "server.hosts has the wildcard"),
        ("REALTIME_MODE", "Live", "mode: Input should be 'paper' or 'live'"),
    ],
)
def test_a_wrong_variable_of_the_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    refused = CliRunner().invoke(cli.app, ["serve", "--port", "0", "--data", ""])

    assert refused.exit_code == REFUSED
    assert "the settings are wrong" in refused.stderr
    assert says in refused.stderr


def test_a_mistake_about_an_account_names_it_by_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text, says in (
        (
            '[[venues]]\nid = "kraken"\n[[venues]]\nid = "bybit"\nsymbol = 1',
            "venues.bybit.symbol: ",
        ),
        ("[venues.Bybit]\nbackoff_max_s = -1", "venues.Bybit.backoff_max_s: "),
        (
            '[[venues]]\nid = "kraken"\n[[venues]]\nexchange = "bybit"',
            "venues.1.id: Field required",
        ),
        # A mistake of a kind that cannot be made anew keeps its number.
        ("[venues.binance.options]\nsince = 2020-01-01", "venues.0.options.since: "),
    ):
        Path("realtime.toml").write_text(text)
        refused = CliRunner().invoke(cli.app, ["serve", "--port", "0", "--data", ""])

        assert refused.exit_code == REFUSED
        assert f"\n  {says}" in refused.stderr


def test_a_settings_file_or_an_account_that_is_none_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, says in (
        (("--config", "typo.toml"), "--config: there is no file typo.toml"),
        (("--config", "x" * 300), "cannot be read: [Errno 36] File name too long"),
        (("--venue", "KRAKEN"), "--venue: id: String should match"),
    ):
        refused = CliRunner().invoke(cli.app, ["serve", "--port", "0", "--data", "", *words])

        assert refused.exit_code == REFUSED
        assert says in refused.stderr


def test_a_port_that_is_taken_is_a_refusal(tmp_path: Path) -> None:
    with Process.serve(tmp_path / "one.db") as server:
        port = int(server.socket.removesuffix("/ws").rpartition(":")[2])
        with Process("serve", "--port", str(port), "--data", str(tmp_path / "two.db")) as second:
            code, said = second.end()

    assert code == REFUSED
    assert str(port) in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"server": {"hosts": ("*.example.com",)}},
        {"server": {"origins": ("https://*",)}},
        {"server": {"prot": 1}},
        {"server": {"port": 70_000}},
        {"nonsense": 1},
        {"paper": {"flow_per_s": float("inf")}},
        {"paper": {"balances": {"USDT": "-5"}}},
        {"paper": {"fees": {"spot_taker": "5"}}},
    ],
    ids=str,
)
def test_settings_that_are_wrong_name_the_place(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_the_address_of_a_service_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALTIME_SERVER_PORT", "tcp://10.0.0.1:8000")
    assert Settings().server.port == 8000


def test_flags_go_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "realtime.toml"
    file.write_text('[server]\nport = 1111\nheartbeat_s = 7\n[store]\npath = "file.db"\n')
    monkeypatch.setenv("REALTIME_SERVER__PORT", "2222")
    read = settings.load(file, store={"path": "flag.db"})

    assert read.server.port == 2222
    assert read.server.heartbeat_s == 7
    assert read.store.path == "flag.db"


@pytest.mark.parametrize(
    ("given_settings", "required"),
    [
        ({}, False),
        ({"auth": {"required": True}}, True),
        ({"server": {"host": "10.0.0.1"}}, True),
        ({"server": {"host": "10.0.0.1"}, "auth": {"insecure_i_know": True}}, False),
    ],
    ids=str,
)
def test_a_token_is_needed_wherever_others_can_come(
    given_settings: dict[str, Any], *, required: bool
) -> None:
    assert Settings(**given_settings).auth_required is required


def test_the_first_start_prints_one_token_once_and_keeps_its_hash(tmp_path: Path) -> None:
    first, second = Running(), Running()
    wanted = given(tmp_path, auth={"required": True})
    run(wanted, outside(ScriptedVenue()), first)
    run(wanted, outside(ScriptedVenue()), second)
    token = first.facts["token"].split()[0]

    assert token.startswith("rt_")
    assert "token" not in second.facts
    assert "ticket=" in first.facts["page"]
    for file in tmp_path.iterdir():
        assert token.encode() not in file.read_bytes()


async def test_the_first_token_lasts_as_many_days_as_the_settings_say() -> None:
    wanted = Settings(auth={"required": True, "token_days": 3})
    async with World().life() as system:
        before = system.clock.ms()
        auth, made = await identities(wanted, Outside(), system.clock, system.store)
        after = system.clock.ms()

    assert made is not None
    end = auth.verify(made, "").expires_at
    assert end is not None
    assert before <= end - 3 * 86_400_000 <= after


async def test_once_all_tokens_have_expired_a_start_makes_another() -> None:
    wanted = Settings(auth={"required": True, "token_days": 3})
    elapsed = 0
    clock = Clock(START_NS, lambda: elapsed)
    async with World().life() as system:

        async def start() -> tuple[Auth, str | None]:
            made = await identities(wanted, Outside(), clock, system.store)
            await system.desk.settled()
            return made

        _, first = await start()
        _, none = await start()
        elapsed = 3 * 86_400 * SECOND - MS
        _, still_none = await start()
        elapsed += MS
        auth, second = await start()
        again, nothing = await start()

        assert first is not None
        assert second is not None
        assert none is still_none is nothing is None
        assert auth.verify(second, "").subject == again.verify(second, "").subject == "admin"
        with pytest.raises(Refused, match="the token expired"):
            again.verify(first, "")


async def test_where_a_token_is_needed_only_it_opens(tmp_path: Path) -> None:
    with Process.serve(tmp_path / "j.db", REALTIME_AUTH__REQUIRED="true") as server:
        token = server.facts["token"].split()[0]
        async with talk(server.socket) as stranger:
            refused = await stranger.call("order.list")
            wrong = await stranger.call("auth", token="rt_wrong")
            right = await stranger.call("auth", token=token)
            now = await stranger.call("order.list")

        assert stranger.welcome["auth"] == "required"
        assert refused["error"]["code"] == wrong["error"]["code"] == "unauthorized"
        assert right["result"]["subject"] == "admin"
        assert now["ok"]


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Real time where a process is asked, the virtual clock otherwise."""
    if "needed_only" in request.node.name:
        return "asyncio"
    return "asyncio", {"loop_factory": VirtualClockLoop}


async def test_the_banner_tells_where_it_is() -> None:
    world = World()
    async with world.life() as system:
        told = facts(system, "127.0.0.1:8000")

        assert told["socket"] == "ws://127.0.0.1:8000/ws"
        assert told["data"] == "in memory"


async def test_parts_say_since_when_they_are_as_they_are_and_not_since_when_somebody_asks() -> None:
    world = World()
    async with world.life():
        await asyncio.sleep(60)
        reply = await world.call("system.status")

    status: Any = reply.result
    for part in status["components"].values():
        assert part["since_ts"] - status["started_ts"] <= 2_000


async def test_a_stop_waits_for_the_call_in_flight_and_refuses_new_orders() -> None:
    world = World()
    async with world.life() as system:
        world.venue.gate = asyncio.Event()
        order: dict[str, Any] = {"symbol": "BTC/USDT", "side": "buy", "type": "limit"}
        order["amount"] = "0.01"
        placing = world.start("order.place", **order, price="63900", client_order_id="g-1")
        await asyncio.sleep(1)
        stopping = asyncio.ensure_future(system.drain())
        await asyncio.sleep(1)
        late = await world.call("order.place", **order, price="63900")
        cancel = world.start("order.cancel_all")
        world.venue.gate.set()
        placed = await placing
        await stopping
        await cancel

        assert late.error is not None
        assert late.error["code"] == "busy"
        assert placed.ok
        assert "the server is stopping" in system.front._system.health.reasons()


async def test_a_stop_takes_entries_along_where_that_is_wished_and_leaves_protection() -> None:
    world = World(on_stop="cancel")
    async with world.life() as system:
        bought: dict[str, Any] = {"symbol": "BTC/USDT", "side": "buy", "type": "market"}
        bought["amount"] = "0.01"
        await world.call("order.place", **bought, stop_loss="60000", client_order_id="held")
        await until(lambda: len(world.venue.live()) == 1)
        await world.call("order.place", **BUY, client_order_id="g-1")
        (stop,) = [name for name in world.venue.live() if name != "g-1"]
        await system.drain()

        assert world.venue.live() == [stop]
        assert world.venue.canceled == ["g-1"]


async def test_a_stop_lets_no_dead_mans_switch_fire() -> None:
    world = World()
    async with world.life() as system:
        await world.call("order.place", client="bot", **BUY, client_order_id="g-1")
        await world.call("deadman", client="bot", timeout=5)
        world.venue.gate = asyncio.Event()
        placing = world.start("order.place", **BUY, client_order_id="g-2")
        await asyncio.sleep(1)
        stopping = asyncio.ensure_future(system.drain())
        await asyncio.sleep(8)
        world.venue.gate.set()
        await placing
        await stopping

        assert world.venue.live() == ["g-1", "g-2"]
        assert system.deadman.get("local", "bot") is not None


async def test_a_stop_does_not_wait_for_ever() -> None:
    world = World()
    async with world.life() as system:
        world.venue.script.append("drop")
        order = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "amount": "0.01"}
        placing = world.start("order.place", **order, price="63900", client_order_id="g-1")
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await system.drain()

        assert loop.time() - began < 12
        assert (await placing).error is not None
        assert world.order("g-1").status == "unknown"


async def test_what_the_venue_says_while_it_opens_comes_after_what_the_journal_remembers(
    tmp_path: Path,
) -> None:
    seen: list[str] = []

    class Eager(ScriptedVenue):
        async def open(self, post: Any) -> None:
            def told(events: Sequence[MarketEvent | VenueEvent]) -> None:
                seen.extend(type(event).__name__ for event in events)
                post(events)

            await super().open(told)

    world = World(tmp_path / "j.db")
    world.venue = Eager()
    async with world.life() as system:
        assert "BalanceSeen" in seen
        assert set(system.desk.engine.balances) == {"USDT|spot"}


async def test_a_callback_that_raises_ends_the_system() -> None:
    """Half a server is worse than one that restarts: also outside of any task."""
    world = World()

    def broken() -> None:
        raise ZeroDivisionError("a callback")

    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012  # a life is a block
        async with world.life():
            asyncio.get_running_loop().call_soon(broken)
            await asyncio.sleep(60)

    assert raised.group_contains(ZeroDivisionError)


def test_the_embedded_exchange_runs_in_this_very_process(tmp_path: Path) -> None:
    seen: list[Any] = []

    def ask(told: dict[str, str]) -> None:
        def work() -> None:
            with httpx.Client(base_url=told["page"]) as http:
                order = {"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.001"}
                seen.append(http.post("/api/order.place", json=order).json())
                seen.append(http.post("/api/system.fault", json={}).json())
                fault = {"faults": [{"kind": "refuse", "times": 1}]}
                seen.append(http.post("/api/system.fault", json=fault).json())
                seen.append(http.post("/api/order.place", json=order).json())
                seen.append(http.get("/ws/metrics").json())
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=work).start()

    wanted = given(tmp_path, paper={"latency_ms": 0, "symbols": ("BTC/USDT",), "flow_per_s": 5})
    code, reason = run(wanted, Outside(page=no_page), ask)
    placed, faults, switched, refused, metrics = seen
    on = {"kind": "refuse", "symbol": None, "probability": 1.0, "duration_s": None, "times": 1}

    assert (code, reason) == (0, "")
    assert placed["result"]["status"] == "filled"
    assert "lost_after" in faults["result"]["kinds"]
    assert faults["result"]["faults"] == []
    assert switched["result"]["faults"] == [on]
    assert refused["ok"] is False
    assert metrics["result"]["active_connections"] == 0


LINES = (
    '1723100000000000000 {"lastUpdateId": 10, "bids": [["100.00", "5.000"]], "asks": [["100.10", "5.000"]]}',
    (
        '1723100000100000000 {"stream": "btcusdt@depth@100ms", "data": {"e": "depthUpdate", "E": 1723100000100,'
        ' "s": "BTCUSDT", "U": 11, "u": 12, "b": [["100.01", "1.000"]], "a": [["100.10", "4.000"]]}}'
    ),
    (
        '1723100000200000000 {"stream": "btcusdt@bookTicker", "data": {"u": 12, "s": "BTCUSDT", "b": "100.01",'
        ' "B": "1.000", "a": "100.10", "A": "4.000"}}'
    ),
    (
        '1723100000300000000 {"stream": "btcusdt@trade", "data": {"e": "trade", "E": 1723100000300, "s": "BTCUSDT",'
        ' "t": 1, "p": "100.10", "q": "0.100", "T": 1723100000300, "m": false}}'
    ),
)


def test_a_recording_is_served_with_a_paper_account_on_top(tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    file.write_text("\n".join(LINES) + "\n")
    seen: list[Any] = []

    def ask(told: dict[str, str]) -> None:
        def work() -> None:
            with httpx.Client(base_url=told["page"]) as http:
                for _ in range(50):
                    seen.append(http.post("/api/market.ticker", json={"symbol": "BTC/USDT"}).json())
                    if seen[-1]["ok"]:
                        break
                seen.insert(0, http.post("/api/system.status", json={}).json())
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=work).start()

    code, _ = run(given(tmp_path), replaying(file, None), ask)

    assert code == 0
    assert seen[-1]["result"]["bid"] == "100.01"
    (venue,) = seen[0]["result"]["venues"]
    assert (venue["kind"], venue["source"]) == ("replay", "recording session.jsonl")
    assert seen[0]["result"]["mode"] == "paper"


def test_each_request_is_a_line_of_the_log_without_its_query(tmp_path: Path) -> None:
    seen: list[Any] = []

    def ask(told: dict[str, str]) -> None:
        def work() -> None:
            with httpx.Client(base_url=told["page"]) as http:
                http.get("/healthz?ticket=secret")
                seen.append(http.post("/api/log.tail", json={"component": "access"}).json())
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=work).start()

    wanted = given(tmp_path, log={"level": "info"}, paper={"symbols": ("BTC/USDT",)})
    code, _ = run(wanted, Outside(page=no_page), ask)

    assert code == 0
    assert [line["message"] for line in seen[0]["result"]["lines"]] == ["GET /healthz 200"]


def test_logs_are_one_json_object_a_line() -> None:
    record = logging.LogRecord("realtime.desk", logging.ERROR, "f", 1, "%s", ("text",), None)
    try:
        raise ZeroDivisionError("why")  # noqa: TRY301  # to have a traceback
    except ZeroDivisionError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    line = orjson.loads(JsonLines().format(record))

    assert (line["level"], line["component"], line["message"]) == ("error", "desk", "text")
    assert "ZeroDivisionError" in line["traceback"]


def test_a_line_of_the_log_and_its_traceback_have_no_secret() -> None:
    secret = "canary-secret-0123456789"
    redact = Redaction([Secret(secret)])
    failure = ValueError(f"GET /?apiKey={secret}&signature=0123456789abcdef")
    trace = (ValueError, failure, None)
    record = logging.LogRecord("realtime.venues", logging.ERROR, "", 1, "with %s", (secret,), trace)
    vars(record).update(apiKey=secret, nested={"headers": {"X-MBX-APIKEY": secret}})
    lines = [JsonLines(redact).format(record), TextLines(redact).format(record)]

    for line in lines:
        assert secret not in line
        assert "0123456789abcdef" not in line
        assert "***6789" in line
    assert orjson.loads(lines[0])["fields"]["apiKey"] == "***"
