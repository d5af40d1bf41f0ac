import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from tests.web.fake import Fake
from tests.web.serving import HINT, Server, chromium, installed


PATIENCE_MS = 30_000
"""For what must come: it is there in milliseconds, and on a machine that does much else it still comes."""
AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
WATCH = """
addEventListener("securitypolicyviolation", (e) => console.error("CSP", e.violatedDirective, e.blockedURI));
"""


T = TypeVar("T")


def until(page: Page, find: Callable[[], T]) -> T:
    """What is found, as soon as it is anything; for what no `expect` says: the page's policy forbids to wait inside it."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not (found := find()):
        assert time.monotonic() < end, f"it did not come; the last found is {found!r}"
        page.wait_for_timeout(20)
    return found


def drawn(page: Page) -> None:
    """Waits until the page has drawn what it was told before."""
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def stopped(page: Page) -> None:
    """Its clock, which the page was opened with, stands still from here on: time goes by only as a test says."""
    for _ in range(30):
        soon = datetime.fromtimestamp(page.evaluate("Date.now()") / 1000 + 1, UTC)
        with suppress(Error):  # it is later than that on a machine that stood still meanwhile
            return page.clock.pause_at(soon)
    raise AssertionError("the page's clock could not be stopped")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One chromium for all tests of this package; skipped where there is none, failed where CI must have one.

    Not of the session: Playwright's loop runs in this thread while it lives, and no other one can.
    """
    # The same browser without a user interface of its own starts a page at less than half the cost.
    names = ("chromium-headless-shell", "chromium")
    if installed(*names) is None:
        if os.environ.get("CI"):
            pytest.fail(HINT)
        pytest.skip(HINT)
    with chromium(*names) as launched:
        expect.set_options(timeout=PATIENCE_MS)
        yield launched


@pytest.fixture(scope="package")
def farewell() -> Iterator[ThreadPoolExecutor]:
    """Stops servers beside the next test: uvicorn takes a fifth of a second to end."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


@pytest.fixture
def fake(farewell: ThreadPoolExecutor) -> Iterator[Fake]:
    """A fake server of this test's own."""
    server = Fake()
    yield server
    farewell.submit(server.stop)


@dataclass
class Watch:
    """What must stay empty: errors, violations, foreign requests; and the requests of the page."""

    origin: str
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    forgiven: tuple[str, ...] = ()

    def look(self, page: Page) -> None:
        """Attaches to a page."""
        page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        page.on("console", lambda m: self.fault(m.text) if m.type in {"error", "warning"} else None)
        page.on("request", lambda request: self.request(request.url))

    def fault(self, text: str) -> None:
        """A console line; a refused connection while a test has the server down is the browser's own."""
        if not any(part in text for part in self.forgiven):
            self.faults.append(text)

    def request(self, url: str) -> None:
        """Every request, and whether it leaves the origin."""
        self.requests.append(url)
        parts = urlsplit(url)
        if parts.scheme != "blob" and parts.netloc != self.origin:
            self.faults.append(f"foreign request: {url}")


class Desk:
    """Opens pages for one test and judges them at its end."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self.watch = Watch(urlsplit(url).netloc)
        self.contexts: list[BrowserContext] = []

    def open(
        self,
        *,
        width: int = 1440,
        height: int = 900,
        dark: bool = True,
        touch: bool = False,
        clock: bool = False,
        script: str = "",
        wait: bool = True,
        calm: bool = False,
    ) -> Page:
        """A page in a context of its own, live unless `wait` is false."""
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            has_touch=touch,
            is_mobile=touch,
            reduced_motion="reduce" if calm else "no-preference",
            timezone_id="Europe/Stockholm",
        )
        context.set_default_timeout(PATIENCE_MS)
        self.contexts.append(context)
        page = context.new_page()
        self.watch.look(page)
        page.add_init_script(WATCH + script)
        if clock:
            page.clock.install()
        page.goto(self.url)
        if wait:
            page.locator(".dot.live").wait_for()
            expect(page.locator(".last")).to_contain_text(".")
            if width > 720:
                page.locator("#orderbook .book-row[data-price]").first.wait_for()
        return page

    def close(self) -> None:
        """Ends the pages."""
        for context in self.contexts:
            context.close()


@pytest.fixture
def desk(browser: Browser, fake: Fake) -> Iterator[Desk]:
    """Pages on the fake server; any fault fails the test."""
    made = Desk(browser, fake.start())
    yield made
    made.close()
    assert made.watch.faults == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    if AXE.is_file():
        return AXE.read_text()
    reason = "axe-core is not installed; make web brings it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real server, one for the tests of a file."""
    made = Server(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def real(browser: Browser, server: Server) -> Iterator[Desk]:
    """The page on the real server."""
    made = Desk(browser, server.address)
    yield made
    made.close()
    assert made.watch.faults == []
