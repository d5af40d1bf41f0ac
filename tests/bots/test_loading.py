"""The operator's strategy files: what works, what fails, and that a failure harms nothing else."""

import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest

from realtime.bots import strategies
from realtime.bots.loading import BUILT_IN, OURS, Strategies
from realtime.model.errors import Code, Refused
from realtime.model.signals import Ohlcv


GOOD = """
    from typing import ClassVar

    from pydantic import Field

    from realtime.bots.strategy import Strategy, StrategyParams


    class Params(StrategyParams):
        level: float = Field(10.0, gt=0, description="price above which it buys")


    class Level(Strategy):
        id: ClassVar[str] = "level"
        summary: ClassVar[str] = "Buys above a price"
        Params: ClassVar[type[StrategyParams]] = Params

        @property
        def warmup(self):
            return 1

        def on_ohlcv(self, bar):
            return 1.0 if bar.close > self.params.level else 0.0
"""
BAR = Ohlcv(0, 10, 12, 9, 11, 1)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(dedent(text))
    return file


def test_without_a_folder_there_are_the_built_in_ones() -> None:
    table = Strategies()

    assert table.names() == ["ema_crossover", "rsi", "fvg", "sample", "donchian", "momentum"]
    assert table.failed() == {}
    assert {table.get(name).source for name in table.names()} == {OURS}


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert Strategies(tmp_path / "none").names() == list(BUILT_IN)


def test_a_file_in_the_folder_is_a_strategy(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", GOOD)
    table = Strategies(tmp_path)

    known = table.get("level")
    strategy = table.make("level", {"level": 11.5})
    assert (known.source, known.warmup) == ("mine.py", 1)
    assert known.defaults == {"position_size": 1.0, "level": 10.0}
    assert known.schema["properties"]["level"]["exclusiveMinimum"] == 0
    assert strategy.on_ohlcv(BAR) == 0
    assert table.make("level").on_ohlcv(BAR) == 1


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("_draft.py", ".swap.py", "notes.txt"):
        write(tmp_path, name, "raise RuntimeError")
    (tmp_path / "folder.py").mkdir()

    assert Strategies(tmp_path).failed() == {}


BROKEN = {
    "syntax": ("class Level(:\n    pass", "SyntaxError: invalid syntax"),
    "raises": ("x = 1\n\n1 / 0", "ZeroDivisionError: division by zero (line 3)"),
    "silent": ("raise KeyError", "KeyError (line 1)"),
    "exits": ("import sys\nsys.exit(3)", "SystemExit: 3 (line 2)"),
    "import": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "empty": ("", "has no class derived from realtime.bots.strategy.Strategy"),
    "two": (
        GOOD + "\n\n    class Other(Level):\n        id = 'other'\n",
        "has several strategies (Level, Other); a file is one",
    ),
    "abstract": (GOOD.replace("def on_ohlcv", "def other"), "class Level lacks on_ohlcv"),
    "no id": (GOOD.replace('id: ClassVar[str] = "level"', ""), "id of class Level must be 1 to 32"),
    "bad id": (GOOD.replace('"level"', '"Le vel!"'), "was 'Le vel!'"),
    "number id": (GOOD.replace('"level"', "7"), "was '7'"),
    "no summary": (
        GOOD.replace('summary: ClassVar[str] = "Buys above a price"', ""),
        "summary of level must be a sentence",
    ),
    "params": (
        GOOD.replace("= Params\n", "= dict\n"),
        "Params of level must be derived from StrategyParams",
    ),
    "required": (
        GOOD.replace("Field(10.0, gt=0,", "Field(gt=0,"),
        "parameters of level need valid defaults: level",
    ),
    "warmup": (GOOD.replace("return 1\n", "return -1\n"), "warmup of level must be an integer"),
    "warmup raises": (GOOD.replace("return 1\n", "return 1 / 0\n"), "ZeroDivisionError"),
    "taken": (GOOD.replace('"level"', '"rsi"'), "id rsi is already that of built-in"),
    "bytes": ("\x00", "source code string cannot contain null bytes"),
    "loop": ("def f():\n    return f()\n\nf()", "RecursionError"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_file_disables_only_itself(name: str, tmp_path: Path) -> None:
    text, error = BROKEN[name]
    sys.modules.pop("realtime_strategy_broken", None)
    before = set(sys.modules)
    write(tmp_path, "a_good.py", GOOD.replace('"level"', '"good"'))
    write(tmp_path, "broken.py", text)
    table = Strategies(tmp_path)

    assert list(table.failed()) == ["broken.py"]
    assert error in table.failed()["broken.py"]
    assert table.names() == [*BUILT_IN, "good"]
    assert table.make("good").on_ohlcv(BAR) == 1
    new = {module for module in set(sys.modules) - before if "strategy" in module}
    assert new <= {"realtime_strategy_a_good", "realtime_strategy_broken"}
    assert ("realtime_strategy_broken" in new) is (name == "taken")


def test_of_two_files_with_one_id_the_first_by_name_counts(tmp_path: Path) -> None:
    write(tmp_path, "b.py", GOOD)
    write(tmp_path, "a.py", GOOD)
    table = Strategies(tmp_path)

    assert table.get("level").source == "a.py"
    assert table.failed() == {"b.py": "id level is already that of a.py"}


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, "strategies", "")

    assert Strategies(file).failed() == {"strategies": "cannot be read: Not a directory"}


def test_a_reload_takes_edits_of_the_same_second_new_files_and_lost_ones(tmp_path: Path) -> None:
    file = write(tmp_path, "mine.py", GOOD)
    table = Strategies(tmp_path)
    running = table.make("level")
    edited = GOOD.replace("return 1.0 if", "return 0.5 if")
    write(tmp_path, "mine.py", edited)
    write(tmp_path, "other.py", GOOD.replace('"level"', '"other"'))

    table.reload()

    assert table.make("level").on_ohlcv(BAR) == 0.5
    assert running.on_ohlcv(BAR) == 1
    assert "other" in table.names()
    file.unlink()
    table.reload()
    assert "level" not in table.names()
    assert not list(tmp_path.rglob("*.pyc"))


def test_a_file_that_breaks_at_a_reload_is_gone_and_comes_back_repaired(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", GOOD)
    table = Strategies(tmp_path)
    module = sys.modules["realtime_strategy_mine"]
    write(tmp_path, "mine.py", "1 / 0")
    table.reload()

    assert "level" not in table.names()
    assert table.failed()["mine.py"].startswith("ZeroDivisionError")
    assert sys.modules["realtime_strategy_mine"] is module
    write(tmp_path, "mine.py", GOOD)
    table.reload()
    assert "level" in table.names()


def test_while_files_are_read_again_the_old_table_stands(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", GOOD)
    table = Strategies(tmp_path)
    seen: list[list[str]] = []
    sys.modules["test_loading_probe"] = probe = type(sys)("test_loading_probe")
    probe.look = lambda: seen.append(table.names())  # type: ignore[attr-defined]
    write(
        tmp_path, "mine.py", "import test_loading_probe\ntest_loading_probe.look()\n" + dedent(GOOD)
    )

    thread = threading.Thread(target=table.reload)
    thread.start()
    thread.join(10)
    del sys.modules["test_loading_probe"]

    assert seen == [[*BUILT_IN, "level"]]


def test_an_author_may_refuse_parameters_of_his_own_accord(tmp_path: Path) -> None:
    init = """
        def __init__(self, params):
            super().__init__(params)
            if params.level == 13:
                raise ValueError("13 brings bad luck")
            if params.level == 14:
                from realtime.model.errors import Code, Refused
                raise Refused(Code.NOT_SUPPORTED, "not 14")
            if params.level == 15:
                import sys
                sys.exit("not 15")
    """
    write(tmp_path, "mine.py", dedent(GOOD) + dedent(init).replace("\n", "\n    "))
    table = Strategies(tmp_path)

    with pytest.raises(Refused, match="13 brings bad luck") as caught:
        table.make("level", {"level": 13})
    assert caught.value.code is Code.INVALID
    with pytest.raises(Refused, match="not 14") as caught:
        table.make("level", {"level": 14})
    assert caught.value.code is Code.NOT_SUPPORTED
    with pytest.raises(Refused, match="SystemExit: not 15") as caught:
        table.make("level", {"level": 15})
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize(
    "warmup", ["1 // (self.params.level != 13)", "12 - int(self.params.level)"]
)
def test_a_warmup_that_is_none_with_other_parameters_is_theirs(tmp_path: Path, warmup: str) -> None:
    """Symptom: a backtest failed with a worker that had ended, and `bot.validate` with a fault of ours."""
    write(tmp_path, "mine.py", GOOD.replace("return 1\n", f"return {warmup}\n"))
    table = Strategies(tmp_path)

    assert table.make("level", {"level": 11}).warmup == 1
    with pytest.raises(Refused, match="parameters of level") as caught:
        table.make("level", {"level": 13})
    assert caught.value.code is Code.INVALID


def test_what_a_validator_of_an_author_raises_is_told_of_the_parameters(tmp_path: Path) -> None:
    """Symptom: `our fault; the log has it`."""
    validator = """

        @field_validator("level")
        @classmethod
        def _whole(cls, level):
            return {10.0: level}[level]
    """
    text = GOOD.replace(
        "from pydantic import Field\n", "from pydantic import Field, field_validator\n"
    )
    write(tmp_path, "mine.py", text.replace('which it buys")', 'which it buys")' + validator))
    table = Strategies(tmp_path)

    assert table.make("level").warmup == 1
    with pytest.raises(Refused, match="parameters of level: KeyError: 11") as caught:
        table.make("level", {"level": 11})
    assert caught.value.code is Code.INVALID


def test_parameters_that_are_models_keep_their_definitions(tmp_path: Path) -> None:
    text = dedent(GOOD).replace(
        "class Params(StrategyParams):",
        "from pydantic import BaseModel\nclass Part(BaseModel):\n    x: int = 1\n\n"
        "class Params(StrategyParams):\n    part: Part = Part()\n    whole: bool = False",
    )
    write(tmp_path, "mine.py", text)

    schema = Strategies(tmp_path).get("level").schema

    assert list(schema["$defs"]) == ["Part"]


@pytest.mark.parametrize(
    ("name", "hint"), [("rsii", "no strategy 'rsii'; did you mean rsi?"), ("?", "no strategy '?'")]
)
def test_an_unknown_strategy_is_not_found(name: str, hint: str) -> None:
    with pytest.raises(Refused) as caught:
        Strategies().make(name)

    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, hint)
    assert caught.value.details is not None
    assert caught.value.details["what"] == "strategy"


def test_the_template_can_be_copied_into_the_folder(tmp_path: Path) -> None:
    text = (Path(strategies.__file__).parent / "sample.py").read_text()
    (tmp_path / "copy.py").write_text(text.replace('= "sample"', '= "copied"'))
    table = Strategies(tmp_path)

    assert table.failed() == {}
    assert table.make("copied", {"indicator_value": 2}).params.model_dump()["indicator_value"] == 2


def test_a_message_of_another_kind_is_told_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", GOOD.replace("Field(10.0, gt=0,", "Field(10.0, lt=20, gt=0,"))
    table = Strategies(tmp_path)

    with pytest.raises(Refused, match="level must be below 20"):
        table.make("level", {"level": 20})
    with pytest.raises(Refused, match="level must be a number"):
        table.make("level", {"level": []})


def test_the_example_of_the_manual_is_a_strategy(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (tmp_path / "mean.py").write_text(manual.split("```python\n")[1].split("```")[0])
    table = Strategies(tmp_path)

    strategy = table.make("above_mean", {"length": 2})
    assert table.failed() == {}
    assert [strategy.on_ohlcv(BAR._replace(close=close)) for close in (1.0, 2.0, 1.0)] == [
        0,
        0.5,
        -0.5,
    ]


# Waits while a file is there: with its test's folder, every wait ends.
STUCK = """
    import time
    from pathlib import Path
    from typing import ClassVar
    from realtime.bots.strategy import Strategy, StrategyParams

    def wait():
        while Path({shut!r}).exists():
            time.sleep(0.01)

    {first}
    class Params(StrategyParams):
        slow: bool = False

    class Stuck(Strategy):
        id: ClassVar[str] = "stuck"
        summary: ClassVar[str] = "for tests"
        Params = Params
        warmup = 1
        def __init__(self, params):
            super().__init__(params)
            if params.slow:
                wait()
        def on_ohlcv(self, bar):
            return 0.0
"""


def test_a_file_that_does_not_come_back_disables_only_itself(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.touch()
    write(tmp_path, "stuck.py", STUCK.format(shut=str(shut), first="wait()"))
    try:
        strategies = Strategies(tmp_path, patience_s=0.1)
    finally:
        shut.unlink()

    assert strategies.failed() == {"stuck.py": "did not come back within 0.1 s"}
    assert set(strategies.names()) == set(BUILT_IN)


def test_a_strategy_that_is_made_for_ever_is_refused(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.touch()
    write(tmp_path, "stuck.py", STUCK.format(shut=str(shut), first=""))
    strategies = Strategies(tmp_path, making_s=0.1)
    try:
        with pytest.raises(Refused, match=r"did not come back within 0\.1 s"):
            strategies.make("stuck", {"slow": True})
    finally:
        shut.unlink()

    assert strategies.make("stuck").warmup == 1
