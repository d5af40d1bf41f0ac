"""The page: the files of `static/`, from memory, under the strictest policy a browser knows.

Rules of this file: (1) a path is a key of a table, never a file name that is opened; (2) only kinds named in
`KINDS` are served; (3) `Range` is not looked at (CVE-2025-62727), every answer is whole.
"""

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import realtime


CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types realtime"
)
"""Dashboard document, section 5. `connect-src 'self'` covers the WebSocket of the same origin."""

SECURITY: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}

# Written out: the table of the `mimetypes` module differs between machines, and a module script with another
# type is refused by the browser.
KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    "LICENSE": "text/plain; charset=utf-8",
}
PACKED: Final = frozenset({".ico", ".png", ".woff2"})
"""Kinds that are compressed already."""
VENDOR: Final = "vendor"
"""Folder of what `hatch_build.py` fetches, also while the server runs."""
GZIP_FROM: Final = 512
LARGEST: Final = 8 << 20
"""Files over this are not ours [B]."""


def static_dir() -> Path:
    """`realtime/static` in a wheel, the checkout's `static/` otherwise."""
    package = Path(realtime.__file__).parent
    inside = package / "static"
    return inside if inside.is_dir() else package.parent / "static"


class SecurityHeaders:
    """Adds the headers of the security rules to every answer, those of refused upgrades included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, with headers."""
        private = scope["type"] == "http" and scope["path"].startswith("/api")

        async def secured(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                if private:
                    headers["cache-control"] = "no-store"
            await send(message)

        await self._app(scope, receive, secured)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file, ready to be sent."""

    path: Path
    stamp: tuple[int, int]
    kind: str
    body: bytes
    packed: bytes | None
    """gzip, where that is smaller."""
    etag: str


class Page:
    """ASGI application for `GET` and `HEAD` of everything below a folder; `/` is `index.html`.

    A file changed on disk is read again, so that a developer reloads the page and sees it, and so is one that has
    come into `VENDOR`. A missing folder is an empty page: the API works without one.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root if root is not None else static_dir()
        self._files: dict[str, File] = {}
        self._files.update(self._scan(self._root))

    def _scan(self, folder: Path) -> Iterator[tuple[str, File]]:
        """Read the files below a folder that are not known."""
        if not folder.is_dir():
            return
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(self._root).parts
            hidden = any(part.startswith((".", "_")) for part in parts)
            if hidden or path.is_symlink() or not path.is_file() or kind_of(path) is None:
                continue
            name = "/" + "/".join(parts)
            if name not in self._files and path.stat().st_size <= LARGEST:
                yield name, load(path)

    def find(self, path: str) -> File | None:
        """The file at a path of the address, None when there is none."""
        name = "/index.html" if path == "/" else path
        found = self._files.get(name)
        if found is None and name.startswith(f"/{VENDOR}/"):
            found = self._come(name)
        if found is None:
            return None
        try:
            if stamp(found.path) != found.stamp:
                found = self._files[name] = load(found.path)
        except OSError:
            del self._files[name]
            return None
        return found

    def _come(self, name: str) -> File | None:
        """Look again for what was not there: few files, and those that are known are not read."""
        folder = self._root / VENDOR
        if not folder.is_symlink():
            with suppress(OSError):  # it is being replaced
                self._files.update(list(self._scan(folder)))
        return self._files.get(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        await self.answer(scope)(scope, receive, send)

    def answer(self, scope: Scope) -> Response:
        """The whole answer to a request."""
        if scope["method"] not in {"GET", "HEAD"}:
            refusal = refused(
                "bad_request", f"{scope['method']} is not possible here; use GET, HEAD", 405
            )
            refusal.headers["allow"] = "GET, HEAD"
            return refusal
        found = self.find(scope["path"])
        if found is None:
            return refused("not_found", f"nothing is at {scope['path'][:100]}", 404)
        asked = Headers(scope=scope)
        zipped = found.packed is not None and accepts_gzip(asked.get("accept-encoding", ""))
        etag = f'"{found.etag}{"-gz" if zipped else ""}"'
        headers = {"etag": etag, "cache-control": "no-cache", "vary": "accept-encoding"}
        known = [
            tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")
        ]
        if etag in known or known == ["*"]:
            return Response(status_code=304, headers=headers)
        if zipped:
            headers["content-encoding"] = "gzip"
        body = found.packed if zipped and found.packed is not None else found.body
        headers["content-type"] = found.kind
        headers["content-length"] = str(len(body))
        return Response(b"" if scope["method"] == "HEAD" else body, headers=headers)


def refused(code: str, message: str, status: int) -> Response:
    """An error as the rest of the API words it."""
    error = {"code": code, "message": message, "outcome": "not_done"}
    return Response(
        orjson.dumps({"ok": False, "error": error}), status, media_type="application/json"
    )


def kind_of(path: Path) -> str | None:
    """MIME type of a file we serve, None for all others."""
    return KINDS.get(path.suffix or path.name)


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file does."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def load(path: Path) -> File:
    """Read and pack one file."""
    kind = kind_of(path)
    assert kind is not None
    read_at = stamp(path)
    body = path.read_bytes()
    packed = None
    if len(body) >= GZIP_FROM and path.suffix not in PACKED:
        packed = gzip.compress(body, mtime=0)
        if len(packed) >= len(body):
            packed = None
    etag = hashlib.sha256(body).hexdigest()[:32]
    return File(path=path, stamp=read_at, kind=kind, body=body, packed=packed, etag=etag)


def accepts_gzip(offered: str) -> bool:
    """Whether `Accept-Encoding` names gzip with a weight above zero."""
    for entry in offered.split(","):
        name, _, weight = entry.partition(";")
        if name.strip().lower() in {"gzip", "*"}:
            return weight.replace(" ", "").lower() not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
