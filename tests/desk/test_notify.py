"""Alerts to people: which are due, in how many messages, and what becomes of one that does not arrive."""

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from realtime.branch import RefusedStart
from realtime.desk import notices
from realtime.desk.config.sections import Notifications, Webhook
from realtime.desk.masking import fault_of
from realtime.desk.notices import NOBODY, Courier, Login, Notices, Undelivered
from realtime.desk.notify import (
    MAIL,
    PER_MINUTE,
    Message,
    Target,
    mailed,
    message_of,
    parted,
    posted,
    room,
    targets_of,
)
from realtime.model.market import SECOND
from realtime.plans import check, login_of, redaction
from realtime.settings import load
from realtime.store import State
from tests.conftest import virtual_loop
from tests.desk.test_journal import Faulty, broken, frail, mended, really
from tests.fakes import World, until


HOOK = "https://hooks.example.com/T0/secret-key"
OTHER = "https://other.example.com/in?key=secret-key"
Entry = dict[str, object]


def entry(number: int, level: str = "warning", code: str = "drawdown", **more: Any) -> Entry:
    """An entry of `alerts`."""
    made: Entry = {"id": f"a-{number}", "ts": 1_790_000_000_000 + number, "level": level}
    return made | {"code": code, "text": f"it is {number}", "data": {}, "acked_by": None} | more


# --- pure -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "alert", "wanted"),
    [
        ({}, entry(1, "info"), False),
        ({}, entry(1, "warning"), True),
        ({}, entry(1, "critical"), True),
        ({"min_level": "critical"}, entry(1, "error"), False),
        ({"min_level": "info"}, entry(1, "info"), True),
        ({"events": ["pnl"]}, entry(1), False),
        ({"events": ["pnl", "drawdown"]}, entry(1), True),
        ({"events": ["drawdown"]}, entry(1, "info"), False),
        ({"min_level": "info"}, entry(1, acked_by="admin"), False),
    ],
)
def test_a_webhook_gets_the_codes_and_levels_that_it_names(
    hook: Mapping[str, Any], alert: Entry, *, wanted: bool
) -> None:
    targets = targets_of(Notifications(webhooks=(Webhook(url=HOOK, **hook),)))

    assert [target.wants(alert) for target in targets.values()] == [wanted]


def test_an_address_that_stands_there_twice_is_one_target_and_none_shows_its_address() -> None:
    section = Notifications(
        email_enabled=True,
        webhooks=(
            Webhook(url=HOOK, events=("pnl",)),
            Webhook(url=OTHER),
            Webhook(url=HOOK, min_level="critical"),
        ),
    )
    first, second, mail = targets_of(section).values()

    assert [first.name, second.name, mail.name] == [
        "https://hooks.example.com/***",
        "https://other.example.com/***",
        "mail",
    ]
    assert first.wants(entry(1, code="pnl"))
    assert first.wants(entry(1, "critical"))
    assert not first.wants(entry(1))
    assert [mail.wants(entry(1, level)) for level in ("info", "warning")] == [False, True]
    assert "secret-key" not in repr((first, second, mail))
    assert "secret-key" not in "".join(targets_of(section))


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://hooks.example.com/x", True),
        ("https://10.0.0.7:8443", True),
        ("http://127.0.0.1:9000/x", True),
        ("http://localhost/x", True),
        ("http://[::1]:9000/x", True),
        ("http://hooks.example.com/x", False),
        ("http://169.254.169.254/latest", False),
        ("http://127.0.0.1.example.com/", False),
        ("http://0.0.0.0/", False),
        ("https://", False),
        ("https:///x", False),
        ("https://x:0/", False),
        ("https://x:99999/", False),
        ("https://[::1", False),
    ],
)
def test_nothing_is_sent_in_clear_over_a_network(url: str, *, good: bool) -> None:
    assert (fault_of(url) is None) == good


@pytest.mark.parametrize(
    ("due", "most", "sizes"),
    [
        (0, 10, []),
        (1, 1, [1]),
        (2, 1, [2]),
        (10, 10, [1] * 10),
        (11, 10, [1] * 9 + [2]),
        (500, 3, [1, 1, 498]),
        (5, 0, []),
        (5, -1, []),
    ],
)
def test_what_is_above_the_pace_is_one_message(due: int, most: int, sizes: list[int]) -> None:
    groups = parted(range(due), most)

    assert [len(group) for group in groups] == sizes
    assert [one for group in groups for one in group] == (list(range(due)) if sizes else [])


def test_a_target_gets_so_many_messages_within_any_minute() -> None:
    sent: deque[int] = deque()
    for second in range(PER_MINUTE):
        assert room(sent, second * SECOND) == PER_MINUTE - second
        sent.append(second * SECOND)

    assert room(sent, 59 * SECOND) == 0
    assert room(sent, 60 * SECOND) == 1
    assert room(sent, 62 * SECOND) == 3


def test_a_message_says_what_the_alert_does_and_of_whose_money() -> None:
    alert = entry(7, "critical", data={"symbol": "BTC/USDT", "order_id": "o-1"})
    made = message_of([alert], venue="kraken", mode="live")

    assert made == {
        "id": "a-7",
        "ts": 1_790_000_000_007,
        "level": "critical",
        "code": "drawdown",
        "message": "it is 7",
        "venue": "kraken",
        "symbol": "BTC/USDT",
        "mode": "LIVE",
        "count": 1,
        "data": {"symbol": "BTC/USDT", "order_id": "o-1"},
        "text": "[LIVE] critical drawdown at kraken: it is 7",
    }


def test_a_message_of_several_counts_them_and_what_was_passed_over() -> None:
    levels = ["info", "critical", "warning", "warning"]
    alerts = [entry(number, level) for number, level in enumerate(levels, 1)]
    made = message_of(alerts, venue="paper", mode="paper", missed=3)

    assert made["level"] == "critical"
    assert made["count"] == 4
    assert made["data"] == {"first_id": "a-1"}
    assert made["text"] == (
        "[PAPER] critical several at paper: 4 more alerts: 1 critical, 2 warning, 1 info; "
        "the newest: it is 4 (3 older entries were passed over)"
    )


def test_slack_discord_and_others_get_what_they_take_and_nobody_is_called_by_a_text() -> None:
    alert = entry(1, text="halted by <!channel> & @everyone\n" + "x" * 3_000)
    made = message_of([alert], venue="paper", mode="paper")
    slack = orjson.loads(posted("https://hooks.slack.com/services/T/B/x", made))
    discord = orjson.loads(posted("https://discord.com/api/webhooks/1/x", made))
    other = orjson.loads(posted(HOOK, made))

    assert slack.keys() == {"text"}
    assert "&lt;!channel&gt; &amp; @everyone x" in slack["text"]
    assert discord["allowed_mentions"] == {"parse": []}
    assert len(discord["content"]) == 1_500
    assert other == made


def test_a_mail_has_one_id_and_a_subject_of_one_line() -> None:
    section = Notifications(sender="desk@example.com", receiver="a@example.com, b@example.com")
    alert = entry(3, text="one\r\n\0\x1bBcc: c@example.com", data={"bot_id": "ä"})
    made = [
        mailed(section, message_of([alert], venue="paper", mode="paper"), "j-1") for _ in range(2)
    ]

    assert made[0]["Subject"] == "[PAPER] warning drawdown at paper: one Bcc: c@example.com"
    assert made[0]["Bcc"] is None
    assert made[0]["To"] == "a@example.com, b@example.com"
    assert made[0]["Message-ID"] == made[1]["Message-ID"]
    assert made[0]["Message-ID"] == f"<a-3.1.{alert['ts']}.j-1@nexus-realtime>"
    assert 'data: {"bot_id":"ä"}' in made[0].get_content()
    assert "time: 2026-09-21 14:13:20 UTC" in made[0].get_content()


def test_the_password_comes_from_the_environment_or_a_file_of_its_own_and_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, file = tmp_path / "smtp", tmp_path / "realtime.toml"
    secret.write_text("app-password\n")
    file.write_text('[smtp]\npassword = "app-password"\n')
    for path in (secret, file):
        path.chmod(0o644)
    with pytest.raises(ValueError, match=r"it has smtp.password and mode 0644.*chmod 600"):
        load(file)
    file.chmod(0o600)
    by_file = load(file)
    monkeypatch.setenv("REALTIME_SMTP__USER", "desk")
    monkeypatch.setenv("REALTIME_SMTP__PASSWORD_FILE", str(secret))
    with pytest.raises(RefusedStart, match=r"smtp.password: is set twice"):
        login_of(load(file))
    with pytest.raises(RefusedStart, match=r"smtp.password_file: .* has mode 0644"):
        check(load(tmp_path / "none.toml"))
    secret.chmod(0o600)
    both = [login_of(by_file), login_of(load(tmp_path / "none.toml"))]

    assert both == [Login(password="app-password"), Login(user="desk", password="app-password")]
    assert "app-password" not in f"{both} {by_file}"
    assert "app-password" not in redaction(by_file)("AUTH PLAIN app-password")


# --- in a system ----------------------------------------------------------------------------------


class Receivers:
    """Where messages go instead of a network.

    Attributes:
        got: What arrived, by the name of the target.
        down: Names of targets that take nothing.
        tries: Attempts so far, those that failed, too.
    """

    def __init__(self) -> None:
        self.got: dict[str, list[Message]] = {}
        self.down: set[str] = set()
        self.tries = 0

    async def take(self, work: Any) -> None:
        assert isinstance(work, partial)
        target, message = work.args
        assert isinstance(target, Target)
        self.tries += 1
        if target.name in self.down:
            raise Undelivered("it answered 500")
        self.got.setdefault(target.name, []).append(message)

    def ids(self, name: str = "https://hooks.example.com/***") -> list[str]:
        return [message["id"] for message in self.got.get(name, [])]


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Receivers:
    made = Receivers()

    async def run(_courier: Courier, work: Any) -> None:
        await made.take(work)

    monkeypatch.setattr(Courier, "run", run)
    return made


async def configured(world: World, *urls: str, **more: Any) -> None:
    """Send to these webhooks from now on."""
    section = {"webhooks": [{"url": url, "min_level": "info"} for url in urls], **more}
    reply = await world.call("config.update", patch={"notifications": section})
    assert reply.ok, reply
    served = len(urls) + bool(more.get("email_enabled") and world.settings().smtp.password)
    await until(lambda: len(world.system.branch.notices._lines) == served)


async def raised(world: World, count: int = 1) -> list[str]:
    """Let so many alerts come and be on disk; gives their ids."""
    desk = world.system.desk
    first = desk.entries.alerts + 1
    for _ in range(count):
        desk.alert("warning", "odd", "something is odd", {})
    await desk.settled()
    return [f"a-{number}" for number in range(first, first + count)]


async def test_alerts_of_now_are_sent_and_older_ones_are_not(receivers: Receivers) -> None:
    world = World()
    async with world.life():
        await raised(world, 3)
        await asyncio.sleep(1)
        await configured(world, HOOK)
        told = await raised(world, 2)
        await until(lambda: receivers.ids() == told)
        await configured(world)
        await raised(world, 4)
        await asyncio.sleep(1)
        await configured(world, HOOK, OTHER)
        told += await raised(world, 1)
        await until(lambda: receivers.ids() == told)

        assert receivers.ids("https://other.example.com/***") == told[-1:]
        parts = world.system.status.components()
        assert parts["notifications"] == ("ok", "")


async def test_an_alert_right_behind_the_change_is_sent(receivers: Receivers) -> None:
    world = World()
    async with world.life() as system:
        await asyncio.sleep(1)
        section = {"webhooks": [{"url": HOOK}]}
        changing = world.start("config.update", patch={"notifications": section})
        system.desk.alert("warning", "odd", "something is odd", {})
        assert (await changing).ok
        await until(lambda: receivers.ids() == ["a-1"])


async def test_a_flood_is_so_many_messages_and_the_last_one_counts_the_rest(
    receivers: Receivers,
) -> None:
    world = World()
    async with world.life():
        await configured(world, HOOK)
        told = await raised(world, 700)
        await until(lambda: len(receivers.ids()) == PER_MINUTE)
        (got,) = receivers.got.values()

        assert receivers.ids()[: PER_MINUTE - 1] == told[: PER_MINUTE - 1]
        assert [message["count"] for message in got] == [1] * 9 + [491]
        await until(lambda: len(got) > PER_MINUTE, within=70)
        await until(lambda: sum(message["count"] for message in got) == 700)
        assert receivers.ids()[-1] == told[-1]


async def test_an_acknowledged_alert_hides_none_that_came_before_its_acknowledgement(
    receivers: Receivers,
) -> None:
    world = World()
    async with world.life():
        await configured(world, HOOK)
        told = await raised(world, 2)
        assert (await world.call("alert.ack", alert_id=told[0])).ok
        told += await raised(world, 1)
        await until(lambda: receivers.ids() == told)


async def test_a_target_that_is_down_is_tried_again_given_up_and_holds_up_no_other(
    receivers: Receivers, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    caplog.set_level(logging.WARNING, "realtime")
    async with world.life() as system:
        await configured(world, HOOK, OTHER)
        receivers.down.add("https://hooks.example.com/***")
        told = await raised(world)
        await until(lambda: receivers.ids("https://other.example.com/***") == told)
        seen = system.status.row()
        assert isinstance(seen["components"], dict)
        assert seen["components"]["notifications"]["status"] == "degraded"
        assert "https://hooks.example.com/***: it answered 500" in str(seen["components"])
        assert (await world.call("system.health")).result == {"status": "ok", "ready": True}
        await until(lambda: "notice given up" in caplog.text, within=300)
        assert receivers.tries == 1 + 1 + len(notices.WAITS)
        receivers.down.clear()
        told = await raised(world)
        await until(lambda: receivers.ids() == told)

        assert system.status.components()["notifications"] == (
            "ok",
            "1 alerts given up since the start",
        )
        assert "secret-key" not in str([vars(record) for record in caplog.records])
        # No alert came of it, which would have to be sent as well.
        assert system.desk.entries.alerts == 2


async def test_what_a_life_did_not_send_the_next_one_does_and_nothing_twice(
    receivers: Receivers, tmp_path: Path
) -> None:
    world = World(tmp_path / "j.db")
    async with world.life():
        await configured(world, HOOK, OTHER)
        first = await raised(world, 2)
        await until(lambda: receivers.ids() == first)
        await until(lambda: receivers.ids("https://other.example.com/***") == first)
        receivers.down.add("https://hooks.example.com/***")
        late = await raised(world, 3)
        await until(lambda: receivers.ids("https://other.example.com/***") == first + late)
    receivers.down.clear()
    async with world.life():
        await until(lambda: receivers.ids() == first + late)
        now = await raised(world)
        await until(lambda: receivers.ids("https://other.example.com/***") == [*first, *late, *now])
        await until(lambda: receivers.ids() == [*first, *late, *now])


async def test_the_alerts_of_a_start_are_sent_and_a_removed_target_is_forgotten_over_it(
    receivers: Receivers, tmp_path: Path
) -> None:
    world = World(tmp_path / "j.db")
    async with world.life():
        await configured(world, HOOK)
    async with world.life(ready=False) as system:
        system.desk.alert("critical", "config_file", "the file is broken", {})
        await until(lambda: receivers.ids() == ["a-1"])
        await configured(world)
    async with world.life():
        await raised(world)
        await asyncio.sleep(1)
        await configured(world, HOOK)
        told = await raised(world)
        await until(lambda: receivers.ids() == ["a-1", *told])


async def test_of_a_long_backlog_the_oldest_are_passed_over_and_counted(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "MOST", 20)
    world = World()
    async with world.life():
        await configured(world, HOOK)
        await raised(world, 50)
        await until(lambda: len(receivers.ids()) == PER_MINUTE)
        (got,) = receivers.got.values()

        assert got[0]["text"].endswith("(30 older entries were passed over)")
        assert got[-1]["text"].startswith(
            "[PAPER] warning several at paper: 11 more alerts: 11 warn"
        )
        assert "passed over" not in got[-1]["text"]


async def test_without_a_password_no_mail_is_sent_and_one_warning_says_so(
    receivers: Receivers, caplog: pytest.LogCaptureFixture
) -> None:
    mail = {
        "email_enabled": True,
        "smtp_server": "mail.example.com",
        "sender": "desk@example.com",
        "receiver": "me@example.com",
    }
    caplog.set_level(logging.WARNING, "realtime")
    world, able = World(), World(smtp={"password": "app-password"})
    async with world.life() as system:
        await configured(world, HOOK, **mail)
        told = await raised(world)
        await until(lambda: receivers.ids() == told)
        level, said = system.status.components()["notifications"]
        assert (level, said) == ("degraded", "mail is off: smtp.password is not set")
        assert caplog.text.count("no mail is sent") == 1
    async with able.life():
        await configured(able, **mail)
        told = await raised(able)
        await until(lambda: receivers.ids(MAIL) == told)
        lines = await able.call("log.tail", level="debug")
        assert "app-password" not in str(lines.result)


async def test_a_journal_that_cannot_be_written_is_told_at_once(
    receivers: Receivers, tmp_path: Path
) -> None:
    world = frail(tmp_path)
    async with world.life() as system:
        await configured(world, HOOK)
        broken(Faulty.disk)
        lost = world.start("config.update", patch={"alerts": {"max_drawdown": 0.5}})
        await really(lambda: system.store.state is State.FAILED)
        await until(lambda: "unwritten" in receivers.ids())
        mended(Faulty.disk)
        await really(lambda: system.store.state is State.OK)
        await lost
        await until(lambda: len(receivers.ids()) > 1)

        assert receivers.ids().count("unwritten") == 1


# --- the thread -----------------------------------------------------------------------------------


async def test_a_sending_that_does_not_end_is_left_behind_and_is_the_only_one() -> None:
    courier, over, done = Courier(), threading.Event(), threading.Event()

    def hang() -> None:
        over.wait(120)

    with pytest.raises(Undelivered, match="it took longer than 30 s"):
        await courier.run(hang)
    with pytest.raises(Undelivered, match="the attempt before has not come to an end"):
        await courier.run(done.set)
    thread = courier._thread
    assert thread is not None
    over.set()
    thread.join(60)
    virtual_loop().outside.append(lambda: True)  # the clock waits for the next one
    await courier.run(done.set)

    assert done.is_set()
    assert thread.daemon


async def test_what_no_library_expects_is_logged_with_its_trace_and_not_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def odd() -> None:
        raise KeyError("odd")

    virtual_loop().outside.append(lambda: True)
    with pytest.raises(Undelivered, match="KeyError"):
        await Courier().run(odd)

    assert "sending failed" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_journal_that_cannot_be_read_is_said_and_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever tells people must not end what trades."""
    sent = asyncio.Event()

    async def run(_courier: Courier, _work: Callable[[], None]) -> None:
        sent.set()

    monkeypatch.setattr(Courier, "run", run)
    faults = [sqlite3.OperationalError("disk I/O error")]

    async def logs(*_: object) -> list[tuple[int, int, Entry]]:
        if faults:
            raise faults[0]
        return [(1, 1, entry(1))]

    store = SimpleNamespace(
        opened={"alerts": 0}, state=State.OK, logs=logs, append=lambda *_, **__: None
    )
    desk: Any = SimpleNamespace(store=store, entries=SimpleNamespace(alerts=0), now=lambda: 1)
    section = Notifications(webhooks=(Webhook(url=HOOK),))
    made = Notices(
        desk=desk, venue="v", mode="paper", section=lambda: section, login=NOBODY, told={}
    )
    running = asyncio.create_task(made.run())
    await asyncio.sleep(2)
    desk.entries.alerts = 1
    await asyncio.sleep(60)
    assert not running.done()
    assert made.condition() == (
        "degraded",
        "https://hooks.example.com/***: the alerts cannot be read",
    )

    faults.clear()
    await sent.wait()
    await asyncio.sleep(60)
    assert made.condition() == ("ok", "")
    running.cancel()
