"""What is made from the registry and kept in the repository: `python -m tests.protocol.document` writes it.

The tables of `docs/protocol.md`, and the golden files of AsyncAPI and OpenAPI. A difference is a change
of the protocol: look at it before you write it down.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from realtime.app import open_system
from realtime.commands.registry import Registry
from realtime.server import manual, schema
from realtime.settings import Settings, StoreSettings


ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs" / "protocol.md"
GOLDEN: Final = ROOT / "tests" / "golden"
VERSION: Final = "1.0.0"
"""Of the golden files; the software's own would make every release a difference."""
TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
AGAIN: Final = "it differs; look, then run: python -m tests.protocol.document"


def filled(document: str, tables: Mapping[str, str]) -> str:
    """Put the tables into their places."""
    return TABLE.sub(lambda found: found[1] + tables[found[2]] + found[3], document)


def files(registry: Registry) -> dict[Path, bytes]:
    """Make every file."""
    made = {DOCUMENT: filled(DOCUMENT.read_text(), manual.tables(registry)).encode()}
    for name, make in (("asyncapi", schema.asyncapi), ("openapi", schema.openapi)):
        text = orjson.dumps(make(registry, VERSION), option=orjson.OPT_INDENT_2) + b"\n"
        made[GOLDEN / f"{name}.json"] = text
    return made


def removed(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Name what was there and is not any more: within `realtime.v1` nothing may go.

    Descriptions and examples are for people and may change.
    """
    match old:
        case dict():
            for key, value in old.items():
                where = f"{path}/{key}"
                if key in {"summary", "description", "example", "examples", "title"}:
                    continue
                if not isinstance(new, dict) or key not in new:
                    yield where
                else:
                    yield from removed(value, new[key], where)
        case list():
            missing = [item for item in old if not isinstance(new, list) or item not in new]
            yield from (f"{path}[{item!r}]"[:200] for item in missing)
        case _:
            if old != new:
                yield f"{path}: {old!r} became {new!r}"


async def main() -> None:
    """Write every file."""
    async with open_system(Settings(store=StoreSettings(path=""))) as system:
        for path, body in files(system.registry).items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(body)


if __name__ == "__main__":
    asyncio.run(main())
