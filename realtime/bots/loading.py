"""Strategies by name: those that come with us, and the operator's files in a folder.

Rules of this file: (1) a file that fails disables only itself: whatever it does while it is loaded is caught here and
told by `failed`, also when it does not come back; (2) no code comes from the network: the folder is the operator's (reliability document, 5); (3) a
reload makes a whole new table and puts it in place in one step: who runs a strategy keeps the one it has.
"""

import difflib
import importlib.util
import inspect
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import cache, partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Any, Final, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from realtime.bots.strangers import STRANGERS, Quit
from realtime.bots.strategies.donchian import Donchian
from realtime.bots.strategies.ema_crossover import EmaCrossover
from realtime.bots.strategies.filters import Filtered, Filters
from realtime.bots.strategies.fvg import Fvg
from realtime.bots.strategies.momentum import Momentum
from realtime.bots.strategies.rsi import Rsi
from realtime.bots.strategies.sample import Sample
from realtime.bots.strategy import Strategy, StrategyParams
from realtime.model.errors import Code, Refused


logger = logging.getLogger(__name__)

BUILT_IN: Final[Mapping[str, type[Strategy]]] = MappingProxyType(
    {made.id: made for made in (EmaCrossover, Rsi, Fvg, Sample, Donchian, Momentum)}
)
"""Strategies that come with us, by id."""
OURS: Final = "built-in"
"""Source of those."""
LONGEST_WARMUP: Final = 100_000
"""Bars; a strategy that needs more is a mistake."""
_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


PATIENCE_S: Final = 5.0
"""How long one file may take to be loaded [s]."""
MAKING_S: Final = 1.0
"""How long an operator's strategy may take to be made [s]; the loop waits for it."""


class Nonsense(Exception):
    """A file that loads, but is no strategy; the text says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One strategy that can be made.

    Attributes:
        made: Its class.
        source: `built-in`, or the name of its file.
        warmup: With the default parameters [bars].
        schema: JSON schema of the parameters.
    """

    made: type[Strategy]
    source: str
    warmup: int
    schema: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its name on the wire."""
        return self.made.id

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Its parameters where none are given."""
        return self.made.Params().model_dump(mode="json")


class Strategies:
    """The table of strategies.

    Args:
        path: Folder of the operator's files, `*.py` without those that begin with `_`; None or a folder
            that is not there: only the built-in ones.
        patience_s: How long one file may take to be loaded [s].
        making_s: How long a strategy of a file may take to be made [s].
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        patience_s: float = PATIENCE_S,
        making_s: float = MAKING_S,
    ) -> None:
        self._path = path
        self._patience_s = patience_s
        self._making_s = making_s
        self._known: Mapping[str, Known] = {}
        self._failed: Mapping[str, str] = {}
        self.reload()

    def reload(self) -> None:
        """Read the folder anew. May be called on another thread; blocks while files are read and run."""
        known = {name: _ours(made) for name, made in BUILT_IN.items()}
        failed: dict[str, str] = {}
        for file in self._files(failed):
            try:
                found = _in_time(partial(_load, file), self._patience_s)
                _unique(found, known)
            except Nonsense as error:
                failed[file.name] = str(error)
            except Quit as error:
                failed[file.name] = _where(error.__cause__ or error, file)
            except Exception as error:  # noqa: BLE001 - rule 1: not ours, told by `failed`
                failed[file.name] = _where(error, file)
            else:
                known[found.id] = found
            if file.name in failed:
                logger.warning(
                    "strategy failed to load", extra={"file": str(file), "why": failed[file.name]}
                )
        self._known, self._failed = known, failed

    def _files(self, failed: dict[str, str]) -> list[Path]:
        if self._path is None or not self._path.exists():
            return []
        try:
            found = [f for f in self._path.iterdir() if f.suffix == ".py" and f.is_file()]
        except OSError as error:
            failed[self._path.name] = f"cannot be read: {error.strerror}"
            return []
        return sorted(f for f in found if not f.name.startswith(("_", ".")))

    def names(self) -> list[str]:
        """Ids of all strategies that can be made: ours, then the operator's by file."""
        return list(self._known)

    def failed(self) -> Mapping[str, str]:
        """Files that could not be used, and why."""
        return self._failed

    def get(self, name: str) -> Known:
        """Give what is known of a strategy.

        Raises:
            Refused: `not_found`, with the nearest name as a hint.
        """
        found = self._known.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self._known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Refused(
                Code.NOT_FOUND,
                f"no strategy {name[:64]!r}{hint}",
                {"what": "strategy", "known": self.names()},
            )
        return found

    def parameters(self, name: str, params: Mapping[str, object]) -> StrategyParams:
        """Read parameters of a strategy; what is not given is its default.

        Raises:
            Refused: `not_found` for the strategy; `invalid` naming each wrong parameter.
        """
        model = self.get(name).made.Params
        try:
            # As JSON, because strict reading of Python values wants an enum's instance for its text.
            return model.model_validate_json(orjson.dumps(dict(params)), strict=True)
        except ValidationError as error:
            raise _refused(name, model, error) from None
        except orjson.JSONEncodeError as error:
            raise Refused(
                Code.INVALID,
                f"parameters of {name}: {error}",
                _details([("parameters", str(error))]),
            ) from None
        except Exception as error:
            raise _theirs(name, error) from error

    def make(
        self, name: str, params: Mapping[str, object] | None = None, filters: Filters | None = None
    ) -> Strategy:
        """Make a strategy that has seen nothing yet.

        Args:
            name: Its id.
            params: Its parameters; what is not given is the default.
            filters: Those of configuration section `strategy`; None or none on: the bare strategy.

        Raises:
            Refused: `not_found` for the strategy; `invalid` naming each wrong parameter.
        """
        read = self.parameters(name, params or {})
        try:
            strategy = self._made(self.get(name), read)
        except Refused:
            raise
        except Exception as error:
            raise _theirs(name, error) from error
        if filters is not None and (filters.trend or filters.volume):
            return Filtered(strategy, filters)
        return strategy

    def _made(self, known: Known, params: StrategyParams) -> Strategy:
        if known.source == OURS:
            return known.made(params)
        return _in_time(partial(_tried, known.made, params), self._making_s)


def placed(refused: Refused, at: str) -> Refused:
    """Name the place of what was wrong among the arguments."""
    details = dict(refused.details or {})
    fields = details.get("fields")
    if isinstance(fields, list):
        details["fields"] = [f | {"field": f"{at}.{f['field']}"} for f in fields]
    else:
        details["field"] = at
    return Refused(refused.code, refused.message, details)


T = TypeVar("T")


def _in_time(call: Callable[[], T], seconds: float) -> T:
    """Run code of an operator's file on a thread of its own, and wait for it so long.

    Raises:
        Nonsense: It did not come back; its thread is left behind.
    """
    running: Future[T] = STRANGERS.submit(call)
    if not wait([running], timeout=seconds).done:
        raise Nonsense(f"did not come back within {seconds:g} s")
    return running.result()


# --- files ----------------------------------------------------------------------------------------


class _File(SourceFileLoader):
    """Reads the source every time: a bytecode cache would miss an edit within its second, and litter."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the port's name
        """Compile the file as it is now."""
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _load(file: Path) -> Known:
    """Run a file as a module of its own and find its strategy.

    Raises:
        Nonsense: It has none, or several, or one that makes no sense.
    """
    name = f"realtime_strategy_{file.stem}"
    spec = importlib.util.spec_from_loader(name, _File(name, str(file)))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(file)
    # pydantic and dataclasses look their module up by its name.
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
        return _known(_strategy_of(module), file.name)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise


def _strategy_of(module: ModuleType) -> type[Strategy]:
    found = {
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Strategy)
        and value.__module__ == module.__name__
    }
    whole = [made for made in found if not inspect.isabstract(made)]
    if len(whole) > 1:
        names = ", ".join(sorted(made.__name__ for made in whole))
        raise Nonsense(f"has several strategies ({names}); a file is one")
    if whole:
        return whole[0]
    for made in found:
        lacking = ", ".join(sorted(made.__abstractmethods__))
        raise Nonsense(f"class {made.__name__} lacks {lacking}")
    raise Nonsense("has no class derived from realtime.bots.strategy.Strategy")


def _known(made: type[Strategy], source: str) -> Known:
    """Try a class out with its defaults.

    Raises:
        Nonsense: What is wrong with it.
    """
    name = getattr(made, "id", None)
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise Nonsense(
            f"id of class {made.__name__} must be 1 to 32 characters a-z 0-9 _, beginning with a letter; "
            f"was {str(name)[:40]!r}"
        )
    if not isinstance(getattr(made, "summary", None), str):
        raise Nonsense(f"summary of {name} must be a sentence")
    params: object = made.Params
    if not (isinstance(params, type) and issubclass(params, StrategyParams)):
        raise Nonsense(f"Params of {name} must be derived from StrategyParams")
    try:
        strategy = made(params())
    except ValidationError as error:
        wrong = ", ".join(_field(found) for found in error.errors())
        raise Nonsense(f"parameters of {name} need valid defaults: {wrong}") from None
    return Known(made=made, source=source, warmup=_warmup(strategy), schema=_schema(params))


def _warmup(strategy: Strategy) -> int:
    """Ask for the warm-up, which an author works out of the parameters.

    Raises:
        Nonsense: It is none.
    """
    warmup: object = strategy.warmup
    if not isinstance(warmup, int) or not 0 <= warmup <= LONGEST_WARMUP:
        raise Nonsense(
            f"warmup of {strategy.id} must be an integer from 0 to {LONGEST_WARMUP} bars"
        )
    return warmup


def _tried(made: type[Strategy], params: StrategyParams) -> Strategy:
    """Make a strategy of an operator's file whose warm-up is one with these parameters too."""
    strategy = made(params)
    _warmup(strategy)
    return strategy


@cache
def _ours(made: type[Strategy]) -> Known:
    """Try a class of ours out, once for all accounts: making the schemas takes longer than all else of an account."""
    return _known(made, OURS)


def _unique(found: Known, known: Mapping[str, Known]) -> None:
    other = known.get(found.id)
    if other is not None:
        raise Nonsense(f"id {found.id} is already that of {other.source}")


def _where(error: BaseException, file: Path) -> str:
    """Tell an exception with the line of the file that raised it."""
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file)
    ]
    return f"{told} (line {lines[-1]})" if lines else told


# --- parameters -----------------------------------------------------------------------------------


def _schema(params: type[StrategyParams]) -> Mapping[str, Any]:
    """Make the JSON schema of parameters, with enums in their place: a form is made of it."""
    schema = params.model_json_schema()
    enums = {f"#/$defs/{k}": v for k, v in schema.get("$defs", {}).items() if "enum" in v}
    for field in schema.get("properties", {}).values():
        found = enums.get(field.get("$ref", ""))
        if found is not None:
            del field["$ref"]
            field |= {"type": found.get("type", "string"), "enum": found["enum"]}
    rest = {k: v for k, v in schema.pop("$defs", {}).items() if f"#/$defs/{k}" not in enums}
    return schema | {"$defs": rest} if rest else schema


def _field(found: ErrorDetails) -> str:
    return ".".join(str(part) for part in found["loc"]) or "parameters"


def _details(fields: Iterable[tuple[str, str]]) -> Mapping[str, object]:
    return {"fields": [{"field": field, "message": message} for field, message in fields]}


def _refused(name: str, model: type[StrategyParams], error: ValidationError) -> Refused:
    """Tell each wrong parameter by its name."""
    fields = [(_field(e), _message(model, e)) for e in error.errors(include_url=False)[:20]]
    text = "; ".join(f"{field} {message}" for field, message in fields[:3])
    return Refused(Code.INVALID, f"parameters of {name}: {text}", _details(fields))


def _theirs(name: str, error: Exception) -> Refused:
    """Tell what the author's own checks raised, where ranges do not say it all."""
    told = f"{type(error).__name__}: {error}"
    return Refused(Code.INVALID, f"parameters of {name}: {told}", _details([("parameters", told)]))


def _message(model: type[StrategyParams], error: ErrorDetails) -> str:
    context: Mapping[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(error["loc"][-1]), model.model_fields, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return f"is no parameter of it{hint}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "greater_than":
            return f"must be above {context['gt']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}"
        case "less_than":
            return f"must be below {context['lt']:g}"
        case "value_error":
            return str(context["error"])
        case _:
            said = error["msg"].replace("Input should be", "must be")
            return said.replace("a valid integer", "an integer").replace("a valid ", "a ")
