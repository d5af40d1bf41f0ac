"""Stories of ticket, book, positions and log against the real server, and what they look like on every screen."""

import re
from decimal import ROUND_DOWN, Decimal

import pytest
from playwright.sync_api import expect

from tests.web.conftest import Desk, until
from tests.web.serving import Server
from tests.web.test_look import both_sides, findings, fits
from tests.web.test_real import place


pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_a_refusal_is_said_short_before_and_its_gauge_is_marked(real: Desk) -> None:
    page = real.open()
    page.select_option("#ticket-type", "market")
    page.select_option("[aria-label='Amount or cost']", "cost")
    page.fill("#ticket-amount", "20000")
    expect(page.locator(".rules")).to_contain_text(
        "Order too large: 20,000 USDT, limit 10,000 USDT"
    )
    expect(page.locator(".rules")).to_contain_text(
        re.compile(r"Not enough funds: needs 20,0\d\d[.\d]* USDT, have [\d,.]+ USDT")
    )
    expect(page.locator(".card[data-refused]")).to_contain_text("Exposure")
    page.fill("#ticket-amount", "100")
    expect(page.locator(".card[data-refused]")).to_have_count(0)
    expect(page.locator("button.submit")).to_have_text("Buy BTC for 100 USDT (market)")


@pytest.mark.slow
def test_cost_and_part_make_an_amount_and_a_far_price_and_a_large_amount_are_warned_of(
    real: Desk,
) -> None:
    page = real.open()
    last = float(page.locator(".last").inner_text().replace(",", ""))
    page.fill("#ticket-price", f"{last * 0.9:.2f}")
    page.select_option("[aria-label='Amount or cost']", "cost")
    page.fill("#ticket-amount", "100")
    cost = Decimal(100) / Decimal(f"{last * 0.9:.2f}")
    amount = cost.quantize(Decimal("0.00001"), ROUND_DOWN)
    expect(page.locator("button.submit")).to_contain_text(f"Buy {amount} BTC at")
    expect(page.locator("#ticket")).to_contain_text(
        re.compile(r"\u2212(9|10)\.\d\d % from the last")
    )
    page.fill("#ticket-price", f"{last:.2f}")
    page.click(".chips.fill >> text=10 %")
    expect(page.locator("[aria-label='Amount or cost']")).to_have_value("amount")
    expect(page.locator("#ticket-amount")).to_have_value(re.compile(r"0\.00\d+"))
    page.fill("#ticket-amount", "5")
    expect(page.locator("#ticket")).to_contain_text("more than a tenth of the five best levels")


@pytest.mark.slow
def test_a_click_on_an_own_level_edits_the_order(real: Desk, server: Server) -> None:
    page = real.open()
    page.check("#ticket-post")
    for _ in range(8):  # the market moves the rows about, and may fill or pass the order
        bid = page.locator(".bids .book-row[data-price]:visible").last.get_attribute("data-price")
        page.fill("#ticket-price", bid or "")
        page.fill("#ticket-amount", "0.001")
        page.click("button.submit")
        expect(page.locator("#ticket-amount")).to_have_value(
            ""
        )  # answered: none is under way at the end
        for _ in range(10):
            page.evaluate("document.querySelector('.book-row.own [data-cell=price]')?.click()")
            if page.locator("dialog").count():
                break
            page.wait_for_timeout(100)  # a second in all: that the row has gone is an answer too
        if page.locator("dialog").count():
            break
    # The second click's dialog may take the place of the first's just now; under either the page's keys are inert.
    expect(page.locator("dialog[open] h2")).to_have_text("Amend buy BTC/USDT")
    server.call("order.cancel_all")
    expect(page.locator("#tab-orders .count")).to_have_text("")


@pytest.mark.slow
def test_a_position_gets_a_stop_that_is_edited_and_is_closed_by_part(
    real: Desk, server: Server
) -> None:
    # What the market gave to the orders of another test: each of them would get a stop, too.
    server.call("position.close_all")
    page = real.open()
    place(page, "buy", "market", "0.004")
    row = page.locator("#pane-positions tbody tr")
    page.click("#tab-positions")
    expect(row).to_contain_text("set…")
    expect(page.locator("#pane-positions .totals")).to_contain_text("1 position · value")
    (held,) = server.rows("positions").values()
    stop = f"{float(held['entry_price']) * 0.97:.2f}"
    row.locator(".cell-button").first.click()
    page.fill("dialog [name=stop_loss]", stop)
    page.click("dialog .button.primary")
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    (order,) = server.working()
    assert (order["type"], order["side"], order["reduce_only"]) == ("stop", "sell", True)
    assert Decimal(order["stop_price"]) == Decimal(stop)
    expect(page.locator(".grip")).to_have_count(1)
    page.locator("body").press("Shift+X")
    page.click("dialog .button.danger")
    expect(page.locator("#tab-orders .count")).to_have_text("")
    page.click("#pane-positions button:has-text('Close')")
    page.select_option("dialog [name=fraction]", "0.5")
    page.click("dialog .button.danger")
    expect(page.locator("dialog")).to_have_count(0)
    half, step = Decimal(held["amount"]) / 2, Decimal("0.0001")

    def left() -> Decimal:
        (position,) = server.rows("positions").values()
        return Decimal(position["amount"])

    until(page, lambda: abs(left() - half) < step)
    page.click("#tab-fills")
    fill = page.locator("#pane-fills tbody tr").first
    expect(fill).to_contain_text(re.compile(r"0\.\d+ USDT"))


@pytest.mark.slow
def test_the_log_filters_by_level_and_stands_still_while_scrolled(
    real: Desk, server: Server
) -> None:
    page = real.open(height=700)
    page.click("#tab-log")
    page.select_option("[aria-label=Show]", "events")
    for number in range(10, 22):
        server.call("trading_window.set", patch={"max_trades_per_day": number})
    page.locator("#pane-log tbody tr").nth(8).wait_for()
    page.evaluate("document.querySelector('#pane-log').scrollTop = 60")
    page.wait_for_timeout(400)  # nothing new is coming any more
    first = page.locator("#pane-log tbody tr").first.inner_text()
    server.call("trading_window.set", patch={"max_trades_per_day": 5})
    expect(page.locator(".fresh")).to_have_text(re.compile(r"^\d+ new$"))
    assert page.locator("#pane-log tbody tr").first.inner_text() == first
    page.click(".fresh")
    expect(page.locator(".fresh")).to_be_hidden()
    assert page.locator("#pane-log tbody tr").first.inner_text() != first
    page.select_option("[aria-label=Level]", "errors")
    expect(page.locator("#pane-log")).to_contain_text("Nothing to report")


@pytest.mark.slow
def test_axe_finds_nothing_in_both_themes_with_orders_positions_and_every_overlay(
    real: Desk, axe: str
) -> None:
    page = real.open(calm=True)
    page.click("[data-overlay=fvg]")
    place(page, "buy", "limit", "0.001", 0.999)
    place(page, "buy", "market", "0.002")
    page.click("#tab-positions")
    page.fill("#ticket-amount", "5")
    expect(page.locator(".rules li").first).to_be_visible()
    for theme in ("dark", "light"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        assert findings(page, axe) == [], theme


@pytest.mark.slow
def test_nothing_is_wider_than_the_screen_and_the_book_has_both_sides(real: Desk) -> None:
    page = real.open(width=375, height=812)
    for width, height in ((375, 812), (768, 1024), (1440, 620), (1440, 900), (2560, 1440)):
        page.set_viewport_size({"width": width, "height": height})
        for view in ("chart", "trade", "account", "book") if width <= 720 else ("",):
            if view:
                page.click(f"[data-view={view}].phone-tab")
            fits(page)
        until(page, lambda: both_sides(page, 5))
