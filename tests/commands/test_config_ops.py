"""Ops of the configuration and of the trading window, through the registry of a whole system."""

from typing import Any

import pytest

from realtime.desk.codec import dumps
from realtime.model.errors import Code
from realtime.model.principal import ROLES, Principal
from tests.fakes import World


VIEWER = Principal(subject="vera", scopes=ROLES["viewer"])


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


async def test_sections_are_read_one_by_one_and_all_together() -> None:
    world = World()
    async with world.life():
        whole = result(await world.call("config.get"))["config"]
        one = result(await world.call("config.get", section="probability"))["config"]
        typo = await world.call("config.get", section="probabilty")
        lost = await world.call("config.get", section="zzz")

        assert list(whole) == [
            "strategy",
            "strategies",
            "probability",
            "risk",
            "trading_window",
            "market_checks",
            "portfolio",
            "bots",
            "notifications",
            "alerts",
            "timezone",
        ]
        assert one == {"probability": whole["probability"]}
        assert typo.code is lost.code is Code.NOT_FOUND
        assert "did you mean probability" in str(typo.error)
        assert "there are strategy" in str(lost.error)


async def test_the_summary_has_the_main_figures() -> None:
    world = World()
    async with world.life():
        await world.call("config.update", patch={"risk": {"max_position_size": "0.2"}})
        summary = result(await world.call("config.summary"))

        assert summary == {
            "version": 2,
            "config_file": None,
            "config_valid": True,
            "validation_errors": [],
            "enabled_strategies": ["ema_crossover", "rsi", "fvg"],
            "total_strategy_count": 4,
            "risk_management": {
                "max_position_size": 0.2,
                "min_signal_confidence": 0.6,
                "probability_weight": 0.5,
            },
            "probability_framework": {
                "combination_method": "weighted_average",
                "dynamic_weights_enabled": True,
                "risk_threshold": 0.8,
            },
        }


# --- strategies -----------------------------------------------------------------------------------


async def test_strategies_are_shown_with_weights_that_sum_to_one() -> None:
    world = World()
    async with world.life():
        fvg = {"weight": 0.205}
        result(await world.call("config.strategy.set", name="fvg", params=fvg))
        told = result(await world.call("config.strategies"))
        weights = {
            r["strategy_name"]: r["weight"] for r in told["strategy_weights"] if r["enabled"]
        }

        assert (told["total_strategies"], told["enabled_strategies"]) == (4, 3)
        assert sum(weights.values()) == pytest.approx(1)
        assert weights["fvg"] == pytest.approx(0.205 / 1.005)
        assert told["strategy_weights"][3] == {
            "strategy_name": "sample",
            "weight": 0.0,
            "min_confidence": 0.3,
            "enabled": False,
        }


async def test_parameters_of_a_strategy_are_those_it_runs_with() -> None:
    world = World()
    async with world.life():
        await world.call("config.update", patch={"strategy": {"ema_fast": 10}})
        base = result(await world.call("config.strategy.get", name="ema_crossover"))
        done = result(
            await world.call(
                "config.strategy.set",
                name="ema_crossover",
                params={"fast_period": 8, "min_confidence": 0.7},
                version=2,
            )
        )
        unset = result(await world.call("config.strategy.get", name="momentum"))
        (event,) = await world.events("strategy_changed")
        typo = await world.call("config.strategy.get", name="ema_crosover")
        wrong = await world.call("config.strategy.set", name="zzz", params={"weight": 1})

        assert base["parameters"]["fast_period"] == 10
        assert (done["parameters"]["fast_period"], done["parameters"]["min_confidence"]) == (8, 0.7)
        assert done["version"] == 3
        assert event["data"]["changes"] == [
            {"path": "strategies.ema_crossover.fast_period", "old": None, "new": 8},
            {"path": "strategies.ema_crossover.min_confidence", "old": 0.6, "new": 0.7},
        ]
        assert "weight" not in unset["parameters"]
        assert typo.code is wrong.code is Code.NOT_FOUND
        assert "did you mean ema_crossover" in str(typo.error)


async def test_the_others_make_room_for_a_weight() -> None:
    world = World()
    async with world.life():
        call = world.call
        half = result(await call("config.strategy.set_weight", name="rsi", weight=0.5, version=1))
        alone = result(await call("config.strategy.set_weight", name="rsi", weight=1))
        equal = result(await call("config.strategy.set_weight", name="rsi", weight=0.5))
        off = result(await call("config.strategy.set_weight", name="sample", weight=0.3))
        exact = await call("config.strategy.set_weight", name="rsi", weight=0.6, renormalize=False)
        near = await call("config.strategy.set_weight", name="rsi", weight=0.505, renormalize=False)
        stale = await call("config.strategy.set_weight", name="rsi", weight=0.5, version=1)

        assert half["weights"]["ema_crossover"] == pytest.approx(0.5 * 0.45 / 0.65)
        assert half["weights"]["fvg"] == pytest.approx(0.5 * 0.2 / 0.65)
        assert alone["weights"] == {"ema_crossover": 0.0, "rsi": 1.0, "fvg": 0.0}
        assert equal["weights"] == {"ema_crossover": 0.25, "rsi": 0.5, "fvg": 0.25}
        assert [change["path"] for change in off["changes"]] == ["strategies.sample.weight"]
        assert exact.code is Code.INVALID
        assert near.ok
        assert stale.code is Code.CONFLICT


async def test_a_strategy_alone_has_all_the_weight() -> None:
    world = World()
    async with world.life():
        patch = {
            "strategies": {
                "ema_crossover": {"enabled": False},
                "fvg": {"enabled": False},
                "rsi": {"weight": 1},
            }
        }
        result(await world.call("config.update", patch=patch))
        less = await world.call("config.strategy.set_weight", name="rsi", weight=0.5)

        assert less.code is Code.INVALID
        assert "sum to 0.5" in str(less.error)


async def test_thresholds_of_signals_and_of_the_gate_are_set_together() -> None:
    world = World()
    async with world.life():
        patch = {"confidence_threshold_buy": 0.8, "min_signal_confidence": "0.65"}
        done = result(await world.call("config.probability.set", patch=patch, version=1))
        read = result(await world.call("config.probability.get"))
        limits = result(await world.call("risk.params.get"))
        only = result(
            await world.call("config.probability.set", patch={"probability_weight": "0.4"})
        )

        assert done["probability_settings"]["confidence_threshold_buy"] == 0.8
        assert read["risk_config"] == {"min_signal_confidence": 0.65, "probability_weight": 0.5}
        assert read["probability_settings"] == done["probability_settings"]
        assert limits["min_signal_confidence"] == "0.65"
        assert only["changes"] == [{"path": "risk.probability_weight", "old": "0.5", "new": "0.4"}]


async def test_the_schema_names_every_key_that_can_be_set() -> None:
    world = World()
    async with world.life():
        schema = result(await world.call("config.schema"))["schema"]
        whole = result(await world.call("config.get"))["config"]

        assert [*schema["properties"], "bots"].sort() == [*whole].sort()
        assert set(schema["properties"]["risk"]["properties"]) == set(whole["risk"])
        limits = schema["properties"]["risk"]["properties"]
        assert limits["max_leverage"] == {
            "type": ["string", "number", "null"],
            "format": "decimal",
            "minimum": 1.0,
            "description": "gross exposure by equity",
        }
        assert limits["max_open_positions"]["type"] == ["integer", "null"]
        assert limits["max_position_size"]["exclusiveMinimum"] == 0
        assert limits["max_position_size"]["maximum"] == 1
        assert limits["self_trade"]["type"] == "boolean"
        assert limits["on_breach"]["enum"] == ["reducing", "halted", "flatten"]
        assert limits["allowed_symbols"]["type"] == ["array", "null"]


async def test_a_viewer_reads_and_does_not_change() -> None:
    world = World()
    async with world.life():
        seen = await world.call("config.summary", who=VIEWER)
        changes: list[tuple[str, dict[str, Any]]] = [
            ("config.update", {"patch": {"timezone": "UTC"}}),
            ("config.reload", {}),
            ("config.rollback", {"version": 1}),
            ("trading_window.set", {"patch": {"start_hour": 1}}),
        ]
        for op, args in changes:
            reply = await world.call(op, who=VIEWER, **args)
            assert reply.code is Code.FORBIDDEN

        assert seen.ok


async def test_going_back_asks_where_a_policy_says_so() -> None:
    world = World(confirm=[{"op": "config.rollback"}])
    async with world.life():
        await world.call("config.update", patch={"timezone": "Europe/Berlin"})
        asked = await world.call("config.rollback", version=1)

        assert asked.code is Code.CONFIRM_REQUIRED
        assert asked.error is not None
        details = asked.error["details"]
        assert isinstance(details, dict)
        assert details["effect"] == {"version": 2, "rollback_to": 1}


# --- trading window -------------------------------------------------------------------------------


async def test_the_window_is_told_as_configured_and_as_it_stands() -> None:
    world = World()  # a Monday
    async with world.life() as system:
        done = result(
            await world.call(
                "trading_window.set",
                patch={
                    "timezone": "Europe/Berlin",
                    "windows": [{"start": "22:00", "end": "06:00"}],
                    "max_trades_per_day": 3,
                },
            )
        )
        read = result(await world.call("trading_window.get"))
        same = result(await world.call("trading_window.set", patch={"max_trades_per_day": 3}))
        wrong = await world.call("trading_window.set", patch={"max_trades_per_day": 0})
        nobody = await world.call("trading_window.get", bot_id="nobody")
        schedule = system.book.current.schedule()

        assert done["changed"]
        assert read["config"]["windows"][0]["days"] == [
            "mon",
            "tue",
            "wed",
            "thu",
            "fri",
            "sat",
            "sun",
        ]
        assert read["state"]["trading_hours"] == "22:00 - 6:00"
        assert read["state"]["max_trades_per_day"] == 3
        assert read["state"]["remaining_trades"] is None
        assert read["state"]["within_window"] == schedule.open(system.clock.now())
        assert read["state"]["next_open_ts"] > system.clock.ms()
        assert (same["changed"], same["version"]) == (False, 2)
        assert wrong.code is Code.INVALID
        assert "trading_window.max_trades_per_day" in str(wrong.error)
        assert nobody.code is Code.NOT_FOUND


async def test_a_bot_has_hours_and_a_count_of_its_own() -> None:
    world = World()
    async with world.life():
        base = {"cooldown_minutes": 5, "max_trades_per_day": 3}
        await world.call("trading_window.set", patch=base)
        before = result(await world.call("trading_window.get", bot_id="main"))
        own = {"start_hour": 9, "end_hour": 17}
        version = before["version"]
        done = result(
            await world.call("trading_window.set", bot_id="main", patch=own, version=version)
        )
        same = result(await world.call("trading_window.set", bot_id="main", patch=own))
        stale = await world.call(
            "trading_window.set", bot_id="main", patch={"start_hour": 1}, version=version
        )
        wrong = await world.call("trading_window.set", bot_id="main", patch={"start_hour": 24})
        gone = result(
            await world.call("trading_window.set", bot_id="main", patch={"end_hour": None})
        )
        everybody = result(await world.call("trading_window.get"))

        assert (before["own"], before["state"]["remaining_trades"]) == ({}, 3)
        assert done["own"] == own
        assert done["state"]["trading_hours"] == "9:00 - 17:00"
        assert done["config"]["cooldown_minutes"] == 5
        assert done["version"] == version + 1
        assert done["changes"][0] == {"path": "trading_window.end_hour", "old": None, "new": 17}
        assert (same["changed"], same["version"]) == (False, version + 1)
        assert stale.code is Code.CONFLICT
        assert wrong.code is Code.INVALID
        assert "window.start_hour" in str(wrong.error)
        assert gone["own"] == {"start_hour": 9}
        assert everybody["state"]["trading_hours"] == "0:00 - 24:00"


async def test_the_channel_has_what_is_in_force_and_what_changed() -> None:
    world = World()
    async with world.life() as system:
        first = system.hub.position("config")
        reply = await world.call("config.update", patch={"timezone": "Europe/Berlin"})
        last = system.hub.position("config")

        assert first is not None
        assert last is not None
        assert reply.at is not None
        assert reply.at["config"] == last
        assert last["seq"] == first["seq"] + 1  # type: ignore[operator]


async def test_a_page_of_versions_fits_into_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a drive: 1,000 versions with 18 changes each were 1.09 MB, and clients take 1 MiB."""
    world = World()
    async with world.life():
        for number in range(10):
            changed = await world.call(
                "config.update", patch={"risk": {"order_burst": 30 + number}}
            )
            assert changed.ok
        whole = result(await world.call("config.history"))
        assert whole["next_cursor"] is None
        assert [row["version"] for row in whole["versions"]] == list(range(11, 0, -1))

        async def paged(**args: Any) -> list[Any]:
            found: list[Any] = []
            cursor: dict[str, Any] = {}
            while not found or cursor["cursor"] is not None:
                page = result(await world.call("config.history", **args, **cursor))
                assert 0 < len(page["versions"]) < 11
                found += page["versions"]
                cursor = {"cursor": page["next_cursor"]}
                # What comes meanwhile shifts nothing.
                await world.call("config.update", patch={"risk": {"order_burst": 50 + len(found)}})
            return found

        by_four = await paged(limit=4)
        monkeypatch.setattr(
            "realtime.commands.pages.MOST_BYTES", len(dumps(whole["versions"])) // 3
        )
        by_size = await paged(limit=1000)
        wrong = await world.call("config.history", cursor="x")

    assert by_four == whole["versions"]
    assert by_size[-11:] == whole["versions"]
    assert wrong.code is Code.INVALID
