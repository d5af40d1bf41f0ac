"""The view of the portfolio against the real server: what it is made of, and the way to other weights."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Desk
from tests.web.serving import Server
from tests.web.test_look import WIDER, findings


pytestmark = pytest.mark.browser

PLAN = "form[aria-label=Plan] button[type=submit]"
ALLOCATE = "form[aria-label=Allocation] button"
WAIT = 30_000


def open_view(real: Desk, **how: Any) -> Page:
    """The page with the view in front."""
    page = real.open(**how)
    if how.get("width", 1440) < 800:
        page.click("[data-view=account].phone-tab")
    page.click("#tab-portfolio")
    expect(page.locator(".pf .facts").first).to_contain_text("USDT")
    return page


def target(page: Page, symbol: str, percent: str) -> None:
    """Sets the target of a market, which is added where it is not listed."""
    row = page.locator(f".pf-targets tr[data-key='{symbol}']")
    if row.count() == 0:
        page.select_option(".pf-add select", symbol)
    row.locator("input").fill(percent)


@pytest.mark.slow
def test_a_method_spreads_and_the_plan_is_looked_at_before_it_is_sent(
    real: Desk, server: Server, axe: str
) -> None:
    page = open_view(real, calm=True)
    page.click(ALLOCATE)
    expect(page.locator("form[aria-label=Allocation] + p")).to_contain_text("invalid")
    target(page, "BTC/USDT", "0")
    target(page, "ETH/USDT", "0")
    page.select_option("#pf-method", "equal")
    page.select_option("#pf-risk_profile", "aggressive")
    page.fill("#pf-max_allocation", "10")
    page.click(ALLOCATE)
    expect(page.locator(".pf-add")).to_contain_text("together 10 %, cash 90 %")
    page.click(PLAN)
    expect(page.locator(".pf-plan")).to_contain_text("2 orders, 1,000.00 of 10,000.00 USDT")
    assert server.call("order.history")["orders"] == []
    assert findings(page, axe) == []
    page.click(".pf-plan button.primary")
    expect(page.locator("dialog .facts")).to_contain_text("1,000.00 USDT")
    expect(page.locator("dialog .pf-orders li")).to_have_count(2)
    page.click("dialog .danger")
    expect(page.locator(".pf-plan [role=status]")).to_contain_text(
        "done: 2 of 2 orders ended, 2 filled", timeout=WAIT
    )
    held = {p["symbol"]: p for p in server.call("portfolio.snapshot")["positions"]}
    assert set(held) == {"BTC/USDT", "ETH/USDT"}
    rows = page.locator(".pf > section").first.locator("tbody tr")
    expect(rows.filter(has_text="BTC/USDT").first).to_contain_text("5.0 %")
    expect(page.locator(".pf .heat-cell")).to_have_count(4, timeout=WAIT)
    expect(page.locator(".pf .heat-cell").first).to_have_text("+1.00")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert findings(page, axe) == []
    again = open_view(real)
    expect(again.locator(".pf-targets tr[data-key='BTC/USDT'] input")).to_be_visible()


@pytest.mark.slow
def test_bad_targets_are_refused_in_their_row_and_an_order_cut_by_the_gate_says_so(
    real: Desk, server: Server
) -> None:
    page = open_view(real)
    target(page, "SOL/USDT", "much")
    page.click(PLAN)
    row = page.locator(".pf-targets tr[data-key='SOL/USDT']")
    expect(row.locator(".field-error")).to_contain_text("decimal string")
    expect(row.locator("input")).to_have_attribute("aria-invalid", "true")
    target(page, "SOL/USDT", "99")
    target(page, "LTC/USDT", "1.5")
    page.click(PLAN)
    expect(page.locator("form[aria-label=Plan] + [role=alert]")).to_contain_text("at most 1")
    target(page, "SOL/USDT", "60")
    page.click("[aria-label='Remove LTC/USDT']")
    page.click(PLAN)
    expect(page.locator(".pf-plan")).to_be_visible()
    target(page, "SOL/USDT", "50")
    expect(page.locator(".pf-plan")).to_be_hidden()
    page.click(PLAN)
    page.click(".pf-plan button.primary")
    page.click("dialog .danger")
    state = page.locator(".pf-plan [role=status]")
    expect(state).to_contain_text("1 filled", timeout=WAIT)
    cut = re.compile(r"SOL/USDT: cut from .* max_position_size")
    expect(page.locator(".pf-plan .rules li")).to_contain_text(cut)
    page.reload()
    expect(page.locator(".pf-plan .rules li")).to_contain_text(cut)


@pytest.mark.slow
def test_the_confidence_of_bots_that_said_nothing_spreads_nothing(real: Desk) -> None:
    page = open_view(real, width=390, height=844, touch=True)
    page.select_option("#pf-method", "confidence")
    page.click(ALLOCATE)
    expect(page.locator("form[aria-label=Allocation] + p")).to_contain_text("No bot says buy")
    assert page.evaluate(WIDER) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
