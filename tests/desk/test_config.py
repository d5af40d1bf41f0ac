"""The book of the configuration: versions, one truth with the limits, the file, restarts."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.app import RefusedStart
from realtime.desk.config import files
from realtime.desk.config.changes import Change, Unclear, changes, merge, unmasked
from realtime.desk.config.sections import Config
from realtime.desk.masking import masked
from realtime.engine.window import Span
from realtime.model.errors import Code
from realtime.settings import SHARED, load
from realtime.store.rows import Projection
from tests.fakes import ETH, World


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


def fields(reply: Any) -> list[str]:
    assert reply.code is Code.INVALID, reply
    return [field["field"] for field in reply.error["details"]["fields"]]


def toml(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


# --- plain values ---------------------------------------------------------------------------------


def test_a_patch_merges_objects_removes_with_null_and_replaces_the_rest() -> None:
    whole = {"a": {"b": 1, "c": [1]}, "d": 1}

    assert merge(whole, {"a": {"b": None, "c": [2, 3], "e": {"f": 1}}, "d": {"g": 2}}) == {
        "a": {"c": [2, 3], "e": {"f": 1}},
        "d": {"g": 2},
    }
    assert whole == {"a": {"b": 1, "c": [1]}, "d": 1}


def test_changes_are_told_by_path_with_both_values() -> None:
    old = {"a": {"b": 1, "gone": 2, "same": 3}, "list": [1]}
    new = {"a": {"b": 2, "same": 3}, "list": [1, 2], "new": {"x": 1}}

    assert changes(old, new) == [
        Change("a.b", 1, 2),
        Change("a.gone", 2, None),
        Change("list", [1], [1, 2]),
        Change("new", None, {"x": 1}),
    ]


def test_addresses_of_webhooks_are_shown_by_their_host_and_found_again() -> None:
    secret = "https://hooks.example.com/T000/B000/key?x=1"
    whole = {"webhooks": [{"url": secret}, {"url": "https://plain.example.com"}]}
    shown = masked(whole)

    assert shown["webhooks"][0]["url"] == "https://hooks.example.com/***"
    assert shown["webhooks"][1] == whole["webhooks"][1]
    assert unmasked(shown["webhooks"], whole["webhooks"]) == whole["webhooks"]


def hook(key: str, level: str = "warning") -> dict[str, Any]:
    return {"url": f"https://hooks.example.com/{key}", "events": [], "min_level": level}


A, B, C = hook("a"), hook("b", "error"), {"url": "https://other.example.com/c", "events": []}
LIKE_A = hook("like-a")
SHOWN_A, SHOWN_B, SHOWN_C = (masked(one) for one in (A, B, C))


@pytest.mark.parametrize(
    ("known", "sent", "meant"),
    [
        ([A, B], [SHOWN_A, SHOWN_B], [A, B]),
        ([A, B], [SHOWN_B, SHOWN_A], [B, A]),
        ([A, B], [SHOWN_B], [B]),
        ([A, B], [SHOWN_A, SHOWN_B, C], [A, B, C]),
        ([A, B], [SHOWN_A | {"min_level": "error"}, SHOWN_B], [A | {"min_level": "error"}, B]),
        ([A, B], [{"url": SHOWN_A["url"]}, B], [{"url": A["url"]}, B]),
        ([A, C], [SHOWN_A | {"events": ["x"]}], [A | {"events": ["x"]}]),
        ([A, LIKE_A], [SHOWN_A, SHOWN_A], [A, LIKE_A]),
        ([A, LIKE_A], [], []),
        ([A, LIKE_A], [C, 3, {}], [C, 3, {}]),
    ],
)
def test_of_two_webhooks_at_a_host_each_gets_its_own_address_back(
    known: list[Any], sent: list[Any], meant: list[Any]
) -> None:
    assert unmasked(sent, known) == meant


@pytest.mark.parametrize(
    ("known", "sent", "place", "says"),
    [
        ([A, LIKE_A], [SHOWN_A], 0, "several"),
        ([A, LIKE_A], [C, SHOWN_A], 1, "several"),
        ([A, B], [SHOWN_A | {"min_level": "info"}], 0, "several"),
        ([A], [SHOWN_A, SHOWN_A], 1, "no whole address"),
        ([A], [SHOWN_C], 0, "no whole address"),
    ],
)
def test_an_address_that_may_be_one_or_another_is_asked_for_in_full(
    known: list[Any], sent: list[Any], place: int, says: str
) -> None:
    with pytest.raises(Unclear, match=says) as error:
        unmasked(sent, known)

    assert error.value.place == place


def test_the_file_and_the_settings_agree_on_whose_keys_are_whose() -> None:
    assert files.START_UP == SHARED
    kept = files.sections(
        {
            "server": {"port": 1},
            "risk": {"timezone": "UTC", "limits": {}, "max_leverage": "2"},
            "strategies": {"path": "x", "rsi": {"weight": 1}},
            "timezone": "UTC",
        }
    )

    assert kept == {
        "risk": {"max_leverage": "2"},
        "strategies": {"rsi": {"weight": 1}},
        "timezone": "UTC",
    }
    assert files.sections({"risk": {"timezone": "UTC"}}) == {}
    assert files.sections({"strategies": {"path": {"weight": 1}}}) == {
        "strategies": {"path": {"weight": 1}}
    }


def test_windows_become_schedules_and_hours_of_ones_own_rule_over_them() -> None:
    config = Config.model_validate(
        {
            "timezone": "Europe/Berlin",
            "trading_window": {
                "windows": [{"days": ["mon"], "start": "22:00", "end": "06:00"}],
                "blackouts": [{"from_ts": "2026-12-24T00:00:00+01:00", "to_ts": 1_798_761_600_000}],
                "cooldown_minutes": 7,
            },
        }
    )
    schedule = config.schedule()

    assert schedule.spans == (Span(days=frozenset({0}), start=1320, end=360),)
    assert str(schedule.zone) == "Europe/Berlin"
    assert schedule.blackouts[0].from_ts == 1_798_066_800 * 10**9
    own = config.schedule({"start_hour": 9, "timezone": "UTC", "max_trades_per_day": 1})
    assert own.spans == (Span(start=540, end=1440),)
    assert (str(own.zone), own.max_trades_per_day, own.cooldown_minutes) == ("UTC", 1, 7)


def test_parameters_are_the_strategys_own_else_those_of_the_base() -> None:
    config = Config.model_validate(
        {
            "strategy": {"ema_fast": 5, "ema_slow": 50},
            "strategies": {"ema_crossover": {"enabled": True, "weight": 1.0, "slow_period": 40}},
        }
    )

    assert config.parameters("ema_crossover", {"fast_period", "slow_period"}) == {
        "fast_period": 5,
        "slow_period": 40,
    }
    assert config.parameters("other", {"rsi_period", "x"}) == {"rsi_period": 14}


def test_money_and_times_of_a_file_are_read() -> None:
    noon = datetime(2026, 11, 25, 12, tzinfo=UTC)
    config = Config.model_validate(
        {
            "alerts": {"min_pnl": -250.5},
            "trading_window": {"blackouts": [{"from_ts": noon, "to_ts": noon.isoformat()}]},
        }
    )
    again = Config.model_validate({"alerts": {"min_pnl": Decimal(-3)}})

    assert config.alerts.min_pnl == Decimal("-250.5")
    assert again.alerts.min_pnl == Decimal(-3)
    (blackout,) = config.trading_window.blackouts
    assert blackout.from_ts == blackout.to_ts == int(noon.timestamp() * 1000)


# --- changing -------------------------------------------------------------------------------------


async def test_a_change_is_a_version_with_who_when_and_both_values() -> None:
    world = World()
    async with world.life() as system:
        told: list[int] = []
        system.book.on_change.append(lambda: told.append(system.book.version))
        done = result(
            await world.call("config.update", patch={"strategy": {"timeframe": "15m"}}, version=1)
        )
        same = result(await world.call("config.update", patch={"strategy": {"timeframe": "15m"}}))
        history = result(await world.call("config.history"))["versions"]
        (event,) = await world.events("parameter_changed")

        change = {"path": "strategy.timeframe", "old": "1h", "new": "15m"}
        assert (done["version"], done["changed"], done["changes"]) == (2, True, [change])
        assert (same["version"], same["changed"]) == (2, False)
        assert told == [2]
        assert [(v["version"], v["by"], v["why"]) for v in history] == [
            (2, "local", "update"),
            (1, "system", "start"),
        ]
        assert history[0]["changes"] == [change]
        assert (event["subject"], event["client"]) == ("local", "desk")
        assert event["data"] == {"version": 2, "why": "update", "changes": [change]}
        assert system.book.current.strategy.timeframe == "15m"


async def test_of_two_who_read_the_same_version_the_second_is_refused() -> None:
    world = World()
    async with world.life():
        await world.call("config.update", patch={"timezone": "Europe/Berlin"}, version=1)
        late = await world.call("config.update", patch={"timezone": "Asia/Tokyo"}, version=1)

        assert late.code is Code.CONFLICT
        assert late.error is not None
        assert late.error["details"] == {"version": 2}
        assert result(await world.call("config.get", section="timezone"))["config"] == {
            "timezone": "Europe/Berlin"
        }


async def test_limits_have_one_truth_whoever_changes_them() -> None:
    world = World()
    async with world.life():
        patch = {"risk": {"max_leverage": "2"}, "strategy": {"timeframe": "5m"}}
        both = result(await world.call("config.update", patch=patch, version=1))
        limits = result(await world.call("risk.params.get"))
        await world.call("risk.params.set", patch={"max_leverage": "1.5"}, version=2)
        whole = result(await world.call("config.get"))
        off = result(await world.call("config.update", patch={"risk": {"max_leverage": None}}))
        newest = result(await world.call("config.history"))["versions"]
        events = await world.events("parameter_changed")

        assert [change["path"] for change in both["changes"]] == [
            "risk.max_leverage",
            "strategy.timeframe",
        ]
        assert (limits["max_leverage"], limits["version"]) == ("2", 2)
        assert (whole["version"], whole["config"]["risk"]["max_leverage"]) == (3, "1.5")
        assert off["changes"] == [{"path": "risk.max_leverage", "old": "1.5", "new": None}]
        assert [v["why"] for v in newest] == ["update", "limits", "update", "start"]
        assert [e["data"]["version"] for e in events] == [2, 3, 4]
        assert events[1]["data"]["changes"] == [
            {"path": "risk.max_leverage", "old": "2", "new": "1.5"}
        ]


@pytest.mark.parametrize(
    ("patch", "field", "word"),
    [
        ({"risk": {"max_leverage": "0.5"}}, "risk.max_leverage", "at least 1"),
        ({"risk": {"max_position_size": "0"}}, "risk.max_position_size", "above 0"),
        ({"risk": {"max_position_size": "1.1"}}, "risk.max_position_size", "1"),
        ({"risk": {"max_levrage": "1"}}, "risk.max_levrage", "not a limit"),
        ({"risk": 7}, "risk", "object"),
        (
            {"risk": {"profiles": {"moderate": {"max_leverage": "0"}}}},
            "risk.profiles.moderate.max_leverage",
            "at least 1",
        ),
        ({"risk": {"profiles": {"wild": {}}}}, "risk.profiles.wild", "moderate"),
        (
            {"risk": {"profiles": {"moderate": {"nothing": 1}}}},
            "risk.profiles.moderate.nothing",
            "not a limit",
        ),
        ({"profiles": {}}, "profiles", "under risk"),
        ({"bots": []}, "bots", "bot.configure"),
        ({"stratgy": {}}, "stratgy", "did you mean strategy?"),
        ({"strategy": {"ema_length": "20"}}, "strategy.ema_length", "integer"),
        ({"strategy": {"ema_length": 0}}, "strategy.ema_length", "at least 1"),
        ({"strategy": {"timeframe": "2h"}}, "strategy.timeframe", "1h"),
        ({"strategy": {"symbol": "ABC/DEF"}}, "strategy.symbol", "no market"),
        ({"strategy": {"ema_fast": 40}}, "strategy.ema_slow", "above fast_period 40"),
        ({"strategies": {"rsi": {"oversold": 60}}}, "strategies.rsi.oversold", "at most 50"),
        ({"strategies": {"rsi": {"oversld": 1}}}, "strategies.rsi.oversld", "oversold"),
        ({"strategies": {"rsi": {"weight": 0.5}}}, "strategies", "sum to 1.15"),
        (
            {"strategies": {"fvg": {"enabled": False}, "mine": {"enabled": True, "weight": 0.2}}},
            "strategies.mine",
            "no strategy",
        ),
        (
            {"strategies": {n: {"enabled": False} for n in ("ema_crossover", "rsi", "fvg")}},
            "strategies",
            "at least one",
        ),
        (
            {"probability": {"confidence_threshold_buy": 1.5}},
            "probability.confidence_threshold_buy",
            "at most 1",
        ),
        (
            {"probability": {"combination_method": "dice"}},
            "probability.combination_method",
            "majority_vote",
        ),
        ({"trading_window": {"timezone": "Mars"}}, "trading_window.timezone", "time zone"),
        (
            {"trading_window": {"windows": [{"start": "9:00", "end": "10:00"}]}},
            "trading_window.windows.0.start",
            "time of day",
        ),
        (
            {"trading_window": {"blackouts": [{"from_ts": 2, "to_ts": 1}]}},
            "trading_window.blackouts.0.to_ts",
            "after from_ts",
        ),
        (
            {"portfolio": {"valuation_currency": "EUR"}},
            "portfolio.valuation_currency",
            "USDT",
        ),
        ({"notifications": {"email_enabled": True}}, "notifications.smtp_server", "required"),
        ({"notifications": {"sender": "a@b.c\r\nBcc: d@b.c"}}, "notifications.sender", "control"),
        ({"notifications": {"receiver": "a@b.c\0"}}, "notifications.receiver", "control"),
        (
            {"notifications": {"webhooks": [{"url": "ftp://x"}]}},
            "notifications.webhooks.0.url",
            "match",
        ),
        ({"alerts": {"min_pnl": "ten"}}, "alerts.min_pnl", "decimal"),
        ({"alerts": {"min_pnl": True}}, "alerts.min_pnl", "decimal"),
        ({"alerts": {"max_latency_ms": 0}}, "alerts.max_latency_ms", "above 0"),
        ({"timezone": "x" * 65}, "timezone", "at most 64"),
        ({"trading_window": {"windows": []}}, "trading_window.windows", "at least 1"),
        (
            {"trading_window": {"blackouts": [{"from_ts": "soon", "to_ts": 1}]}},
            "trading_window.blackouts.0.from_ts",
            "ISO 8601",
        ),
        (
            {"trading_window": {"blackouts": [{"from_ts": "2026-01-01", "to_ts": 1}]}},
            "trading_window.blackouts.0.from_ts",
            "ISO 8601",
        ),
        ({"strategy": {"atr_multiplier": float("inf")}}, "strategy.atr_multiplier", "finite"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else None,
)
async def test_what_is_wrong_is_named_by_its_path_and_changes_nothing(
    patch: dict[str, Any], field: str, word: str
) -> None:
    world = World()
    async with world.life() as system:
        judged = result(await world.call("config.validate", candidate=patch))
        reply = await world.call("config.update", patch=patch)

        assert field in fields(reply)
        assert word in str(reply.error)
        assert not judged["valid"]
        assert field in [error["path"] for error in judged["errors"]]
        assert judged["error_count"] == len(judged["errors"])
        assert system.book.version == 1


WEIGHTS: dict[str, Any] = {"strategies": {"ema_crossover": {"weight": 0.9}}}


@pytest.mark.parametrize(
    ("patch", "paths"),
    [
        (WEIGHTS | {"zz": 1}, {"zz", "strategies"}),
        (WEIGHTS | {"timezone": 7}, {"timezone", "strategies"}),
        (
            {"strategies": {"ema_crossover": {"weight": 0.9, "zz": 1}}},
            {"strategies.ema_crossover.zz", "strategies"},
        ),
        (
            WEIGHTS | {"notifications": {"webhooks": [{"url": "https://a.b", "zz": 1}]}},
            {"notifications.webhooks.0.zz", "strategies"},
        ),
        # What the others of a section would come to without the wrong one is not known.
        ({"strategies": {"ema_crossover": {"weight": "x"}}}, {"strategies.ema_crossover.weight"}),
    ],
)
async def test_a_configuration_is_judged_as_a_whole(patch: dict[str, Any], paths: set[str]) -> None:
    """features:F14. A key that is unknown or cannot be read hid what was wrong with all others."""
    world = World()
    async with world.life():
        judged = result(await world.call("config.validate", candidate=patch))
        reply = await world.call("config.update", patch=patch)

        assert {error["path"] for error in judged["errors"]} == paths
        assert set(fields(reply)) == paths


async def told_multipliers(world: World) -> tuple[float, str, str]:
    """What section `strategy`, section `risk` and the limits in force say."""
    whole = result(await world.call("config.get"))["config"]
    limits = result(await world.call("risk.params.get"))
    return (
        whole["strategy"]["atr_multiplier"],
        whole["risk"]["atr_multiplier"],
        limits["atr_multiplier"],
    )


async def test_the_multiplier_of_a_strategys_stop_is_the_limit_of_that_name(tmp_path: Path) -> None:
    file = toml(tmp_path / "c.toml", "[strategy]\natr_multiplier = 3\n")
    world = World(tmp_path / "j.db", config={"path": str(file)})
    told = []
    async with world.life():
        told.append(await told_multipliers(world))
        await world.call("config.update", patch={"strategy": {"atr_multiplier": 1.5}})
        told.append(await told_multipliers(world))
        await world.call("risk.params.set", patch={"atr_multiplier": "4"})
        told.append(await told_multipliers(world))
        changed = result(await world.call("config.history", limit=1))["versions"][0]["changes"]
        await world.call("config.update", patch={"strategy": {"atr_multiplier": None}})
        told.append(await told_multipliers(world))
        await world.call("risk.params.set", patch={"atr_multiplier": "1.25"})
        await world.call("config.update", patch={"strategy": {"timeframe": "5m"}})
    async with world.life():
        told.append(await told_multipliers(world))
        await world.call("config.rollback", version=1)
        told.append(await told_multipliers(world))

    assert told == [
        (3.0, "3", "3"),
        (1.5, "1.5", "1.5"),
        (4.0, "4", "4"),
        (2.0, "2", "2"),
        (1.25, "1.25", "1.25"),
        (3.0, "3", "3"),
    ]
    assert [change["path"] for change in changed] == [
        "risk.atr_multiplier",
        "strategy.atr_multiplier",
    ]


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"strategy": {"atr_multiplier": 0}}, "strategy.atr_multiplier"),
        ({"strategy": {"atr_multiplier": 1e30}}, "strategy.atr_multiplier"),
        (
            {"strategy": {"atr_multiplier": 3}, "risk": {"atr_multiplier": "4"}},
            "strategy.atr_multiplier",
        ),
    ],
    ids=str,
)
async def test_a_multiplier_that_cannot_be_changes_nothing(
    patch: dict[str, Any], field: str
) -> None:
    world = World()
    async with world.life():
        assert field in fields(await world.call("config.update", patch=patch))
        assert await told_multipliers(world) == (2.0, "2", "2")


async def test_a_whole_configuration_sent_back_changes_only_what_was_changed_in_it() -> None:
    world = World()
    async with world.life():
        await world.call("risk.params.set", patch={"atr_multiplier": "2.123456789012345678"})
        for section, value in (("risk", "5"), ("strategy", 6)):
            whole = result(await world.call("config.get"))["config"]
            del whole["bots"]
            same = result(await world.call("config.update", patch=whole))
            whole[section]["atr_multiplier"] = value
            changed = result(await world.call("config.update", patch=whole))

            assert not same["changed"]
            assert {change["path"] for change in changed["changes"]} == {
                "risk.atr_multiplier",
                "strategy.atr_multiplier",
            }
        assert await told_multipliers(world) == (6.0, "6", "6")


MINE = """
from realtime.bots.strategy import Strategy


class Mine(Strategy):
    id = "mine"
    summary = "Never says anything"
    warmup = 0

    def on_ohlcv(self, bar):
        return 0.0
"""


async def test_what_was_wrong_before_does_not_stop_another_change(tmp_path: Path) -> None:
    folder = tmp_path / "strategies"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    strategies = {"path": str(folder)}
    world = World(tmp_path / "j.db", strategies=strategies)
    async with world.life():
        mine = {"mine": {"enabled": True, "weight": 0.2, "position_size": 0.5}}
        patch = {"strategies": {"fvg": {"enabled": False}, **mine}}
        result(await world.call("config.update", patch=patch))
        read = result(await world.call("config.strategy.get", name="mine"))

        assert read["parameters"]["position_size"] == 0.5
    (folder / "mine.py").unlink()
    again = World(tmp_path / "j.db", strategies=strategies)
    async with again.life():
        summary = result(await again.call("config.summary"))
        judged = result(await again.call("config.validate"))
        other = await again.call("config.update", patch={"timezone": "Europe/Berlin"})
        worse = await again.call("config.update", patch={"strategies": {"nope": {"enabled": True}}})

        assert not summary["config_valid"]
        assert [e["path"] for e in summary["validation_errors"]] == ["strategies.mine"]
        assert judged["errors"] == summary["validation_errors"]
        assert other.ok
        assert "strategies.nope" in fields(worse)


async def test_an_old_version_comes_back_as_a_new_one_limits_included() -> None:
    world = World()
    async with world.life():
        patch = {
            "risk": {"max_leverage": "2", "profiles": {"moderate": {"max_leverage": "1"}}},
            "trading_window": {"start_hour": 8},
        }
        await world.call("config.update", patch=patch)
        await world.call("config.update", patch={"risk": {"max_leverage": "3"}})
        back = result(await world.call("config.rollback", version=2))
        again = result(await world.call("config.rollback", version=2))
        whole = result(await world.call("config.get"))["config"]
        nobody = await world.call("config.rollback", version=99)

        assert back["version"] == 4
        assert back["changes"] == [{"path": "risk.max_leverage", "old": "3", "new": "2"}]
        assert again["changed"] is False
        assert whole["risk"]["profiles"] == {"moderate": {"max_leverage": "1"}}
        assert whole["trading_window"]["start_hour"] == 8
        assert nobody.code is Code.NOT_FOUND


async def test_secrets_are_shown_to_nobody_and_survive_what_was_shown() -> None:
    secret = "https://hooks.example.com/T0/secret-key"
    world = World()
    async with world.life() as system:
        await world.call("config.update", patch={"notifications": {"webhooks": [{"url": secret}]}})
        whole = result(await world.call("config.get"))["config"]["notifications"]
        whole["webhooks"][0]["min_level"] = "error"
        await world.call("config.update", patch={"notifications": whole})
        told = [
            result(await world.call("config.history")),
            result(await world.call("config.get")),
            await world.events("parameter_changed"),
            system.book.newest.channel(),
        ]

        kept = system.book.current.notifications.webhooks[0]
        assert (kept.url, kept.min_level) == (secret, "error")
        assert "secret-key" not in str(told)


async def test_two_webhooks_at_one_host_keep_their_addresses_when_the_section_is_sent_back() -> (
    None
):
    world = World()
    async with world.life() as system:

        def addresses() -> list[str]:
            return [hook.url for hook in system.book.current.notifications.webhooks]

        both = {"notifications": {"webhooks": [hook("first"), hook("second")]}}
        await world.call("config.update", patch=both)
        whole = result(await world.call("config.get"))["config"]["notifications"]
        same = result(await world.call("config.update", patch={"notifications": whole}))
        kept = addresses()
        del whole["webhooks"][0]
        one = await world.call("config.update", patch={"notifications": whole})
        judged = result(await world.call("config.validate", candidate={"notifications": whole}))

        assert not same["changed"]
        assert kept == addresses() == [hook("first")["url"], hook("second")["url"]]
        assert fields(one) == ["notifications.webhooks.0.url"]
        assert not judged["valid"]


# --- restarts -------------------------------------------------------------------------------------


async def test_the_book_survives_a_restart_and_the_engine_rules_over_limits(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "j.db"
    first = World(journal)
    async with first.life():
        await first.call("config.update", patch={"trading_window": {"start_hour": 8}})
    # Start-up settings give limits until somebody changes one at run time.
    second = World(journal, risk={"limits": {"max_leverage": "2"}})
    async with second.life() as system:
        assert system.book.current.trading_window.start_hour == 8
        assert system.book.version == 3
        assert system.book.whole()["risk"]["max_leverage"] == "2"
        await second.call("config.update", patch={"risk": {"max_leverage": "4"}})
    third = World(journal, risk={"limits": {"max_leverage": "2"}})
    async with third.life() as system:
        assert system.book.version == 4
        assert system.desk.engine.limits.max_leverage == Decimal(4)


async def test_a_version_that_cannot_be_read_any_more_gives_way_to_the_one_before(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "j.db"
    world = World(journal)
    async with world.life() as system:
        await world.call("config.update", patch={"trading_window": {"start_hour": 8}})
        old = system.book.newest
        whole = old.whole | {"strategy": {"of": "another program"}}
        body = replace(old, number=3, whole=whole).body()
        project = [Projection("config_versions", "0000000003", system.clock.now())]
        system.store.append("Config", "0000000003", body, None, project)
        await system.desk.settled()
        back = await world.call("config.rollback", version=3)

        assert back.code is Code.INVALID
        assert "strategy.of" in str(back.error)
    again = World(journal)
    async with again.life() as system:
        (alert,) = result(await again.call("alert.list"))["alerts"]

        assert system.book.version == 4
        assert system.book.current.trading_window.start_hour == 8
        assert (alert["code"], alert["level"]) == ("config_version", "critical")
        (newest, *_) = result(await again.call("config.history"))["versions"]
        assert (newest["by"], newest["why"]) == ("system", "start")


async def test_a_server_without_bitcoin_begins_with_what_it_has() -> None:
    world = World()
    world.venue.markets = {ETH: world.venue.markets[ETH]}
    async with world.life() as system:
        assert system.book.current.strategy.symbol == ETH
        assert result(await world.call("config.summary"))["config_valid"]
        patch = {"strategy": {"symbol": "ETH/USDT", "timeframe": "5m"}}
        assert (await world.call("config.update", patch=patch)).ok


# --- the file -------------------------------------------------------------------------------------


async def test_the_file_makes_the_first_version_and_is_applied_again_on_reload(
    tmp_path: Path,
) -> None:
    file = toml(
        tmp_path / "c.toml",
        '[risk]\nmax_leverage = "2"\n[risk.profiles.moderate]\nmax_leverage = "1.5"\n'
        '[strategy]\ntimeframe = "5m"\n',
    )
    world = World(config={"path": str(file)})
    async with world.life() as system:
        assert system.book.version == 1
        assert system.desk.engine.limits.max_leverage == Decimal(2)
        assert system.book.limits_for("moderate").max_leverage == Decimal("1.5")
        assert system.book.limits_for("aggressive").max_leverage == Decimal(2)
        same = result(await world.call("config.reload"))
        await world.call("config.update", patch={"strategy": {"ema_length": 30}})
        toml(file, '[strategy]\ntimeframe = "15m"\n')
        new = result(await world.call("config.reload"))

        assert (same["changed"], same["message"]) == (False, "nothing has changed")
        assert (new["version"], new["config_valid"]) == (3, True)
        assert new["changes"] == [{"path": "strategy.timeframe", "old": "5m", "new": "15m"}]
        assert system.book.current.strategy.ema_length == 30
        assert result(await world.call("config.summary"))["config_file"] == str(file)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[strategy\n", "broken"),
        ('[strategy]\ntimeframe = "2h"\n', "must be one of"),
        ("[strategy]\nx = 1\n", "no key"),
        ("x = '" + "x" * 1_000_000 + "'", "larger"),
        (None, "cannot be read"),
    ],
    ids=["syntax", "value", "key", "size", "gone"],
)
async def test_a_broken_file_keeps_what_is_in_force_and_raises_an_alarm(
    tmp_path: Path, text: str | None, error: str
) -> None:
    file = toml(tmp_path / "c.toml", '[strategy]\ntimeframe = "5m"\n')
    world = World(tmp_path / "j.db", config={"path": str(file)})
    async with world.life() as system:
        if text is None:
            file.unlink()
        else:
            toml(file, text)
        reply = result(await world.call("config.reload"))
        alerts = result(await world.call("alert.list"))["alerts"]

        assert (reply["config_valid"], reply["changed"], reply["version"]) == (False, False, 1)
        assert error in reply["validation_errors"][0]["message"]
        assert system.book.current.strategy.timeframe == "5m"
        assert (alerts[0]["code"], alerts[0]["level"]) == ("config_file", "error")
        assert not result(await world.call("config.summary"))["config_valid"]
    again = World(tmp_path / "j.db", config={"path": str(file)})
    async with again.life() as system:
        alerts = result(await again.call("alert.list"))["alerts"]

        assert system.book.current.strategy.timeframe == "5m"
        assert (alerts[0]["code"], alerts[0]["level"]) == ("config_file", "critical")
    fresh = World(config={"path": str(file)})
    with pytest.RaisesGroup(pytest.RaisesExc(RefusedStart, match=r"c\.toml")):
        async with fresh.life():
            pass


async def test_json_is_read_by_its_suffix(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(orjson.dumps({"trading_window": {"start_hour": 3}}))
    world = World(config={"path": str(file)})
    async with world.life() as system:
        assert system.book.current.trading_window.start_hour == 3
        file.write_bytes(b"[]")
        reply = result(await world.call("config.reload"))

        assert "object of sections" in reply["validation_errors"][0]["message"]


async def test_without_a_file_there_is_nothing_to_reload() -> None:
    world = World()
    async with world.life():
        assert (await world.call("config.reload")).code is Code.NOT_FOUND


def test_settings_and_sections_share_a_file(tmp_path: Path) -> None:
    file = toml(
        tmp_path / "realtime.toml",
        '[server]\nport = 1\n[risk]\ntimezone = "Europe/Berlin"\nmax_leverage = "2"\n'
        '[strategies]\npath = "mine"\n[strategies.rsi]\nweight = 0.5\n[trading_window]\nstart_hour = 8\n',
    )
    read = load(file)

    assert (read.server.port, read.risk.timezone) == (1, "Europe/Berlin")
    assert (read.strategies.path, read.config.path) == ("mine", str(file))
    assert load(tmp_path / "none.toml").config.path == ""


# --- the trading day ------------------------------------------------------------------------------


async def test_another_zone_names_the_day_and_begins_none_twice() -> None:
    world = World()  # noon or so, UTC
    async with world.life() as system:
        day = system.desk.engine.day.day
        await world.call("config.update", patch={"timezone": "Pacific/Kiritimati"})
        system.routine.tick(system.clock.now())
        ahead = result(await world.call("risk.daily_pnl"))
        await world.call("config.update", patch={"timezone": "Pacific/Pago_Pago"})
        system.routine.tick(system.clock.now())
        back = result(await world.call("risk.daily_pnl"))

        assert ahead["day"] > day
        assert ahead["tz"] == "Pacific/Kiritimati"
        assert back["day"] == ahead["day"]
