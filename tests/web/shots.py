"""Screenshots of every view, theme and size into `tests/screenshots/` (not in git), for people to look at.

    make shots                                  all of them
    python -m tests.web.shots --only tablet     those whose name has this in it
    python -m tests.web.shots --only stress     a refused order, trading halted, the link lost
    python -m tests.web.shots --picture         the one of the README, into docs/

The real server on its paper exchange, with a few orders by hand.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.web.serving import ROOT, Server, chromium


FOLDER = ROOT / "tests" / "screenshots"
PICTURE = ROOT / "docs" / "dashboard.jpg"
LARGEST = 300_000
"""No picture in the repository is larger [B]."""
SIZES = {
    "desktop": (1440, 900),
    "wide": (2560, 1440),
    "landscape": (1024, 768),
    "tablet": (768, 1024),
    "phone": (375, 812),
}
TOUCHED = ("tablet", "phone")
TABS = [
    "positions",
    "orders",
    "fills",
    "balances",
    "log",
    "equity",
    "risk",
    "signals",
    "portfolio",
    "backtest",
    "config",
    "monitoring",
]
VIEWS = ("chart", "book", "trade", "bots", "account")


def opened(browser: Browser, address: str, size: str, theme: str) -> Page:
    """A page of its own, with something on it."""
    width, height = SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        has_touch=size in TOUCHED,
        is_mobile=size in TOUCHED,
    )
    page.goto(address)
    page.locator(".dot.live").wait_for()
    page.locator(".chart-canvas canvas").first.wait_for(state="attached")
    page.wait_for_timeout(1500)
    return page


def trade(page: Page) -> None:
    """Orders by hand, so that there is something to see."""
    last = float(page.locator(".last").inner_text().replace(",", ""))
    for kind, side, part, amount in (
        ("market", "buy", 1.0, "0.005"),
        ("limit", "buy", 0.997, "0.003"),
        ("limit", "sell", 1.004, "0.003"),
        ("limit", "buy", 0.993, "0.003"),
    ):
        page.select_option("#ticket-type", kind)
        page.click(f".side-button.{side}")
        if kind == "limit":
            page.fill("#ticket-price", f"{last * part:.0f}")
        page.fill("#ticket-amount", amount)
        expect(page.locator(".preview")).to_have_attribute("data-valid", "yes", timeout=10_000)
        page.click("button.submit")
        expect(page.locator("#ticket-amount")).to_have_value("", timeout=10_000)
        page.wait_for_timeout(500)
    page.select_option("#ticket-type", "limit")
    page.fill("#ticket-price", f"{last * 0.99:.0f}")
    page.fill("#ticket-amount", "0.002")
    page.wait_for_timeout(600)


def views(page: Page, name: str, only: str) -> None:
    """Every view of one page."""
    phone = page.locator(".phone").is_visible()
    for view in VIEWS if phone else ():
        page.click(f"[data-view={view}].phone-tab")
        if view != "account":
            shoot(page, f"{name}-{view}", only)
    for tab in TABS:
        page.evaluate("id => document.getElementById(id).click()", f"tab-{tab}")
        shoot(page, f"{name}-{tab}", only)


def stress(page: Page, name: str, only: str, server: Server) -> None:
    """What a bad day looks like: an order that is refused, trading halted, the server silent."""
    phone = page.locator(".phone").is_visible()
    if phone:
        page.click("[data-view=trade].phone-tab")
    page.select_option("#ticket-type", "market")
    page.fill("#ticket-amount", "0.5")
    page.locator(".rules li").first.wait_for()
    page.click("button.submit")
    page.locator(".outcome[role=alert]:not(:empty)").wait_for()
    shoot(page, f"{name}-stress-refused", only)
    server.call("trading.halt", reason="the exchange answers with errors since noon")
    shoot(page, f"{name}-stress-halted", only)
    server.call("trading.resume", reason="it answers again")
    if phone:
        page.click("[data-view=book].phone-tab")
    assert server.process
    server.process.send_signal(signal.SIGSTOP)
    page.locator(".dot.lost").wait_for()
    shoot(page, f"{name}-stress-lost", only)
    server.process.send_signal(signal.SIGCONT)
    page.locator(".dot.live").wait_for()


def shoot(page: Page, name: str, only: str) -> None:
    """One picture, once what was asked for has come."""
    if only in name:
        page.wait_for_timeout(700)
        page.screenshot(path=FOLDER / f"{name}.png")


def picture(browser: Browser, address: str) -> None:
    """The one of the README."""
    page = opened(browser, address, "desktop", "dark")
    trade(page)
    page.click("#tab-orders")
    page.wait_for_timeout(800)
    for quality in (85, 75, 65, 50):
        page.screenshot(path=PICTURE, type="jpeg", quality=quality)
        if PICTURE.stat().st_size < LARGEST:
            return
    sys.exit(f"{PICTURE} is larger than {LARGEST} B at any quality")


def main(arguments: list[str]) -> None:
    """All of it."""
    parser = argparse.ArgumentParser(prog="shots", description=__doc__)
    parser.add_argument("--only", default="", help="part of a name, as dark-phone")
    parser.add_argument("--picture", action="store_true", help="only the one of the README")
    given = parser.parse_args(arguments)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="realtime-shots-") as folder, chromium() as browser:
        server = Server(Path(folder))
        server.start()
        try:
            if given.picture:
                picture(browser, server.address)
                print(PICTURE, PICTURE.stat().st_size)
                return
            first = opened(browser, server.address, "desktop", "dark")
            trade(first)
            first.close()
            for theme in ("dark", "light"):
                for size in SIZES:
                    name = f"{theme}-{size}"
                    calm = "stress" not in given.only
                    wanted = given.only.removesuffix("stress").removesuffix("-")
                    if not (name in wanted or wanted in name):
                        continue
                    page = opened(browser, server.address, size, theme)
                    if calm:
                        views(page, name, given.only)
                    page.evaluate("document.getElementById('tab-positions').click()")
                    stress(page, name, given.only, server)
                    page.close()
        finally:
            server.kill()
    print(FOLDER)


if __name__ == "__main__":
    main(sys.argv[1:])
