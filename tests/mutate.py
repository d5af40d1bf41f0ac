"""Does a test notice when a line of a module is wrong? (promise O9)

    python -m tests.mutate realtime/engine/rules.py tests/engine/test_risk.py tests/engine/test_signal_rules.py

One thing is changed at a time: a comparison, `and` and `or`, a `not`, a sign, a number by one unit, True and False. For each
change a process forks, imports the module with it and runs the tests until the first one fails. A change under which all
of them pass survives: a test is missing, or nobody could tell the difference.

Rules of this file: (1) the process that forks has imported pytest and nothing of ours, so that each child imports what it
tests; (2) words for people are left alone.
"""

import argparse
import ast
import importlib.util
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, Final, NamedTuple

import pytest


HANGS_S: Final = 60
"""Seconds after which a child is ended: a change that hangs is noticed."""
QUIET: Final = ("-x", "-q", "-p", "no:cacheprovider")
EDGE: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
CONTRARY: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
SIGN: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}


class Mutant(NamedTuple):
    """A module with one thing changed.

    Attributes:
        name: Function, what it said and what it says now, and which one of these; without the line, which moves.
        line: Where.
        code: What is run instead of the module.
    """

    name: str
    line: int
    code: CodeType


class Change(NamedTuple):
    """A new value of an attribute of a node, or of one item of the list that it is."""

    field: str
    at: int | None
    new: object


def mutants(path: Path) -> Iterator[Mutant]:
    """Change one thing of a module after the other."""
    tree = ast.parse(path.read_text(), str(path))
    told: Counter[str] = Counter()
    for node, parent, function in list(_nodes(tree, tree, "module")):
        shown = parent if isinstance(node, ast.Constant) else node
        before = ast.unparse(shown)
        for field, at, new in _changes(node):
            old = getattr(node, field)
            changed = new if at is None else [*old[:at], new, *old[at + 1 :]]
            setattr(node, field, changed)
            code = compile(ast.fix_missing_locations(tree), str(path), "exec")
            line: int = getattr(node, "lineno", 0)
            name = f"{function}: {before} -> {ast.unparse(shown)}"
            told[name] += 1
            yield Mutant(name if told[name] == 1 else f"{name} ({told[name]})", line, code)
            setattr(node, field, old)


def _nodes(node: ast.AST, parent: ast.AST, function: str) -> Iterator[tuple[ast.AST, ast.AST, str]]:
    """Every node but words and types, with its parent and the function it is in."""
    if isinstance(node, ast.JoinedStr):
        return
    yield node, parent, function
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        function = node.name
    for field, value in ast.iter_fields(node):
        if field not in {"annotation", "returns"}:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _nodes(child, node, function)


def _changes(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                for table in (EDGE, CONTRARY):
                    if new := table.get(type(op)):
                        yield Change("ops", index, new())
        case ast.BoolOp(op=joins):
            yield Change("op", None, ast.Or() if isinstance(joins, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield Change("operand", None, ast.UnaryOp(ast.Not(), operand))
        case ast.UnaryOp(op=ast.USub()):
            yield Change("op", None, ast.UAdd())
        case ast.BinOp(op=sign) if new_sign := SIGN.get(type(sign)):
            yield Change("op", None, new_sign())
        case ast.Constant(value=bool(value)):
            yield Change("value", None, not value)
        case ast.Constant(value=int(number)):
            yield Change("value", None, number + 1)
            yield Change("value", None, number - 1)
        case ast.Call(func=ast.Name(id="Decimal"), args=[ast.Constant(value=str(digits))]):
            exact = Decimal(digits)
            more = exact + Decimal((0, (1,), int(exact.as_tuple().exponent)))
            yield Change("args", None, [ast.Constant(str(more))])
        case _:
            pass


class Instead(SourceFileLoader):
    """Loads a module with other code than its file's."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class Finder:
    """Finds one module, before everybody else does."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._loader = name, Instead(name, str(path), code)

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self._loader) if name == self._name else None


def noticed(path: Path, code: CodeType, tests: Sequence[str]) -> bool:
    """Run the tests on a module with this code."""
    pid = os.fork()
    if pid == 0:
        verdict: int = pytest.ExitCode.INTERNAL_ERROR
        try:
            signal.alarm(HANGS_S)
            void = os.open(os.devnull, os.O_WRONLY)
            os.dup2(void, 1)
            os.dup2(void, 2)
            name = ".".join(path.with_suffix("").parts)
            sys.meta_path.insert(0, Finder(name, path, code))
            verdict = pytest.main([*QUIET, *tests])
        finally:
            os._exit(verdict)
    _, status = os.waitpid(pid, 0)
    ended = os.waitstatus_to_exitcode(status)
    if ended in {pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED}:
        raise AssertionError(f"nothing ran: {pytest.ExitCode(ended).name}")
    return ended != pytest.ExitCode.OK


def main() -> None:
    """Print how many changes there are, and those that survive, one a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--every", type=int, default=1, help="only each n-th change")
    parser.add_argument("--first", type=int, default=0, help="of the first this many are left out")
    told = parser.parse_args()
    text = told.module.read_text()
    if noticed(told.module, compile(text, str(told.module), "exec"), told.tests):
        sys.exit("the tests fail without any change")
    tried = list(mutants(told.module))[told.first :: told.every]
    for mutant in tried:
        if not noticed(told.module, mutant.code, told.tests):
            print(f"{told.module}:{mutant.line}: {mutant.name}", flush=True)
    print(f"{len(tried)} changes")


if __name__ == "__main__":
    main()
