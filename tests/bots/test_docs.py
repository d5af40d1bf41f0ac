"""What the documents say about strategies, carried out: the example, and every command a reader may type."""

import random
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.bots.loading import Strategies
from realtime.bots.strategy import signal
from realtime.cli.wire import argument
from realtime.model.errors import Refused
from realtime.model.signals import Action, Ohlcv
from tests.flows.plain import Plain, plainly
from tests.flows.process import Process


ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "docs" / "strategies.md"
README = ROOT / "README.md"
EXAMPLE = re.search(r"```python\n(.*?)```", MANUAL.read_text(), re.DOTALL)
TOUR = re.compile(r'^{"op":.*}$', re.MULTILINE)
COMMAND = re.compile(r"^(?:\.venv/bin/)?realtime call (.*)$", re.MULTILINE)


def example(folder: Path) -> Strategies:
    """Put the example where the manual says."""
    assert EXAMPLE is not None
    (folder / "breakout.py").write_text(EXAMPLE[1])
    return Strategies(folder)


def commands(document: Path) -> list[str]:
    return [found[1] for found in COMMAND.finditer(document.read_text())]


def walk(number: int) -> list[Ohlcv]:
    chance, close, rows = random.Random(5), 1000.0, []
    for ts in range(number):
        start, close = close, close + chance.choice((-3.0, -1.0, 1.0, 3.0))
        high, low = max(start, close) + 1, min(start, close) - 1
        rows.append(Ohlcv(ts, start, high, low, close, 1.0))
    return rows


def test_the_example_says_what_its_summary_says(tmp_path: Path) -> None:
    strategy = example(tmp_path).make("breakout", {"bars": 5})
    bars = walk(300)

    said = [strategy.on_ohlcv(bar) for bar in bars]

    expected = []
    for place, bar in enumerate(bars):
        before = bars[place - 5 : place] if place >= 5 else []
        above = bool(before) and bar.close > max(one.high for one in before)
        below = bool(before) and bar.close < min(one.low for one in before)
        expected.append(0.5 if above else -0.5 if below else 0.0)
    assert said == expected
    assert {0.5, -0.5} <= set(said)
    assert strategy.warmup == 6
    assert signal(strategy, 0.5).action is Action.BUY


def test_its_parameters_have_ranges_and_choices(tmp_path: Path) -> None:
    table = example(tmp_path)
    bullish = table.make("breakout", {"bars": 5, "direction": "bullish"})

    assert min(float(bullish.on_ohlcv(bar)) for bar in walk(300)) == 0  # type: ignore[arg-type]
    with pytest.raises(Refused, match="bars"):
        table.make("breakout", {"bars": 1})
    with pytest.raises(Refused, match="direction"):
        table.make("breakout", {"direction": "up"})


def test_a_reload_leaves_alone_what_runs(tmp_path: Path) -> None:
    table = example(tmp_path)
    runs, bars = table.make("breakout", {"bars": 5}), walk(300)
    file = tmp_path / "breakout.py"
    file.write_text(file.read_text().replace("told = 0.5", "told = 0.9"))
    table.reload()
    edited = table.make("breakout", {"bars": 5})

    assert max(float(runs.on_ohlcv(bar)) for bar in bars) == 0.5  # type: ignore[arg-type]
    assert max(float(edited.on_ohlcv(bar)) for bar in bars) == 0.9  # type: ignore[arg-type]


# --- the commands, typed at a real server ---------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    folder = tmp_path_factory.mktemp("docs")
    example(folder)
    with (
        Process.serve(
            "",
            REALTIME_STRATEGIES__PATH=str(folder),
            REALTIME_BACKTESTS__PATH=str(folder / "backtests"),
            REALTIME_BACKTESTS__WORKERS="1",
        ) as server,
        plainly(server.socket) as made,
    ):
        yield made


def typed(plain: Plain, line: str) -> dict[str, Any]:
    """Do what `realtime call` does with a line."""
    op, *rest = shlex.split(line)
    # The figures beside a command in a code block are words for people.
    args = [text for text in rest if re.match(r"[a-z_]+=", text)]
    return plain.ask(op, **dict(argument(text) for text in args))


def test_every_command_of_the_manual_works(plain: Plain) -> None:
    lines = commands(MANUAL)

    answers = {line.split()[0]: typed(plain, line) for line in lines}

    assert len(lines) >= 12
    assert answers["strategy.get"]["source"] == "breakout.py"
    assert set(answers["strategy.analyze"]["individual_signals"]) == {"breakout"}
    assert answers["strategy.schema"]["schemas"]["breakout"]["properties"]["bars"]["minimum"] == 2
    assert answers["bot.validate"]["errors"] == []
    (decision,) = answers["bot.run_once"]["decisions"]
    assert [one["strategy"] for one in decision["individual"]] == ["breakout"]
    assert decision["order_id"] is None
    assert answers["bot.decisions"]["decisions"][0]["id"] == decision["id"]
    assert answers["bot.stop"]["state"] == "stopped"
    run = f"backtest:{answers['backtest.run']['id']}"
    plain.subscribe(run)
    ended = plain.until(run, lambda data: data["finished_ts"] is not None)
    assert (ended["status"], ended["error"]) == ("done", None)


def test_every_command_of_the_readme_works(plain: Plain) -> None:
    lines = commands(README)

    for line in lines:
        typed(plain, line)

    assert len(lines) >= 5


def test_the_tour_of_the_readme_goes_as_it_says(plain: Plain) -> None:
    *lines, last = (orjson.loads(line) for line in TOUR.findall(README.read_text()))

    told = [plain.call(line.pop("op"), **line) for line in lines]

    bought, again, refused = (reply for reply in told if reply["op"] == "order.place")
    assert bought["result"]["status"] == "filled"
    assert again["result"] == bought["result"] | {"duplicate": True}
    assert refused["error"]["details"]["rule"] == "max_position_size"
    assert all(reply["ok"] for reply in told if reply is not refused)
    assert last == {"op": "bye"}
