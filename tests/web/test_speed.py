"""What the page costs and what it shows under load: short in the fast suite, whole by `make speed` and `make soak`."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Desk, until
from tests.web.speed import Busy, Gauge, Measured, speed
from tests.web.test_link import show_hidden


pytestmark = pytest.mark.browser

BTC = "BTC/USDT"
CHANNELS = {
    "book": f"orderbook:{BTC}?depth=25&rate=100",
    "trades": f"trades:{BTC}",
    "ticker": f"ticker:{BTC}",
}
FULL = 200
"""Trades of a symbol that the page keeps."""
STRAY = 100
"""Objects that come and go with a level, a bar or a line of the log: ten; a ring without an end keeps 300 more."""
SHOWN = """
(() => {
  const rows = (css) => [...document.querySelectorAll(css)].filter((row) => !row.hidden);
  const bare = (text) => text.replace(/[^0-9.]/g, "").replace(/(\\.[0-9]*?)0+$/, "$1").replace(/\\.$/, "");
  const level = (row) => [row.dataset.price, row.querySelector('[data-cell="amount"]').dataset.raw];
  const trade = (row) => [...row.children].slice(0, 2).map((cell) => bare(cell.textContent));
  return {
    last: bare(document.querySelector(".last").textContent),
    bids: rows(".bids .book-row[data-price]").map(level),
    asks: rows(".asks .book-row[data-price]").map(level),
    tape: rows("#tape tbody tr").map(trade),
  };
})()
"""
COUNT = """
(() => {
  const count = (window.counted = { asked: 0, book: 0, tape: 0 });
  const all = { subtree: true, childList: true, characterData: true, attributes: true };
  for (const [name, css] of Object.entries({ book: "#orderbook .book", tape: "#tape tbody" }))
    new MutationObserver(() => count[name]++).observe(document.querySelector(css), all);
  const changes = new MutationObserver(() => {});
  changes.observe(document.body, all);
  const visible = Element.prototype.checkVisibility;
  Element.prototype.checkVisibility = function () {
    if (changes.takeRecords().length > 0) count.asked++;
    return visible.call(this);
  };
})()
"""
"""Panels paint within one task, so that an observer is told once of each painting; and how often a panel was asked for
its visibility behind a change of the same frame, which makes the browser compute all styles once more."""
TRANSITIONS = "document.getAnimations().filter((one) => one instanceof CSSTransition).length"
DROP = """
(() => {
  const parse = JSON.parse;
  JSON.parse = (text) => {
    const got = parse(text);
    const at = Array.isArray(got) ? got.findIndex((m) => m.type === "update" && m.channel.startsWith("orderbook:")) : -1;
    if (at < 0) return got;
    JSON.parse = parse;
    got.splice(at, 1);
    return got;
  };
})()
"""
"""In the worker: one update of the book never arrives."""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    """The real server on a market of twenty symbols that moves as told."""
    made = Busy(tmp_path_factory.mktemp("busy"), 500, 20)
    yield made
    made.stop()


@pytest.fixture
def desk_on_busy(browser: Browser, busy: Busy) -> Iterator[Desk]:
    """Pages on it; any fault of one fails the test."""
    made = Desk(browser, busy.address)
    made.watch.forgiven = ("WebSocket connection to", "ERR_CONNECTION_REFUSED")
    yield made
    made.close()
    assert made.watch.faults == []


@pytest.fixture
def page(desk_on_busy: Desk) -> Page:
    """One page on it."""
    return desk_on_busy.open()


def plain(number: str) -> str:
    """A decimal without trailing zeros."""
    return number.rstrip("0").rstrip(".") if "." in number else number


def equal(page: Page, busy: Busy) -> None:
    """With the market standing still, what is on the screen is what the hub has, to the last digit."""
    busy.say("rate 0")

    def same() -> bool:
        shown = page.evaluate(SHOWN)
        full = min(len(shown[name]) for name in ("bids", "asks", "tape")) >= 5
        return full and bool(shown == hub(busy, shown))

    until(page, same)


def hub(busy: Busy, shown: dict[str, Any]) -> dict[str, Any]:
    """As many rows as are shown, as the hub has them."""
    told = {}
    for name, channel in CHANNELS.items():
        answer = httpx.get(f"{busy.address}api/snapshot", params={"channel": channel})
        told[name] = answer.json()["data"]
    book, trades = told["book"], told["trades"][::-1]
    return {
        "last": plain(told["ticker"]["last"]),
        "bids": book["bids"][: len(shown["bids"])],
        "asks": book["asks"][: len(shown["asks"])],
        "tape": [[plain(t["price"]), plain(t["amount"])] for t in trades[: len(shown["tape"])]],
    }


def test_a_storm_costs_little_paints_at_its_pace_and_leaves_the_newest_values(
    page: Page, busy: Busy, browser: Browser
) -> None:
    gauge = Gauge(browser, page)
    page.evaluate(COUNT)
    busy.say("rate 8000")
    held = f"probe.app.store.list('{CHANNELS['trades']}').length"
    until(page, lambda: page.evaluate(held) >= FULL)
    before = gauge.alive()
    page.evaluate("probe.everything()")
    until(page, lambda: page.evaluate("probe.come()"))

    def measured() -> list[tuple[Measured, dict[str, int]]]:
        """A while in which enough came; on a machine that does much else nothing may come in one."""
        page.evaluate("Object.keys(counted).forEach((name) => { counted[name] = 0; })")
        seen = gauge.window(0.8, busy, frames=False)
        counted = page.evaluate("counted")
        return [(seen, counted)] if seen.reached > seen.offered / 20 else []

    ((seen, counted),) = until(page, measured)
    moving = page.evaluate(TRANSITIONS)
    # On a machine that does much else less than one may come in that time.
    until(page, lambda: page.evaluate("counted.book > 0 && counted.tape > 0"))
    page.evaluate("probe.nothing()")

    def grown() -> dict[str, int]:
        return {name: now - before[name] for name, now in gauge.alive().items()}

    # What was on its way when the streams were given up still comes, and goes; what is kept does not.
    until(page, lambda: max(grown().values()) <= STRAY)
    assert seen.script + seen.worker < 0.25
    assert counted["book"] <= 10 * seen.seconds + 4
    assert counted["tape"] <= 10 * seen.seconds + 4
    assert counted["asked"] <= 2
    assert moving == 0, "something glides all the time: that draws every frame, in between too"
    assert page.evaluate(held) == FULL
    page.click("#tab-risk")
    expect(page.locator("#orderbook")).to_be_hidden()
    page.evaluate("counted.book = 0")
    page.wait_for_timeout(200)  # nothing is painted
    assert page.evaluate("counted.book") == 0
    page.click("#tab-positions")
    equal(page, busy)


def test_numbers_are_the_hubs_after_a_lost_update_another_symbol_and_ten_minutes_hidden(
    desk_on_busy: Desk, busy: Busy, browser: Browser
) -> None:
    busy.say("rate 500")
    page = desk_on_busy.open(clock=True)
    gauge = Gauge(browser, page)
    gauge.ask_worker("Runtime.evaluate", {"expression": DROP})
    whose = {"expression": "String(JSON.parse)"}
    # Its own again, as soon as one was dropped.
    until(
        page,
        lambda: "native code" in gauge.ask_worker("Runtime.evaluate", whose)["result"]["value"],
    )
    equal(page, busy)

    busy.say("rate 2000")
    for symbol in ("ETH/USDT", BTC):
        page.select_option("#symbol", symbol)
        row = page.locator(f".book[data-symbol='{symbol}'] .book-row[data-price]").first
        expect(row).to_be_visible()
    equal(page, busy)

    busy.say("rate 2000")
    show_hidden(page, hidden=True)
    page.clock.fast_forward("10:00")
    show_hidden(page, hidden=False)
    equal(page, busy)


@pytest.mark.slow
def test_19_20_numbers_are_the_hubs_after_a_quiet_market_a_silent_feed_and_kill_9(
    page: Page, busy: Busy
) -> None:
    busy.say("rate 0")
    page.wait_for_timeout(6000)  # quiet, while the feed lives: nothing is marked
    assert page.locator("[data-age]").count() == 0
    expect(page.locator("#banner")).to_be_hidden()

    busy.say("rate 500")
    busy.say("silent")
    expect(page.locator("#orderbook")).to_have_attribute("data-age", "stale", timeout=30_000)
    expect(page.locator("#banner")).to_contain_text("The link is fine; the source is not")
    expect(page.locator(".dot.live")).to_be_visible()
    # Nothing at all comes from the venue: what the account has there is as last known, too.
    expect(page.locator("#tables")).to_have_attribute("data-age", "stale")
    for panel in ("bots", "markets"):
        expect(page.locator(f"#{panel}")).not_to_have_attribute("data-age", "stale")
    page.select_option("#ticket-type", "market")
    page.fill("#ticket-amount", "0.01")
    expect(page.locator("#ticket")).to_contain_text("The feed is late: no market orders.")
    expect(page.locator("button.submit")).to_be_disabled()
    busy.say("alive")
    for panel in ("orderbook", "tables"):
        expect(page.locator(f"#{panel}")).not_to_have_attribute("data-age", "stale", timeout=30_000)
    expect(page.locator("button.submit")).to_be_enabled()
    equal(page, busy)

    page.evaluate("window.mark = 1")
    busy.stop()
    expect(page.locator("#banner")).to_contain_text("Prices are frozen")
    busy.start()
    expect(page.locator(".dot.live")).to_be_visible(timeout=30_000)
    # The new server's tape begins empty, and nothing is traded while the market stands still.
    until(page, lambda: len(hub(busy, page.evaluate(SHOWN))["tape"]) >= 5)
    equal(page, busy)
    assert page.evaluate("window.mark") == 1


@pytest.mark.slow
def test_the_figures_of_the_design_hold(browser: Browser) -> None:
    missed = [one for one in speed(browser, 5) if not one.holds]

    assert missed == []
