"""What a release is made of: a CycloneDX 1.6 document of what is installed here (reliability 5.7, promise S9).

    make sbom        # writes dist/sbom.cdx.json

Names, versions, licences and dependencies are those of the installed packages' own metadata, beginning with ours: what
tests and tools need is left out. The page's JavaScript is what `package.json` pins, with the hashes of the files. Two runs
on the same installation write the same document: it has no time and a serial number made of its content.
"""

import json
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parent.parent
NAME = "realtime"
NEEDED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*(?:\[(?P<extras>[^]]*)\])?(?P<rest>.*)")
EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)[\"']")
Row = dict[str, Any]


def canonical(name: str) -> str:
    """The one way in which the index spells a name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(found: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What a package needs with some of its extras: name, and the extras of it that are wanted.

    Conditions on the machine are not judged: what does not hold here is not installed here.
    """
    for line in found.requires or ():
        match = NEEDED.match(line)
        assert match is not None, line
        asked = EXTRA.search(match["rest"])
        if asked is None or asked[1] in extras:
            wanted = (extra.strip() for extra in (match["extras"] or "").split(","))
            yield canonical(match["name"]), frozenset(wanted) - {""}


def closure(name: str) -> dict[str, tuple[Distribution, set[str]]]:
    """A package and all that it needs, directly or not, with what each needs directly."""
    found: dict[str, tuple[Distribution, set[str]]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting: list[tuple[str, frozenset[str]]] = [(canonical(name), frozenset())]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        try:
            installed = distribution(one[0])
        except PackageNotFoundError:
            continue  # a condition that does not hold here
        _, direct = found.setdefault(one[0], (installed, set()))
        for other in needed(installed, one[1]):
            direct.add(other[0])
            waiting.append(other)
    return found


def licence(found: Distribution) -> list[Row]:
    """What a package says of its licence: an SPDX expression, else its words, else nothing."""
    said = found.metadata.json
    if expression := said.get("license_expression"):
        return [{"expression": expression}]
    words = str(said.get("license", "")).partition("\n")[0].strip()
    named = [
        line.rpartition("::")[2].strip()
        for line in said.get("classifier", ())
        if line.startswith("License ::")
    ]
    if words and len(words) < 100:
        named = [words]
    return [{"license": {"name": name}} for name in named]


def packages(found: Mapping[str, tuple[Distribution, set[str]]]) -> Iterator[Row]:
    """A component for each package."""
    for name, (installed, _) in sorted(found.items()):
        reference = f"pkg:pypi/{name}@{installed.version}"
        row: Row = {
            "type": "application" if name == NAME else "library",
            "bom-ref": reference,
            "name": name,
            "version": installed.version,
            "purl": reference,
        }
        yield row | ({"licenses": said} if (said := licence(installed)) else {})


def scripts(root: Path) -> Iterator[Row]:
    """A component for each package of the page's, with its files where they are here."""
    told = json.loads((root / "package.json").read_text())
    locked = json.loads((root / "package-lock.json").read_text())["packages"]
    manifest = root / "static" / "vendor" / "manifest.json"
    files = json.loads(manifest.read_text())["files"] if manifest.is_file() else {}
    for name, version in sorted(told["dependencies"].items()):
        reference = f"pkg:npm/{name}@{version}"
        yield {
            "type": "library",
            "bom-ref": reference,
            "name": name,
            "version": version,
            "purl": reference,
            "licenses": [{"expression": locked[f"node_modules/{name}"]["license"]}],
            "components": [
                {"type": "file", "name": path, "hashes": [{"alg": "SHA-256", "content": digest}]}
                for path, digest in sorted(files.items())
                if path.startswith(f"{name}/")
            ],
        }


def document(root: Path = ROOT) -> Row:
    """The whole document."""
    found = closure(NAME)
    rows = {row["name"]: row for row in packages(found)}
    page = list(scripts(root))
    ours = rows.pop(NAME)
    references = {NAME: ours["bom-ref"]} | {name: row["bom-ref"] for name, row in rows.items()}
    depends = [
        {
            "ref": references[name],
            "dependsOn": [references[other] for other in sorted(direct) if other in references],
        }
        for name, (_, direct) in sorted(found.items())
    ]
    next(row for row in depends if row["ref"] == ours["bom-ref"])["dependsOn"] += [
        row["bom-ref"] for row in page
    ]
    made: Row = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": ours},
        "components": [*rows.values(), *page],
        "dependencies": [*depends, *({"ref": row["bom-ref"]} for row in page)],
    }
    content = json.dumps(made, sort_keys=True)
    return made | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"}


def main() -> None:
    """Write the document and say where."""
    path = ROOT / "dist" / "sbom.cdx.json"
    path.parent.mkdir(exist_ok=True)
    made = document()
    path.write_text(json.dumps(made, indent=1) + "\n")
    sys.stdout.write(f"{path.relative_to(ROOT)}: {len(made['components'])} components\n")


if __name__ == "__main__":
    main()
