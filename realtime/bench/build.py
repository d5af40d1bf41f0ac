"""Compiles the C parts at run time."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path


SOURCES = Path(__file__).parent


class NoCompilerError(RuntimeError):
    """There is no C compiler, or it did not like us; the benchmark is skipped with this reason."""


def compiled(name: str) -> Path:
    """Path of the program made from `name.c`; made once per source text and user.

    Raises:
        NoCompilerError: With what to do about it.
    """
    source = SOURCES / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"realtime-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise NoCompilerError(f"{folder} belongs to somebody else")
    program = folder / f"{name}-{digest}"
    if program.is_file():
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompilerError(
            "no C compiler (cc, gcc, clang) on PATH: the load client is written in C"
        )
    draft = folder / f"{name}-{digest}.{os.getpid()}"
    made = subprocess.run(  # noqa: S603 - our own source, our own flags
        [compiler, "-O2", "-o", str(draft), str(source)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if made.returncode:
        raise NoCompilerError(f"{compiler} failed: {made.stderr.strip()[:500]}")
    draft.replace(program)
    return program
