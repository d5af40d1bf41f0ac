"""What a person sets for the page: colours, motion, sounds, and when it asks before sending."""

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Desk, until
from tests.web.fake import Fake
from tests.web.test_look import findings


pytestmark = pytest.mark.browser

HEARD = """
window.heard = 0;
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...args) { window.heard++; return start.apply(this, args); };
"""
FLASHES = """
window.flashes = 0;
const animate = Element.prototype.animate;
Element.prototype.animate = function (...args) { window.flashes++; return animate.apply(this, args); };
"""
LOOK = "([palette, theme]) => Object.assign(document.documentElement.dataset, { palette, theme })"
CONTRAST = """
axe.run(
  {include: [["#ticket"], ["#markets"], ["#header"], ["#orderbook .asks .book-row:nth-child(2)"],
    ["#orderbook .bids .book-row:nth-child(2)"]]},
  {runOnly: ["color-contrast"], resultTypes: ["violations"]},
)
"""


def settings(page: Page) -> None:
    """Opens the dialog."""
    page.click(".tools [aria-label=Settings]")
    page.locator("dialog .pref").first.wait_for()


def done(page: Page) -> None:
    page.click("dialog .dialog-buttons .primary")


def buy(page: Page, amount: str) -> None:
    page.select_option("#ticket-type", "market")
    page.fill("#ticket-amount", amount)
    expect(page.locator(".preview")).to_have_attribute("data-valid", "yes")
    page.click("button.submit")


@pytest.mark.slow
def test_palettes_theme_and_zone_persist_and_every_palette_has_contrast(
    real: Desk, axe: str
) -> None:
    page = real.open(calm=True)
    settings(page)
    page.click("dialog [name=palette][value=blue-orange]")
    page.click("dialog [name=theme][value=light]")
    page.click("dialog [name=zone][value=utc]")
    expect(page.locator("html")).to_have_attribute("data-palette", "blue-orange")
    done(page)
    page.reload()
    page.locator(".dot.live").wait_for()
    expect(page.locator("html")).to_have_attribute("data-palette", "blue-orange")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(page.locator(".zone")).to_have_text("UTC")
    settings(page)
    expect(page.locator("dialog [value=blue-orange]")).to_be_checked()
    assert findings(page, axe) == []
    done(page)
    for palette in ("default", "blue-orange", "classic", "red-up"):
        for theme in ("dark", "light"):
            page.evaluate(LOOK, [palette, theme])
            found = page.evaluate(CONTRAST)["violations"]
            assert [n["html"] for v in found for n in v["nodes"]] == [], (palette, theme)


@pytest.mark.slow
def test_sounds_are_off_until_switched_on_and_a_fill_plays_only_then(real: Desk) -> None:
    page = real.open(script=HEARD)
    buy(page, "0.001")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Filled")
    page.wait_for_timeout(400)  # nothing is heard
    assert page.evaluate("window.heard") == 0
    settings(page)
    page.click("dialog [name=sound-fill]")
    assert page.evaluate("window.heard") == 2
    done(page)
    buy(page, "0.0011")
    until(page, lambda: page.evaluate("window.heard") >= 4)
    assert page.evaluate("window.heard") == 4
    page.reload()
    page.locator(".dot.live").wait_for()
    expect(page.locator("#tab-positions .count")).to_have_text("1")
    page.wait_for_timeout(300)  # nothing is heard
    assert page.evaluate("window.heard") == 0


def test_an_order_is_reviewed_where_the_person_wants_it_and_sent_once(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    settings(page)
    page.select_option("dialog [name=reviewPaper]", "above")
    page.fill("dialog [name=above]", "100")
    done(page)
    buy(page, "0.001")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Filled")
    buy(page, "0.005")
    expect(page.locator("dialog h2")).to_contain_text("Buy 0.005")
    expect(page.locator("dialog")).to_contain_text("A paper order")
    page.click("text=Cancel >> nth=-1")
    expect(page.locator("#ticket-amount")).to_have_value("0.005")
    page.click("button.submit")
    page.click("dialog .dialog-buttons .primary")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Filled: buy 0.005")
    page.click("#tab-orders")
    expect(page.locator("#pane-orders tbody tr").filter(has_text="0.00500")).to_have_count(1)
    assert [p["amount"] for p in fake.ops("order.place")] == ["0.001", "0.005"]


@pytest.mark.slow
def test_prices_flash_unless_switched_off_or_motion_is_reduced(real: Desk) -> None:
    page = real.open(script=FLASHES)
    until(page, lambda: page.evaluate("window.flashes"))
    settings(page)
    page.click("dialog [name=flash]")
    done(page)
    page.evaluate("window.flashes = 0")
    first = page.locator(".last").inner_text()
    expect(page.locator(".last")).not_to_have_text(first)
    page.wait_for_timeout(600)  # nothing flashes
    assert page.evaluate("window.flashes") == 0
    calm = real.open(script=FLASHES, calm=True)
    first = calm.locator(".last").inner_text()
    expect(calm.locator(".last")).not_to_have_text(first)
    assert calm.evaluate("window.flashes") == 0


@pytest.mark.slow
def test_broken_settings_break_nothing(real: Desk) -> None:
    broken = '{"palette": 7, "sounds": {"fill": "yes"}, "reviewPaper": "?", "reviewAbove": "x", "theme": []}'
    page = real.open(script=f"localStorage.setItem('realtime.page.1', '{broken}')")
    expect(page.locator("html")).to_have_attribute("data-palette", "default")
    buy(page, "0.001")
    expect(page.locator("dialog h2")).to_contain_text("Buy 0.001")
    page.keyboard.press("Escape")
    settings(page)
    expect(page.locator("dialog [name=reviewPaper]")).to_have_value("always")
    expect(page.locator("dialog [name=sound-fill]")).not_to_be_checked()
