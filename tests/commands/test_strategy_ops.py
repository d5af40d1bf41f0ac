"""Ops of strategies, over a whole system with an operator's folder."""

import math
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from realtime.bots.loading import Strategies
from realtime.bots.strategy import signal
from realtime.commands.indicator import Bars
from realtime.commands.params import ChangeParams
from realtime.commands.registry import Call
from realtime.commands.strategy import ANALYSES, AnalyzeParams, StrategyOps
from realtime.desk.config.book import ConfigBook
from realtime.model.errors import Code, Refused
from realtime.model.principal import ROLES, Principal
from realtime.model.signals import Ohlcv
from tests.charting import ChartVenue
from tests.fakes import BTC, LOCAL, World, until


CLOSES = [round(100 + 5 * math.sin(place / 3), 2) for place in range(120)]
READER = Principal(subject="rita", scopes=ROLES["viewer"])
MINE = """
    from realtime.bots.strategy import Strategy, StrategyParams


    class Params(StrategyParams):
        step: int = 1


    class Mine(Strategy):
        id = "mine"
        summary = "Raises at its third bar"
        Params = Params
        warmup = 1
        seen = 0

        def on_ohlcv(self, bar):
            self.seen += self.params.step
            if self.seen == 3:
                raise ValueError("three")
            return 1.0
"""


def world(folder: Path | None = None) -> World:
    made = World(strategies={"path": "" if folder is None else str(folder)})
    made.venue = ChartVenue(CLOSES)
    return made


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(dedent(text))


async def test_strategies_are_listed_with_what_is_broken_beside_them(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", MINE)
    write(tmp_path, "broken.py", "1 / 0")
    life = world(tmp_path)
    async with life.life():
        found = result(await life.call("strategy.list"))
        rows = {row["id"]: row for row in found["strategies"]}

        assert list(rows) == [
            "ema_crossover",
            "rsi",
            "fvg",
            "sample",
            "donchian",
            "momentum",
            "mine",
        ]
        assert found["failed"] == [
            {"file": "broken.py", "error": "ZeroDivisionError: division by zero (line 1)"}
        ]
        ema = rows["ema_crossover"]
        assert (ema["enabled"], ema["weight"], ema["min_confidence"]) == (True, 0.45, 0.6)
        assert (ema["source"], ema["warmup"]) == ("built-in", 28)
        assert ema["parameters"]["properties"]["fast_period"]["maximum"] == 50
        assert (rows["mine"]["source"], rows["mine"]["enabled"]) == ("mine.py", False)


async def test_one_strategy_has_the_parameters_it_would_run_with() -> None:
    life = world()
    async with life.life():
        before = result(await life.call("strategy.get", name="rsi"))
        patch = {"strategy": {"rsi_period": 9}, "strategies": {"rsi": {"oversold": 20.0}}}
        result(await life.call("config.update", patch=patch))
        after = result(await life.call("strategy.get", name="rsi"))
        nobody = await life.call("strategy.get", name="rsii")

        assert before["effective"]["rsi_period"] == 14
        assert (after["effective"]["rsi_period"], after["effective"]["oversold"]) == (9, 20)
        assert after["error"] is None
        assert (nobody.code, "did you mean rsi" in str(nobody.error)) == (Code.NOT_FOUND, True)


async def test_schemas_of_parameters_are_told_by_strategy() -> None:
    life = world()
    async with life.life():
        one = result(await life.call("strategy.schema", name="fvg"))["schemas"]
        every = result(await life.call("strategy.schema"))["schemas"]

        lookback = one["fvg"]["properties"]["lookback"]
        assert (lookback["minimum"], lookback["maximum"], lookback["default"]) == (1, 10, 3)
        assert len(every) == 6
        assert (await life.call("strategy.schema", name="x")).code is Code.NOT_FOUND


async def test_strategies_in_use_are_analyzed_each_and_together() -> None:
    life = world()
    async with life.life():
        found = result(await life.call("strategy.analyze", symbol="btc-usdt", timeframe="1m"))

        table, expected = Strategies(), {}
        for name in ("ema_crossover", "rsi", "fvg"):
            one = table.make(name)
            told = 0.0
            before = CLOSES[19]
            for ts, close in enumerate(CLOSES[20:]):
                top, bottom = max(before, close) + 1, min(before, close) - 1
                told = one.on_ohlcv(Ohlcv(ts, before, top, bottom, close, 3.0))  # type: ignore[assignment]
                before = close
            expected[name] = signal(one, told)
        assert (found["symbol"], found["timeframe"], found["bars"]) == (BTC, "1m", 100)
        assert found["current_price"] == "64000"
        assert set(found["individual_signals"]) == set(expected)
        for name, row in found["individual_signals"].items():
            assert row["action"] == expected[name].action
            assert row["confidence"] == pytest.approx(expected[name].confidence)
            assert row["metadata"]["probability_buy"] == pytest.approx(
                expected[name].probabilities.buy
            )
        combined = found["combined_signal"]
        assert sum(combined["probabilities"].values()) == pytest.approx(1)
        assert combined["metadata"]["combination_method"] == "weighted_average"
        assert (found["strategies_analyzed"], found["valid_signals"]) == (3, 3)
        assert found["portfolio_summary"]["total_value"]
        assert found["recommendations"]


async def test_a_strategy_that_raises_is_its_own_entry(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", MINE)
    life = world(tmp_path)
    async with life.life():
        found = result(
            await life.call("strategy.analyze", symbol=BTC, strategies={"rsi": {}, "mine": {}})
        )
        skipping = result(
            await life.call("strategy.analyze", symbol=BTC, strategies={"mine": {"step": 2}})
        )

        assert found["individual_signals"]["mine"] == {
            "error": "strategy mine raised ValueError: three",
            "action": "hold",
            "confidence": 0,
        }
        assert (found["strategies_analyzed"], found["valid_signals"]) == (2, 1)
        assert "mine failed" in found["recommendations"][-1]
        assert skipping["individual_signals"]["mine"]["action"] == "buy"
        assert skipping["combined_signal"]["action"] == "buy"
        assert skipping["recommendations"][0].startswith("buy: confidence 0.99")


async def test_ones_own_bars_are_analyzed_without_times_too() -> None:
    life = world()
    async with life.life():
        rising = [
            {"open": 10 + x, "high": 11 + x, "low": 10 + x, "close": 11 + x} for x in range(20)
        ]
        found = result(
            await life.call("strategy.analyze", symbol=BTC, data=rising, strategies={"rsi": {}})
        )
        few = result(
            await life.call("strategy.analyze", symbol=BTC, data=rising[:5], strategies={"rsi": {}})
        )
        none = result(
            await life.call("strategy.analyze", symbol=BTC, data=[], strategies={"rsi": {}})
        )

        assert found["current_price"] == "30"
        assert found["individual_signals"]["rsi"]["action"] == "sell"
        assert few["individual_signals"]["rsi"]["action"] == "hold"
        assert "rsi needs 15 bars, there are 5" in few["recommendations"]
        assert none["individual_signals"]["rsi"]["error"] == "there are no bars"
        assert none["current_price"] is None


async def test_filters_of_the_configuration_hold_signals_back() -> None:
    life = world()
    async with life.life():
        result(await life.call("config.update", patch={"strategy": {"trend_filter": True}}))
        falling = [
            {"open": 60 - x, "high": 60 - x, "low": 59 - x, "close": 59 - x} for x in range(20)
        ]
        found = result(
            await life.call("strategy.analyze", symbol=BTC, data=falling, strategies={"rsi": {}})
        )

        row = found["individual_signals"]["rsi"]
        assert (row["action"], row["metadata"]["conviction"]) == ("hold", 0)
        assert row["metadata"]["reason"].startswith("trend_filter: close 40 is below")


@pytest.mark.parametrize(
    ("thresholds", "advice"),
    [
        ({"confidence_threshold_sell": 1.0}, "hold: sell with confidence 0.999 is below 1"),
        ({"risk_score_threshold": 0.0}, "hold: sell, but risk score 0.002 is above 0"),
    ],
    ids=["unsure", "risky"],
)
async def test_advice_names_what_a_signal_does_not_reach(
    thresholds: dict[str, float], advice: str
) -> None:
    life = world()
    async with life.life():
        result(await life.call("config.update", patch={"probability": thresholds}))
        rising = [
            {"open": 10 + x, "high": 11 + x, "low": 10 + x, "close": 11 + x} for x in range(20)
        ]
        found = result(
            await life.call("strategy.analyze", symbol=BTC, data=rising, strategies={"rsi": {}})
        )

        assert found["recommendations"] == [advice]


async def test_a_configured_strategy_whose_file_is_gone_is_its_own_entry(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", MINE)
    life = world(tmp_path)
    async with life.life():
        weights = {
            "ema_crossover": {"enabled": False},
            "rsi": {"weight": 0.5},
            "fvg": {"enabled": False},
            "mine": {"enabled": True, "weight": 0.5},
        }
        result(await life.call("config.update", patch={"strategies": weights}))
        (tmp_path / "mine.py").unlink()
        result(await life.call("strategy.reload"))
        found = result(await life.call("strategy.analyze", symbol=BTC))

        assert found["individual_signals"]["mine"]["error"].startswith("no strategy 'mine'")
        assert found["valid_signals"] == 1


async def test_parameters_that_the_file_knows_no_more_are_told(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", MINE)
    life = world(tmp_path)
    async with life.life():
        only: dict[str, Any] = {
            name: {"enabled": False} for name in ("ema_crossover", "rsi", "fvg")
        }
        only["mine"] = {"enabled": True, "weight": 1.0, "step": 2}
        result(await life.call("config.update", patch={"strategies": only}))
        fine = result(await life.call("strategy.get", name="mine"))
        write(tmp_path, "mine.py", MINE.replace("step", "pace"))
        result(await life.call("strategy.reload"))
        broken = result(await life.call("strategy.get", name="mine"))
        found = result(await life.call("strategy.analyze", symbol=BTC))

        error = "parameters of mine: step is no parameter of it"
        assert (fine["effective"]["step"], fine["error"]) == (2, None)
        assert (broken["effective"], broken["error"]) == (None, error)
        assert found["individual_signals"]["mine"]["error"] == error
        assert found["combined_signal"]["action"] == "hold"
        assert found["recommendations"][0] == "hold: no signals"


async def test_what_a_caller_got_wrong_is_refused_by_its_place() -> None:
    life = world()
    async with life.life():
        wrong: dict[str, Any] = {"rsi": {"rsi_period": 0}}
        reply = await life.call("strategy.analyze", symbol=BTC, strategies=wrong)
        nobody = await life.call("strategy.analyze", symbol=BTC, strategies={"rsii": {}})
        nowhere = await life.call("strategy.analyze", symbol="XYZ")
        bad = await life.call(
            "strategy.analyze",
            symbol=BTC,
            data=[{"open": 1, "high": 1, "low": 1, "close": -1}],
        )

        assert reply.code is bad.code is Code.INVALID
        assert reply.error is not None
        assert reply.error["details"]["fields"] == [  # type: ignore[index]
            {"field": "strategies.rsi.rsi_period", "message": "must be at least 1"}
        ]
        assert nobody.error is not None
        assert nobody.error["details"]["field"] == "strategies.rsii"  # type: ignore[index]
        assert nobody.code is nowhere.code is Code.NOT_FOUND
        assert "data.0.close" in str(bad.error)


async def test_a_reload_tells_what_came_and_went_and_is_audited(tmp_path: Path) -> None:
    life = world(tmp_path)
    async with life.life():
        write(tmp_path, "mine.py", MINE)
        write(tmp_path, "broken.py", "import")
        forbidden = await life.call("strategy.reload", who=READER)
        came = result(await life.call("strategy.reload"))
        (tmp_path / "mine.py").unlink()
        (tmp_path / "broken.py").unlink()
        went = result(await life.call("strategy.reload"))
        same = result(await life.call("strategy.reload"))

        assert forbidden.code is Code.FORBIDDEN
        assert (came["added"], came["removed"]) == (["mine"], [])
        assert came["failed"][0]["file"] == "broken.py"
        assert (went["added"], went["removed"], went["failed"]) == ([], ["mine"], [])
        assert (same["added"], same["removed"]) == ([], [])
        events = await life.events("strategies_reloaded")
        assert events[0]["data"]["added"] == ["mine"]


# Waits while a file is there, as an author's endless loop would for ever: with its test's folder, every wait ends.
WAITS = """
    import time
    from pathlib import Path

    def wait():
        while Path({shut!r}).exists():
            time.sleep(0.01)

"""


def call_of(params: Any) -> Call[Any]:
    return Call(
        params=params, principal=LOCAL, client="", source="socket", session=None, received=0
    )


def impatient(life: World, strategies: Strategies) -> StrategyOps:
    """The handlers, with no time for a thread."""
    desk = life.system.desk
    book = ConfigBook(
        desk=desk,
        strategies=strategies,
        limits_of=dict,
        publish=lambda _row: None,
        file=None,
    )
    bars = Bars(lambda: desk.engine.markets, life.venue, desk.now)
    return StrategyOps(desk, book, strategies, bars, patience_s=0.0)


async def test_a_file_that_does_not_end_leaves_what_was_known(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.touch()
    life = world(tmp_path)
    async with life.life():
        strategies = Strategies(tmp_path)
        handlers = impatient(life, strategies)
        write(tmp_path, "mine.py", dedent(WAITS.format(shut=str(shut))) + "wait()\n" + dedent(MINE))
        with pytest.raises(Refused) as late:
            await handlers.reload(call_of(ChangeParams()))
        with pytest.raises(Refused) as second:
            await handlers.reload(call_of(ChangeParams()))
        known = strategies.names()
        shut.unlink()
        await until(lambda: "mine" in strategies.names())

        assert late.value.code is second.value.code is Code.BUSY
        assert (len(known), "did not load within" in late.value.message) == (6, True)


async def test_a_strategy_that_does_not_end_is_its_own_entry_and_few_may(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.touch()
    text = dedent(MINE).replace("self.seen +=", "wait(); self.seen +=")
    write(tmp_path, "mine.py", dedent(WAITS.format(shut=str(shut))) + text)
    life = world(tmp_path)
    async with life.life():
        handlers = impatient(life, Strategies(tmp_path))
        params = AnalyzeParams(symbol=BTC, strategies={"mine": {}})
        answers = [await handlers.analyze(call_of(params)) for _ in range(ANALYSES)]
        with pytest.raises(Refused) as busy:
            await handlers.analyze(call_of(params))
        shut.unlink()

        for answer in answers:
            assert "took over 0 s" in str(answer.result["individual_signals"])
            assert answer.result["valid_signals"] == 0
        assert busy.value.code is Code.BUSY
