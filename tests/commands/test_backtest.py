"""Ops of backtests through a whole system: real workers, a virtual clock for everything else."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.app import System
from realtime.bots.series import Series
from realtime.engine.bars import TIMEFRAMES
from realtime.model.errors import Code, VenueUnknown
from realtime.model.market import MS, Bar
from tests.bots.reference import MINUTE, synthetic
from tests.conftest import virtual_loop
from tests.fakes import BTC, ScriptedVenue, World, no_room


START = 1_780_000_000_000 // 60_000 * 60_000
"""A minute, ms."""
FOR_EVER = "while True: pass"


def odd(name: str, body: str) -> str:
    """The file of a strategy that does something it should not."""
    return f"""
from typing import ClassVar
from realtime.bots.strategy import Strategy, StrategyParams

class Odd(Strategy):
    id: ClassVar[str] = "{name}"
    summary: ClassVar[str] = "for tests"
    @property
    def warmup(self):
        return 1
    def on_ohlcv(self, bar):
        {body}
"""


class Past(ScriptedVenue):
    """An exchange with a past: a random walk, with a hole of three minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = 0
        self.silent = False

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        self.pages += 1
        if self.silent:
            raise VenueUnknown("no answer")
        length = TIMEFRAMES[timeframe]
        assert since is not None
        assert since % length == 0
        walk = synthetic(1, 2_000)
        first = START * MS
        made = [
            Bar(first + i * length, *(str(c[i]) for c in walk.columns))
            for i in range(2_000)
            if not 500 <= i < 503
        ]
        return [bar for bar in made if bar.ts >= since][:limit]


@asynccontextmanager
async def life(world: World) -> AsyncIterator[System]:
    async with world.life() as system:

        def busy() -> bool:
            return system.jobs.busy

        virtual_loop().outside.append(busy)
        try:
            yield system
        finally:
            await system.jobs.close()
            virtual_loop().outside.remove(busy)


def world_of(path: Path | None = None, **settings: Any) -> World:
    world = World(path / "realtime.db" if path is not None else None, **settings)
    world.venue = Past()
    return world


def arrays(bars: Series) -> dict[str, Any]:
    columns = dict(
        zip(("open", "high", "low", "close", "volume"), map(list, bars.columns), strict=True)
    )
    return {"ts": [START + t // MS for t in bars.ts], **columns}


RUN: dict[str, Any] = {
    "strategy": "ema_crossover",
    "symbol": BTC,
    "timeframe": "1m",
    "data": arrays(synthetic(3, 600)),
}


async def result(world: World, op: str, **args: Any) -> dict[str, Any]:
    reply = await world.call(op, **args)
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


async def ended(world: World, backtest_id: str) -> dict[str, Any]:
    while True:
        row = await result(world, "backtest.get", backtest_id=backtest_id)
        if row["status"] not in {"queued", "running"}:
            return row
        await asyncio.sleep(0.05)


async def finished(world: World, op: str = "backtest.run", **args: Any) -> dict[str, Any]:
    return await ended(world, (await result(world, op, **args))["id"])


async def begun(system: System) -> None:
    """Wait until a worker is at work; the virtual clock stands while one is."""
    while not system.jobs.pids:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


async def test_filters_of_bots_are_named_by_the_request() -> None:
    world = world_of()
    async with life(world):
        # What is configured is for bots: the same request gives the same result.
        patch = {"strategy": {"volume_filter": True, "ema_length": 50}}
        await result(world, "config.update", patch=patch)
        rsi = RUN | {"strategy": "rsi"}
        bare = await finished(world, **rsi)
        named = {"trend_filter": True, "ema_length": 9}
        told = await finished(world, **rsi, filters=named)
        grid = {"rsi_period": [9, 20]}
        searched = await finished(world, "backtest.optimize", **rsi, param_grid=grid, filters=named)
        wrong = await world.call("backtest.run", **rsi, filters={"ema_length": 0})

        off = {"trend": False, "ema_length": 20, "volume": False, "volume_multiplier": 1.5}
        assert bare["filters"] == off
        assert told["filters"] == off | {"trend": True, "ema_length": 9}
        assert searched["status"] == "done", searched
        assert wrong.code is Code.INVALID
        trades = [row["results"]["metrics"]["total_trades"] for row in (bare, told)]
        assert trades[1] < trades[0]


# --- runs -----------------------------------------------------------------------------------------


async def test_a_backtest_is_run_shown_and_read_page_by_page() -> None:
    world = world_of()
    async with life(world) as system:
        reply = await world.call("backtest.run", **RUN)
        assert reply.result is not None
        first = dict(reply.result)
        row = await ended(world, str(first["id"]))
        trades = await result(world, "backtest.trades", backtest_id=row["id"], limit=3)
        rest = await result(
            world,
            "backtest.trades",
            backtest_id=row["id"],
            limit=1000,
            cursor=trades["next_cursor"],
        )
        curve = await result(world, "backtest.equity", backtest_id=row["id"])
        pages = [
            await result(
                world, "backtest.equity", backtest_id=row["id"], step=7, limit=50, cursor=c
            )
            for c in (None, "350")
        ]
        listed = await result(world, "backtest.list")
        events = await world.events("backtest_completed")

        assert first["status"] == "queued"
        assert first["id"] in system.hub.ids["backtest_id"]
        shown = orjson.loads(system.hub.snapshot(system.hub.channel(f"backtest:{row['id']}")))
        assert shown["data"]["results"] == row["results"]
        assert row["status"] == "done", row["error"]
        metrics = row["results"]["metrics"]
        whole = trades["trades"] + rest["trades"]
        assert [t["id"] for t in whole] == list(range(1, metrics["total_trades"] + 1))
        assert sum(t["pnl"] for t in whole) == pytest.approx(metrics["net_profit"])
        assert rest["next_cursor"] is None
        assert len(curve["equity"]) == 600
        assert curve["equity"][-1][1] == pytest.approx(10_000 + metrics["net_profit"])
        assert max(p[2] for p in curve["equity"]) == pytest.approx(metrics["max_drawdown"])
        assert pages[0]["next_cursor"] == "350"
        assert [p[:2] for p in pages[0]["equity"]] == [p[:2] for p in curve["equity"][:350:7]]
        assert pages[1]["equity"][0] == curve["equity"][350]
        assert pages[1]["next_cursor"] is None
        assert (row["start_ts"], row["end_ts"]) == (START, START + 600 * 60_000)
        assert [r["id"] for r in listed["backtests"]] == [row["id"]]
        assert events[0]["data"]["status"] == "done"


async def test_the_same_request_gives_the_same_bytes_and_the_same_id_the_same_job() -> None:
    world = world_of()
    async with life(world) as system:
        rows = [await finished(world, **RUN, request_id=f"r{n}") for n in (1, 2)]
        again = await result(world, "backtest.run", **RUN, request_id="r1")
        folder = system.jobs._directory / "results"
        kept = [
            [(folder / f"{r['id']}.{s}").read_bytes() for s in ("equity", "trades")] for r in rows
        ]
        compared = await result(world, "backtest.compare", ids=[r["id"] for r in rows])

        assert orjson.dumps(rows[0]["results"]) == orjson.dumps(rows[1]["results"])
        assert kept[0] == kept[1]
        assert again["id"] == rows[0]["id"]
        assert again["duplicate"] is True
        for values in compared["metrics"].values():
            assert len(set(values.values())) == 1


async def test_bars_of_the_venue_are_kept_and_holes_are_told(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    past = world.venue
    assert isinstance(past, Past)
    request = RUN | {"data": None, "start": START, "end": START + 1_500 * 60_000}
    request = {name: value for name, value in request.items() if value is not None}
    async with life(world):
        row = await finished(world, **request)
        asked = past.pages
        past.silent = True
        again = await finished(world, **request)
        other = await finished(world, **(request | {"timeframe": "5m", "end": START + 10**9}))

        assert row["status"] == "done", row["error"]
        assert row["results"]["gaps"]["count"] == 1
        assert row["results"]["gaps"]["missing_bars"] == 3
        assert row["results"]["gaps"]["first"][0]["from_ts"] == START + 500 * 60_000
        assert (row["start_ts"], row["end_ts"]) == (START, START + 1_500 * 60_000)
        assert past.pages == asked + 1
        assert again["results"] == row["results"]
        assert other["status"] == "failed"
        assert other["error"]["code"] == Code.OUTCOME_UNKNOWN


async def test_several_symbols_share_one_account() -> None:
    world = world_of()
    series = {name: arrays(synthetic(n, 300)) for n, name in enumerate(("A/USDT", "B/USDT"))}
    request = {name: RUN[name] for name in ("strategy", "timeframe")}
    async with life(world):
        row = await finished(world, **request, series=series)
        trades = (await result(world, "backtest.trades", backtest_id=row["id"]))["trades"]

        assert row["status"] == "done", row["error"]
        assert row["symbols"] == ["A/USDT", "B/USDT"]
        assert {trade["symbol"] for trade in trades} == {"A/USDT", "B/USDT"}


async def test_files_of_the_operator_are_read_and_their_faults_named(tmp_path: Path) -> None:
    bars = synthetic(2, 300)
    head = "timestamp,open,high,low,close,volume"
    rows = [
        f"{t // MS},{','.join(map(str, values))}"
        for t, *values in zip((t + START * MS for t in bars.ts), *bars.columns, strict=True)
    ]
    folder = tmp_path / "bars"
    folder.mkdir()
    (folder / "good.csv").write_text("\n".join([head, *rows]))
    (folder / "unsorted.csv").write_text("\n".join([head, *rows[:5], rows[3], *rows[6:]]))
    (tmp_path / "secret.csv").write_text("\n".join([head, *rows]))
    world = world_of(backtests={"data": str(folder)})
    async with life(world):
        good = await finished(world, **(RUN | {"data": {"file": "good.csv"}}))
        bad = await finished(world, **(RUN | {"data": {"file": "unsorted.csv"}}))
        outside = await finished(world, **(RUN | {"data": {"file": "../secret.csv"}}))

        assert good["status"] == "done", good["error"]
        assert good["results"]["metrics"]["bars"] == 300
        assert bad["error"]["code"] == Code.INVALID
        assert bad["error"]["details"]["index"] == 5
        assert "unsorted.csv.ts[5]" in bad["error"]["message"]
        assert outside["error"]["code"] == Code.NOT_FOUND


# --- what goes wrong ------------------------------------------------------------------------------


def spoiled(column: str, at: int, value: object) -> dict[str, Any]:
    data = {name: list(values) for name, values in RUN["data"].items()}
    data[column][at] = value
    return {"data": data}


WRONG: list[tuple[dict[str, Any], str]] = [
    (spoiled("ts", 17, 0), "data.ts[17]"),
    (spoiled("ts", 599, 10**15), "data.ts[599]"),
    (spoiled("ts", 0, -(10**15)), "data.ts[0]"),
    (spoiled("close", 3, -1.0), "data.close[3]"),
    (spoiled("open", 4, 0.0), "data.open[4]"),
    (spoiled("high", 5, 0.1), "data.high[5]"),
    (spoiled("low", 6, 10**6), "data.low[6]"),
    (spoiled("volume", 7, -1.0), "data.volume[7]"),
    ({"data": {"open": [], "high": [], "low": [], "close": []}}, "data"),
    ({"data": RUN["data"] | {"high": RUN["data"]["high"][1:]}}, "data.high"),
    ({"data": RUN["data"] | {"ts": [1]}}, "data.ts"),
    ({"data": {"close": [1.0, 2.0]}}, "data.open"),
    ({"data": RUN["data"] | {"file": "x.csv"}}, "data.file"),
    ({"symbols": [BTC]}, "data"),
    ({"data": None}, "start"),
    ({"data": None, "start": START, "end": START}, "end"),
    ({"data": None, "start": START, "end": START + 60_000}, "start"),
    ({"data": None, "start": 0, "end": START}, "start"),
    ({"data": None, "start": 2 * START}, "start"),
    ({"data": None, "symbol": None}, "symbol"),
    ({"data": None, "symbol": None, "symbols": [BTC, "btcusdt"]}, "symbols"),
    ({"parameters": {"fast_period": 0}}, "parameters.fast_period"),
    ({"parameters": {"fast": 3}}, "parameters.fast"),
    ({"parameters": {"fast_period": 30, "slow_period": 20}}, "parameters.slow_period"),
    ({"commission": 2}, "commission"),
    ({"initial_capital": 0}, "initial_capital"),
    ({"risk": {"max_position_size": 2}}, "risk.max_position_size"),
    ({"timeframe": "7m"}, "timeframe"),
]


async def test_what_is_no_backtest_is_refused_by_the_field() -> None:
    world = world_of()
    async with world.life() as system:
        for change, field in WRONG:
            args = {k: v for k, v in (RUN | change).items() if v is not None}
            reply = await world.call("backtest.run", **args)

            assert reply.code is Code.INVALID, (change, reply.error)
            assert reply.error is not None
            details = reply.error["details"]
            assert isinstance(details, dict)
            assert details["fields"][0]["field"] == field, reply.error
        unknown = await world.call("backtest.run", **(RUN | {"strategy": "ema"}))
        nowhere = [
            await world.call(op, backtest_id="bt-none")
            for op in (
                "backtest.get",
                "backtest.cancel",
                "backtest.delete",
                "backtest.trades",
                "backtest.equity",
            )
        ]
        cursor = await world.call("backtest.list", cursor="x")

        assert unknown.code is Code.NOT_FOUND
        assert {reply.code for reply in nowhere} == {Code.NOT_FOUND}
        assert cursor.code is Code.INVALID
        assert system.jobs.pids == []


async def test_strategies_that_fail_fail_alone(tmp_path: Path) -> None:
    bodies = {
        "raises": "raise ValueError('boom')",
        "nonsense": "return 'buy'",
        "leaves": "import os; os._exit(3)",
        "prints": "print('{}'); return 0.0",
    }
    folder = tmp_path / "strategies"
    folder.mkdir()
    for name, body in bodies.items():
        (folder / f"{name}.py").write_text(odd(name, body))
    world = world_of(strategies={"path": str(folder)}, backtests={"workers": 2})
    async with life(world) as system:
        started = {
            name: await result(world, "backtest.run", **(RUN | {"strategy": name}))
            for name in bodies
        }
        rows = {name: await ended(world, row["id"]) for name, row in started.items()}
        good = await finished(world, **RUN)

        assert {n: r["status"] for n, r in rows.items()} == {
            name: "done" if name == "prints" else "failed" for name in bodies
        }
        assert rows["raises"]["error"]["code"] == Code.INVALID
        assert rows["raises"]["error"]["details"]["index"] == 0
        assert "ValueError: boom" in rows["raises"]["error"]["message"]
        assert rows["nonsense"]["error"]["details"]["index"] == 0
        assert rows["leaves"]["error"]["code"] == Code.INTERNAL
        assert rows["leaves"]["error"]["details"] == {
            "what": "worker",
            "reason": "crash",
            "exit": 3,
        }
        assert good["status"] == "done"
        assert len(system.jobs.pids) <= 2


async def test_a_canceled_backtest_ends_its_worker_and_waits_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "loops.py").write_text(odd("loops", FOR_EVER))
    world = world_of(strategies={"path": str(tmp_path)}, backtests={"workers": 1})
    async with life(world) as system:
        row = await result(world, "backtest.run", **(RUN | {"strategy": "loops"}))
        await begun(system)
        waits = await result(world, "backtest.run", **RUN)
        pid = system.jobs.pids[0]
        conflict = await world.call("backtest.trades", backtest_id=row["id"])
        over = await result(world, "backtest.cancel", backtest_id=row["id"])
        again = await result(world, "backtest.cancel", backtest_id=row["id"])
        done = await ended(world, waits["id"])

        assert conflict.code is Code.CONFLICT
        assert over["status"] == again["status"] == "canceled"
        assert done["status"] == "done"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# --- kept -----------------------------------------------------------------------------------------


async def test_what_comes_behind_a_deleted_backtest_waits_for_nothing() -> None:
    """Symptom: `bot.stop` took ten seconds and said that the journal could not be written, which it had been."""
    world = world_of()
    async with life(world):
        done = await finished(world, **RUN)
        await result(world, "backtest.delete", backtest_id=done["id"])
        stopped = await world.call("bot.stop")

        assert stopped.ok, stopped.error


async def test_results_outlive_a_restart_and_what_ran_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loops.py").write_text(odd("loops", FOR_EVER))
    world = world_of(tmp_path, strategies={"path": str(tmp_path)})
    async with life(world) as system:
        done = await finished(world, **RUN)
        gone = await finished(world, **RUN)
        await result(world, "backtest.delete", backtest_id=gone["id"])
        running = await result(world, "backtest.run", **(RUN | {"strategy": "loops"}))
        await begun(system)
        kept = await result(world, "backtest.trades", backtest_id=done["id"])
        bars = tmp_path / "backtests" / "work" / running["id"]
        assert list(bars.iterdir())
    assert system.jobs._sweeping is not None
    await system.jobs._sweeping
    bars.mkdir()  # as a killed server leaves it
    (bars / "given.bars").touch()
    async with life(world):
        assert not bars.exists()
        listed = (await result(world, "backtest.list", limit=1))["backtests"]
        rest = await result(world, "backtest.list", cursor=listed[0]["id"])
        again = await result(world, "backtest.trades", backtest_id=done["id"])
        forgotten = await world.call("backtest.get", backtest_id=gone["id"])

        assert listed[0]["id"] == running["id"]
        assert listed[0]["status"] == "interrupted"
        assert rest["backtests"] == [done]
        assert again == kept
        # Found by a drive: five searches with all their tables were 1.2 MB in one answer.
        monkeypatch.setattr("realtime.commands.pages.MOST_BYTES", len(orjson.dumps(done)))
        short = await result(world, "backtest.list")
        assert short["backtests"] == listed
        assert await result(world, "backtest.list", cursor=short["next_cursor"]) == rest
        assert forgotten.code is Code.NOT_FOUND


async def test_a_backtest_whose_rows_find_no_room_ends_no_server() -> None:
    """Symptom: behind a disk that took nothing for long, a backtest that began or ended was the end of all."""
    world = world_of()
    async with life(world) as system:
        with no_room(system.store, safety=True):
            reply = await world.call("backtest.run", **RUN)
            (row,) = (await result(world, "backtest.list"))["backtests"]
            done = await ended(world, row["id"])

        assert reply.code is Code.INTERNAL
        assert done["status"] == "done"


async def test_a_backtest_is_deleted_whole_or_not_at_all() -> None:
    """Symptom: refused as not done on a full disk, it was not found any more, and back after a restart."""
    world = world_of()
    async with life(world) as system:
        done = await finished(world, **RUN)
        with no_room(system.store):
            refused = await world.call("backtest.delete", backtest_id=done["id"])
        still = await result(world, "backtest.get", backtest_id=done["id"])
        trades = await world.call("backtest.trades", backtest_id=done["id"])

        assert refused.code is Code.BUSY
        assert still == done
        assert trades.ok


# --- searches -------------------------------------------------------------------------------------


async def test_a_search_puts_out_of_sample_beside_in_sample() -> None:
    world = world_of()
    search = RUN | {
        "param_grid": {"fast_period": [3, 5, 8, 30], "slow_period": [10, 20]},
        "constraints": ["fast_period < 30"],
        "objective": "net_profit",
        "folds": 2,
        "top": 4,
    }
    async with life(world):
        row = await finished(world, "backtest.optimize", **search)
        again = await finished(world, "backtest.optimize", **search)
        curve = await world.call("backtest.equity", backtest_id=row["id"])
        compared = await world.call("backtest.compare", ids=[row["id"]])

        results = row["results"]
        assert row["status"] == "done", row["error"]
        assert results["tried"] == 6
        assert results["skipped"] == {"constraint": 2}
        assert len(results["ranking"]) == 4
        assert len(results["folds"]) == len(results["windows"]) == 2
        objectives = [one["in_sample_objective"] for one in results["ranking"]]
        assert objectives == sorted(objectives, reverse=True)
        for one in results["ranking"]:
            assert set(one["in_sample"]) == set(one["out_of_sample"])
        assert orjson.dumps(again["results"]) == orjson.dumps(results)
        assert curve.code is compared.code is Code.CONFLICT


async def test_a_search_draws_from_ranges_and_counts_what_the_strategy_refuses() -> None:
    world = world_of()
    search = RUN | {
        "ranges": {"fast_period": {"min": 1, "max": 50}, "slow_period": {"min": 1, "max": 50}},
        "max_evals": 8,
        "seed": 5,
    }
    async with life(world):
        row = await finished(world, "backtest.optimize", **search)
        none = await finished(
            world, "backtest.optimize", **(RUN | {"param_grid": {"fast_period": [60, 70]}})
        )

        results = row["results"]
        assert results["tried"] + results["skipped"].get("parameters", 0) == 8
        assert results["skipped"]["parameters"] > 0
        assert none["status"] == "failed"
        assert none["error"]["details"]["skipped"] == {"parameters": 2}


SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({}, "param_grid"),
    ({"param_grid": {"fast": [1]}}, "param_grid.fast"),
    ({"param_grid": {"fast_period": []}}, "param_grid.fast_period"),
    ({"param_grid": {"fast_period": [1]}, "constraints": ["x"]}, "constraints.0"),
    ({"param_grid": {"fast_period": [1]}, "constraints": ["1 > 2"]}, "constraints"),
    ({"ranges": {"fast_period": {"min": 2, "max": 1}}}, "ranges.fast_period"),
    ({"param_grid": {"fast_period": [1]}, "max_evals": 20_000}, "max_evals"),
    ({"param_grid": {"fast_period": [1]}, "objective": "luck"}, "objective"),
    (
        {
            "param_grid": {"fast_period": [1]},
            "data": None,
            "symbol": None,
            "series": {"A": RUN["data"], "B": RUN["data"]},
        },
        "symbols",
    ),
]


async def test_what_is_no_search_is_refused_by_the_field() -> None:
    world = world_of()
    async with world.life():
        for change, field in SEARCHES:
            args = {k: v for k, v in (RUN | change).items() if v is not None}
            reply = await world.call("backtest.optimize", **args)

            assert reply.code is Code.INVALID, (change, reply.error)
            assert reply.error is not None
            details = reply.error["details"]
            assert isinstance(details, dict)
            assert details["fields"][0]["field"] == field


async def test_strategies_are_listed_with_their_schemas() -> None:
    world = world_of()
    async with world.life():
        listed = (await result(world, "backtest.strategies"))["strategies"]

        known = {one["id"]: one for one in listed}
        assert {"ema_crossover", "rsi", "fvg", "sample"} <= set(known)
        assert known["ema_crossover"]["parameters"]["properties"]["fast_period"]["maximum"] == 50


def test_a_bar_is_a_minute() -> None:
    assert TIMEFRAMES["1m"] == MINUTE
