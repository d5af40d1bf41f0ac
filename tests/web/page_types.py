"""The page's types of the wire, from the registry: `python -m tests.web.page_types` writes them."""

import asyncio
from pathlib import Path

from realtime.app import open_system
from realtime.server.typescript import types
from realtime.settings import Settings, StoreSettings


FILE = Path(__file__).resolve().parents[2] / "static" / "js" / "types.d.ts"


async def _made() -> str:
    async with open_system(Settings(store=StoreSettings(path=""))) as system:
        return types(system.registry)
    raise AssertionError("the system did not open")


def made() -> str:
    """What the registry of now says."""
    return asyncio.run(_made())


def main() -> None:
    """Write the file."""
    FILE.write_text(made())


if __name__ == "__main__":
    main()
