"""The page's files: types, caching, headers, and what is not served."""

import gzip
import os
import re
import time
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from realtime.server.page import CSP, LARGEST, Page, SecurityHeaders, static_dir


INDEX = "<!doctype html><title>t</title>"
SCRIPT = "export const answer = 42;\n" * 100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "js").mkdir()
    (tmp_path / "index.html").write_text(INDEX)
    (tmp_path / "js" / "app.js").write_text(SCRIPT)
    (tmp_path / "js" / "lib.mjs").write_text("export {};")
    (tmp_path / "js" / "types.d.ts").write_text("type X = 1;")
    (tmp_path / "look.css").write_text("a{}")
    (tmp_path / "icon.svg").write_text("<svg/>")
    (tmp_path / "noise.png").write_bytes(os.urandom(2_000))
    (tmp_path / "noise.json").write_bytes(os.urandom(600))
    (tmp_path / "LICENSE").write_text("free")
    (tmp_path / ".secret.js").write_text("hidden")
    with (tmp_path / "huge.txt").open("wb") as huge:
        huge.truncate(LARGEST + 1)  # a hole, not bytes on the disk
    (tmp_path / "away.js").symlink_to("/etc/passwd")
    return tmp_path


@pytest.fixture
def client(root: Path) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(SecurityHeaders(Page(root)))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def test_the_root_is_the_index(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")

    assert (answer.status_code, answer.text) == (200, INDEX)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/js/app.js", "text/javascript; charset=utf-8"),
        ("/js/lib.mjs", "text/javascript; charset=utf-8"),
        ("/look.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/noise.png", "image/png"),
        ("/LICENSE", "text/plain; charset=utf-8"),
    ],
)
async def test_each_kind_has_its_type(client: httpx.AsyncClient, path: str, kind: str) -> None:
    answer = await client.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


@pytest.mark.promise("S7")
async def test_every_answer_carries_the_policy(client: httpx.AsyncClient) -> None:
    for path in ("/", "/js/app.js", "/nothing"):
        headers = (await client.get(path)).headers

        assert headers["content-security-policy"] == CSP
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]


@pytest.mark.promise("S7")
def test_the_policy_allows_nothing_inline_and_nobody_else() -> None:
    assert "unsafe" not in CSP
    assert "http:" not in CSP
    assert "*" not in CSP
    assert "require-trusted-types-for 'script'" in CSP


async def test_an_unchanged_file_is_304(client: httpx.AsyncClient) -> None:
    first = await client.get("/js/app.js")
    etag = first.headers["etag"]

    for tags in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await client.get("/js/app.js", headers={"If-None-Match": tags})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    changed = await client.get("/js/app.js", headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200


async def test_text_is_packed_for_those_who_can(client: httpx.AsyncClient) -> None:
    packed = await client.get("/js/app.js", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    plain = await client.get("/js/app.js", headers={"Accept-Encoding": "gzip;q=0, identity"})

    assert packed.text == plain.text == SCRIPT
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(SCRIPT) / 5
    assert "content-encoding" not in plain.headers
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("path", ["/noise.png", "/noise.json", "/look.css"])
async def test_what_does_not_shrink_is_sent_as_it_is(client: httpx.AsyncClient, path: str) -> None:
    assert "content-encoding" not in (await client.get(path)).headers


async def test_head_has_the_length_and_no_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/", headers={"Accept-Encoding": "identity"})

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(INDEX))


async def test_a_range_is_not_looked_at(client: httpx.AsyncClient) -> None:
    ranges = "bytes=" + ",".join(f"{n}-" for n in range(200_000))
    began = time.perf_counter()
    answer = await client.get("/js/app.js", headers={"Range": ranges})

    assert (answer.status_code, answer.text) == (200, SCRIPT)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "path",
    [
        "/nothing.js",
        "/js",
        "/js/",
        "/.secret.js",
        "/js/types.d.ts",
        "/away.js",
        "/huge.txt",
        "/../pyproject.toml",
        "/%2e%2e/pyproject.toml",
        "/js/..%2findex.html",
        "//index.html",
        "/js/\x00",
        "/index.html/",
    ],
)
async def test_nothing_else_is_served(root: Path, path: str) -> None:
    sent: list[dict[str, object]] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await Page(root)(scope, unread, send)

    assert sent[0]["status"] == 404


async def unread() -> dict[str, object]:
    raise AssertionError("the request's body is not wanted")


async def test_other_methods_are_405(client: httpx.AsyncClient) -> None:
    answer = await client.post("/")

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["error"]["code"] == "bad_request"


async def test_a_changed_file_is_read_again(root: Path, client: httpx.AsyncClient) -> None:
    page = Page(root)
    before = page.find("/look.css")
    (root / "look.css").write_text("b { color: red }")
    after = page.find("/look.css")
    (root / "look.css").unlink()

    assert before is not None
    assert after is not None
    assert (before.body, after.body) == (b"a{}", b"b { color: red }")
    assert page.find("/look.css") is None
    assert page.find("/look.css") is None


async def test_what_is_fetched_while_the_server_runs_is_there_after_a_reload(root: Path) -> None:
    page = Page(root)
    chart, beside = root / "vendor" / "charts" / "chart.mjs", root / "later.js"
    assert page.find("/vendor/charts/chart.mjs") is None

    chart.parent.mkdir(parents=True)
    chart.write_text("export {};")
    beside.write_text("export {};")
    (chart.parent / ".secret.js").write_text("hidden")
    (chart.parent / "away.js").symlink_to("/etc/passwd")
    (root / "vendor" / "away").symlink_to(root / "js")
    found = page.find("/vendor/charts/chart.mjs")

    assert found is not None
    assert found.body == b"export {};"
    assert page.find("/vendor/charts/chart.mjs") is found
    for other in ("charts/.secret.js", "charts/away.js", "away/app.js", "../later.js", "charts"):
        assert page.find(f"/vendor/{other}") is None
    assert page.find("/later.js") is None


async def test_a_folder_of_fetched_files_that_is_replaced_is_read_again(root: Path) -> None:
    chart = root / "vendor" / "chart.mjs"
    chart.parent.mkdir()
    chart.write_text("old")
    page = Page(root)
    chart.unlink()
    assert page.find("/vendor/chart.mjs") is None
    chart.write_text("new")
    found = page.find("/vendor/chart.mjs")

    assert found is not None
    assert found.body == b"new"


async def test_a_link_to_a_folder_outside_is_not_looked_into(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = Page(root)
    outside = tmp_path_factory.mktemp("outside")
    (outside / "x.js").write_text("hidden")
    (root / "vendor").symlink_to(outside)

    assert page.find("/vendor/x.js") is None


async def test_without_a_folder_there_is_no_page(tmp_path: Path) -> None:
    assert Page(tmp_path / "absent").find("/") is None


async def test_answers_of_the_api_are_not_stored() -> None:
    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"{}"})

    transport = httpx.ASGITransport(SecurityHeaders(api))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/api/order.list")).headers["cache-control"] == "no-store"
        assert "cache-control" not in (await client.get("/apart")).headers


@pytest.mark.promise("S7")
def test_the_repository_has_a_page_without_anything_inline() -> None:
    index = Page().find("/")

    assert static_dir().name == "static"
    assert index is not None
    html = index.body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>\s*\S", html)
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", html)
    assert not re.search(
        r"(?:src|href)=[\"']?(?:https?:)?//", html.replace('href="https://www.tradingview.com', "")
    )
    assert gzip.decompress(index.packed or gzip.compress(b"")) in {index.body, b""}
