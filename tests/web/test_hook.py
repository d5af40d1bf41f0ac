"""The build hook, with an npm of the test's own: nothing here asks a registry."""

import json
from pathlib import Path

import pytest

import hatch_build


GOOD = """#!/bin/sh
[ "$1" = --version ] && echo 11.0.0 && exit 0
mkdir -p node_modules/charts/dist && echo "export {}" > node_modules/charts/dist/charts.mjs
"""
TAMPERED = "#!/bin/sh\necho 'npm error code EINTEGRITY' >&2\nexit 1\n"
OFFLINE = "#!/bin/sh\necho 'npm warn noise' >&2\necho 'npm error code ENOTFOUND' >&2\nexit 1\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree that wants one file of one package."""
    root = tmp_path / "tree"
    (root / "static").mkdir(parents=True)
    (root / "package.json").write_text(json.dumps({"vendor": {"charts": ["dist/charts.mjs"]}}))
    (root / "package-lock.json").write_text("{}")
    return root


def npm(tree: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tree.parent / "npm"
    path.write_text(script)
    path.chmod(0o755)
    monkeypatch.setenv("REALTIME_NPM", str(path))


def test_the_wanted_files_are_put_in_place_with_a_manifest(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tree, GOOD, monkeypatch)
    assert not hatch_build.complete(tree)
    hatch_build.fetch(tree)
    assert hatch_build.complete(tree)
    assert (tree / "static/vendor/charts/charts.mjs").read_text() == "export {}\n"


def test_a_changed_file_another_lock_and_another_wish_are_not_complete(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tree, GOOD, monkeypatch)
    hatch_build.fetch(tree)
    (tree / "package-lock.json").write_text("{ }")
    assert not hatch_build.complete(tree)
    hatch_build.fetch(tree)
    (tree / "package.json").write_text(json.dumps({"vendor": {"charts": ["dist/other.mjs"]}}))
    assert not hatch_build.complete(tree)
    (tree / "package.json").write_text(json.dumps({"vendor": {"charts": ["dist/charts.mjs"]}}))
    (tree / "static/vendor/charts/charts.mjs").write_text("changed")
    assert not hatch_build.complete(tree)


def test_a_file_with_another_hash_is_told_apart_from_a_registry_out_of_reach(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm(tree, TAMPERED, monkeypatch)
    with pytest.raises(hatch_build.TamperedError, match="EINTEGRITY"):
        hatch_build.fetch(tree)
    npm(tree, OFFLINE, monkeypatch)
    with pytest.raises(hatch_build.AssetsError, match="ENOTFOUND") as told:
        hatch_build.fetch(tree)
    assert not isinstance(told.value, hatch_build.TamperedError)
    assert "noise" not in hatch_build.explain(told.value)
    assert "REALTIME_ASSETS=skip" in hatch_build.explain(told.value)
    assert not (tree / "static/vendor").exists()


def test_an_npm_that_does_not_start_is_none(tmp_path: Path) -> None:
    assert not hatch_build.npm_works(str(tmp_path / "nothing"))
    old = tmp_path / "npm"
    old.write_text("#!/bin/sh\necho 6.14.18\n")
    old.chmod(0o755)
    assert not hatch_build.npm_works(str(old))
