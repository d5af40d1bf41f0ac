"""Screenshots of every view, theme and size into `tests/screenshots/` (not in git), for people to look at.

Run it with `npm run shots`, or `python -m tests.web.shots [ADDRESS]` against a server that runs.
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.web.fake import Fake


FOLDER = Path(__file__).resolve().parents[1] / "screenshots"
SIZES = {"desktop": (1440, 900), "wide": (2560, 1440), "tablet": (1000, 1200), "phone": (390, 844)}
TABS = ("positions", "orders", "fills", "balances", "log")


def trade(page: Page) -> None:
    """A few orders by hand, so that there is something to see."""
    last = float(page.locator(".last").inner_text().replace(",", ""))
    for side, part in (("buy", 0.997), ("sell", 1.004), ("buy", 0.993)):
        page.click(f".side-button.{side}")
        page.fill("#ticket-price", f"{last * part:.0f}")
        page.fill("#ticket-amount", "0.02")
        page.click("button.submit")
        page.wait_for_timeout(800)
    page.select_option("#ticket-type", "market")
    page.click(".side-button.buy")
    page.fill("#ticket-amount", "0.1")
    page.click("button.submit")
    page.wait_for_timeout(800)
    page.select_option("#ticket-type", "limit")
    page.fill("#ticket-price", f"{last * 0.99:.0f}")
    page.fill("#ticket-amount", "0.5")
    page.wait_for_timeout(600)


def views(page: Page, name: str) -> None:
    """Every view of one page."""
    if page.locator(".phone").is_visible():
        for view in ("chart", "book", "trade", "account"):
            page.click(f"[data-view={view}].phone-tab")
            page.wait_for_timeout(400)
            page.screenshot(path=FOLDER / f"{name}-{view}.png")
        return
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(300)
        page.screenshot(path=FOLDER / f"{name}-{tab}.png", full_page=True)


def main() -> None:
    """All of it."""
    FOLDER.mkdir(exist_ok=True)
    path = shutil.which("chromium")
    if path is None:
        sys.exit("no chromium")
    fake = Fake()
    fake.moving = True
    address = sys.argv[1] if len(sys.argv) > 1 else fake.start()
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-gpu", *root])
        done = False
        for theme in ("dark", "light"):
            for size, (width, height) in SIZES.items():
                page = browser.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if theme == "dark" else "light",
                )
                page.goto(address)
                page.locator(".dot.live").wait_for()
                page.wait_for_timeout(1500)
                if not done:
                    trade(page)
                    done = True
                views(page, f"{theme}-{size}")
                page.close()
        browser.close()
    fake.stop()
    print(FOLDER)


if __name__ == "__main__":
    main()
