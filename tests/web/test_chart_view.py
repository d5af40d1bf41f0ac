"""Stories of the chart, most against the real server: overlays, shut hours, order lines, the plain chart, one time zone."""

import base64
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Desk, until
from tests.web.fake import Fake
from tests.web.serving import Server
from tests.web.test_real import place


pytestmark = pytest.mark.browser


def overlaid(page: Page, *names: str) -> Page:
    """The page with these overlays on, which a fresh one has not."""
    for name in names:
        page.click(f"[data-overlay={name}][aria-pressed=false]")
    return page


def hourly(page: Page) -> Page:
    """The page with bars that reach so wide that a price near the market is on the chart, however calm it was lately."""
    page.click("[data-frame='1h']")
    expect(page.locator("#price .hidden p")).to_contain_text("1h bars")
    return page


def ink(page: Page) -> float:
    """How bright the chart is, all in all: what is drawn on it, as a screenshot has it."""
    shot = page.locator(".chart-box").screenshot()
    mean: float = page.evaluate(
        """async (base64) => {
          const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
          const image = await createImageBitmap(new Blob([bytes]));
          const pen = new OffscreenCanvas(image.width, image.height).getContext('2d');
          pen.drawImage(image, 0, 0);
          const { data } = pen.getImageData(0, 0, image.width, image.height);
          let sum = 0;
          for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
          return sum / data.length;
        }""",
        base64.b64encode(shot).decode(),
    )
    return mean


def rested(page: Page) -> float:
    """How bright the chart is once it rests: the library glides to where it ends, and tells nobody."""
    looks = [0.0]

    def rests() -> bool:
        page.wait_for_timeout(400)
        looks.append(ink(page))
        return abs(looks[-1] / looks[-2] - 1) < 0.005 if looks[-2] else False

    until(page, rests)
    return looks[-1]


@pytest.mark.slow
def test_averages_and_gaps_switch_on_and_off_and_are_the_servers(
    real: Desk, server: Server
) -> None:
    page = overlaid(real.open(), "ema")
    averages = page.locator(".averages")
    expect(averages).to_contain_text(re.compile(r"EMA 12\s[\d,.]+\s+EMA 26\s[\d,.]+"))
    told = server.call("indicator.compute", name="ema", params={"length": 12}, symbol="BTC/USDT",
        timeframe="1m", limit=300,
    )  # fmt: skip
    shown = float((averages.inner_text().split()[2]).replace(",", ""))
    assert abs(shown / told["values"][-1][1] - 1) < 0.01
    page.click("[data-overlay=ema]")
    expect(averages).to_have_text("")
    expect(page.locator("[data-overlay=ema]")).to_have_attribute("aria-pressed", "false")
    page.select_option("#symbol", "ETH/USDT")
    page.click("[data-frame='5m']")
    page.click("[data-overlay=fvg]")
    expect(page.locator("[data-overlay=fvg]")).to_have_attribute("aria-pressed", "true")
    zones = server.call("indicator.fvg", symbol="ETH/USDT", timeframe="5m", limit=500)["zones"]
    assert zones
    page.reload()
    page.locator(".dot.live").wait_for()
    expect(page.locator("[data-overlay=fvg]")).to_have_attribute("aria-pressed", "true")
    page.click("[data-overlay=fvg]")
    page.click("[data-overlay=ema]")
    expect(averages).to_contain_text("EMA 26")


def test_an_order_line_is_dragged_to_amend_and_goes_back_when_it_is_left_or_refused(
    desk: Desk, fake: Fake
) -> None:
    page = hourly(desk.open())
    place(page, "buy", "limit", "0.002", 0.999)
    grip = page.locator(".grip")
    expect(grip).to_have_text("buy 0.00200")
    (order,) = fake.do(fake.working)

    def price() -> str:
        return str(fake.do(lambda: fake.streams["orders"].rows[order["id"]]["price"]))

    def drag(by: float) -> None:
        box = grip.bounding_box()
        assert box
        x, y = box["x"] + 12, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x, y + by / 2)
        page.mouse.move(x, y + by)

    drag(25)
    expect(grip).to_have_class(re.compile("pending"))
    page.keyboard.press("Escape")
    page.mouse.up()
    expect(grip).not_to_have_class(re.compile("pending"))
    assert price() == order["price"]

    drag(25)
    page.mouse.up()
    expect(page.locator("dialog h2")).to_have_text("Amend buy BTC/USDT?")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    assert price() == order["price"]

    drag(25)
    page.mouse.up()
    new = page.locator("dialog dd").nth(2).inner_text().replace(",", "")
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_have_count(0)
    expect(grip).not_to_have_class(re.compile("pending"))
    assert Decimal(price()) == Decimal(new) < Decimal(order["price"])
    assert Decimal(price()) % Decimal("0.10") == 0

    drag(20)
    fake.do(lambda: fake.cancel(fake.working()))
    expect(grip).to_have_count(0)  # and with it what is said of the drag
    expect(page.locator(".chart-said")).to_have_text("")
    page.mouse.up()
    assert page.locator("dialog").count() == 0


@pytest.mark.slow
def test_shut_hours_are_shaded_and_axis_and_page_have_one_time_zone(
    real: Desk, server: Server
) -> None:
    page = overlaid(real.open(), "ema", "hours")
    expect(page.locator(".chart-foot")).to_contain_text("Europe/Stockholm")
    page.click("[data-frame='1h']")
    expect(page.locator(".averages")).to_contain_text("EMA 12")
    before = rested(page)
    hour = datetime.now(UTC).hour
    server.call("trading_window.set", patch={"start_hour": hour, "end_hour": hour + 1})
    until(page, lambda: ink(page) > before * 1.05)
    shaded = rested(page)
    page.click("[data-overlay=hours]")
    until(page, lambda: ink(page) < shaded * 0.97)
    server.call("trading_window.set", patch={"start_hour": 0, "end_hour": 24})
    page.click(".zone")
    expect(page.locator(".chart-foot")).to_contain_text("UTC")
    newest = page.locator("#price caption + thead + tbody tr, #price tbody tr").first
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:00", newest.inner_text())


@pytest.mark.slow
def test_the_plain_chart_shows_the_same_averages_lines_and_grips(real: Desk) -> None:
    page = real.open(wait=False)
    page.route("**/vendor/**", lambda route: route.abort())
    real.watch.forgiven = ("ERR_FAILED", "vendor")
    page.reload()
    page.locator(".dot.live").wait_for()
    expect(page.locator(".chart-note")).to_contain_text("Plain chart")
    overlaid(hourly(page), "ema")
    expect(page.locator(".averages")).to_contain_text("EMA 26")
    place(page, "buy", "limit", "0.002", 0.998)
    expect(page.locator(".grip:visible")).to_have_count(1)
    before = ink(page)
    page.click("[data-overlay=volume]")
    until(page, lambda: ink(page) < before)
    page.locator("body").press("Shift+X")
    page.click("dialog .button.danger")
    expect(page.locator(".grip")).to_have_count(0)
