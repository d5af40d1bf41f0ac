"""What is installed is locked by hashes, and told in a release (promise S9).

Nothing here looks for advisories: their data is not reachable everywhere, and a search that finds none says nothing then.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import sbom


ROOT = Path(__file__).parent.parent
FLOORS: Mapping[str, tuple[int, ...]] = {
    "starlette": (0, 49, 1),  # CVE-2025-62727: a quadratic `Range`
    "uvicorn": (0, 52, 1),
}
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^\s;]+)( ; (?P<where>.+))?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")

pytestmark = pytest.mark.promise("S9")


def locked() -> dict[str, tuple[str, list[str]]]:
    """Every package of the lock: its version and the words behind it."""
    text = (ROOT / "requirements.lock").read_text()
    told = re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = {}
    for line in filter(str.strip, told.splitlines()):
        pin, *hashes = re.split(r"\s+(?=--)", line.strip())
        match = PIN.fullmatch(pin)
        assert match is not None, f"not a pinned package: {line[:80]}"
        assert match["name"] not in found
        found[match["name"]] = (match["version"], hashes)
    return found


def test_everything_is_pinned_with_hashes_and_nothing_has_an_address() -> None:
    assert len(locked()) > 50
    for name, (_, hashes) in locked().items():
        assert hashes, f"{name} has no hash"
        assert all(HASH.fullmatch(word) for word in hashes), f"{name} has more than hashes"
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_the_page_s_packages_are_locked_by_sha512_without_addresses() -> None:
    text = (ROOT / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]

    for name, row in packages.items():
        assert not name or row["integrity"].startswith("sha512-"), name
        assert "resolved" not in row, name


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_locked_is_not_older_than_its_last_known_hole(name: str) -> None:
    version, _ = locked()[name]

    assert tuple(int(part) for part in version.split(".")) >= FLOORS[name]


def test_the_bill_of_materials_names_what_the_lock_pins_and_nothing_else() -> None:
    made = sbom.document()
    components: dict[str, Any] = {row["bom-ref"]: row for row in made["components"]}
    pins = {name: version for name, (version, _) in locked().items()}
    python = {row["name"]: row["version"] for row in made["components"] if "pypi" in row["purl"]}
    whole = {made["metadata"]["component"]["bom-ref"], *components}

    assert python.items() <= pins.items()
    assert {"starlette", "uvicorn", "orjson", "ccxt", "aiohttp", "anyio"} <= set(python)
    assert {"pytest", "mypy", "playwright", "schemathesis"}.isdisjoint(python)
    assert all(row["licenses"] for row in components.values())
    assert {row["ref"] for row in made["dependencies"]} == whole
    for row in made["dependencies"]:
        assert set(row.get("dependsOn", ())) <= whole
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert made == sbom.document()
    assert str(Path.home()) not in json.dumps(made)
