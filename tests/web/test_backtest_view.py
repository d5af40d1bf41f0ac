"""The view of backtests against the real server: its form, its runs, what they brought, what they change."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Desk
from tests.web.serving import Server
from tests.web.test_look import WIDER, findings


pytestmark = pytest.mark.browser

RUNS = ".bt-runs tbody tr"
WAIT = 30_000


def open_view(real: Desk, **how: Any) -> Page:
    """The page with the view in front and its form made."""
    page = real.open(**how)
    if how.get("width", 1440) < 800:
        page.click("[data-view=account].phone-tab")
    page.click("#tab-backtest")
    page.locator("#bt-fast_period").wait_for()
    return page


def short(page: Page) -> None:
    """Few bars, so that a run takes no time."""
    page.select_option("#bt-timeframe", "5m")
    page.fill("#bt-days", "1")


def ratio(value: float | None) -> str:
    """As the page writes it: there is none of a stretch without trades."""
    return "\N{EN DASH}" if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def run(page: Page) -> None:
    """Sends the form and waits for the end of what it started."""
    before = page.locator(RUNS).count()
    page.click(".bt-form button[type=submit]")
    expect(page.locator(RUNS)).to_have_count(before + 1, timeout=WAIT)
    expect(page.locator(f"{RUNS} .bt-state").first).to_have_text("done", timeout=WAIT)


def test_the_dates_of_a_run_are_of_the_zone_that_the_page_shows(real: Desk) -> None:
    page = open_view(real)
    page.check("[name=dates]")
    page.fill("#bt-start", "2026-01-02T03:04")
    first = page.locator(".field", has=page.locator("#bt-start"))
    for zone, clock in (("UTC", "02:04"), ("local", "03:04")):  # the browser's is Stockholm
        page.click(".zone")
        expect(first.locator(".unit")).to_have_text(zone)
        expect(page.locator("#bt-start")).to_have_value(f"2026-01-02T{clock}")


def test_a_run_made_by_the_form_shows_the_servers_numbers_and_goes_when_deleted(
    real: Desk, server: Server
) -> None:
    page = open_view(real)
    short(page)
    page.fill("#bt-fast_period", "5")
    run(page)
    row = server.call("backtest.list")["backtests"][0]
    assert row["parameters"]["fast_period"] == 5
    assert row["terms"]["stop_loss"] == 0.02
    metrics = row["results"]["metrics"]
    facts = page.locator(".bt-curve .facts")
    profit = f"{metrics['net_profit']:+.2f}".replace("-", "\N{MINUS SIGN}")
    expect(facts).to_contain_text(profit if metrics["net_profit"] else "0.00")
    expect(facts).to_contain_text(f"Trades{metrics['total_trades']}")
    expect(page.locator(".bt-curve canvas").first).to_be_visible()
    trades = server.call("backtest.trades", backtest_id=row["id"], limit=50)["trades"]
    expect(page.locator(".bt-trades tbody tr")).to_have_count(len(trades))
    other = open_view(real)
    expect(other.locator(RUNS)).to_have_count(1)
    page.click(f"{RUNS} button:has-text('Delete')")
    page.click("dialog .danger")
    expect(page.locator(RUNS)).to_have_count(0)
    assert server.call("backtest.list")["backtests"] == []


@pytest.mark.slow
def test_what_the_server_refuses_stands_at_its_field(real: Desk, server: Server) -> None:
    page = open_view(real)
    page.fill("#bt-fast_period", "99")
    page.click(".bt-form button[type=submit]")
    expect(page.locator("#bt-fast_period-error")).to_have_text("must be at most 50")
    expect(page.locator("#bt-fast_period")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#bt-fast_period")).to_be_focused()
    page.fill("#bt-fast_period", "12")
    page.fill("#bt-commission", "much")
    page.fill("#bt-risk-stop_loss_fraction", "3")
    page.click(".bt-form button[type=submit]")
    expect(page.locator("#bt-fast_period-error")).to_be_empty()
    expect(page.locator("#bt-commission-error")).not_to_be_empty()
    expect(page.locator("#bt-risk-stop_loss_fraction-error")).to_contain_text("below 1")
    expect(page.locator(".bt-send [role=alert]")).to_contain_text("invalid: ")
    page.click(".bt-modes button:nth-child(2)")
    page.fill("#bt-commission", "0.001")
    page.fill("#bt-risk-stop_loss_fraction", "")
    expect(page.locator(".field:has(#bt-risk-stop_loss_fraction) .unit")).to_have_text("off")
    page.click("label[for=bt-range-fast_period]")
    page.fill("input[aria-label='fast period, from']", "30")
    page.fill("input[aria-label='fast period, to']", "10")
    page.click(".bt-form button[type=submit]")
    expect(page.locator("#bt-range-fast_period-error")).to_contain_text("is above")
    assert server.call("backtest.list")["backtests"] == []


@pytest.mark.slow
def test_a_search_is_mapped_and_ranked_and_its_best_goes_into_the_configuration(
    real: Desk, server: Server, axe: str
) -> None:
    page = open_view(real, calm=True)
    short(page)
    page.click(".bt-modes button:nth-child(2)")
    for name, values in {"fast": ("4", "8", "2"), "slow": ("20", "40", "10")}.items():
        page.click(f"label[for=bt-range-{name}_period]")
        for part, value in zip(("from", "to", "step"), values, strict=True):
            page.fill(f"input[aria-label='{name} period, {part}']", value)
    run(page)
    row = server.call("backtest.list")["backtests"][0]
    results = row["results"]
    assert results["tried"] == 9
    expect(page.locator(".bt-map tbody tr")).to_have_count(3)
    expect(page.locator(".bt-map .heat-cell")).to_have_count(9)
    expect(page.locator(".bt-map .best").first).to_contain_text("★")
    best = results["ranking"][0]
    sharpe = ratio(best["in_sample_objective"])
    expect(page.locator(".bt-map .best").first).to_contain_text(sharpe)
    first = page.locator(".bt-ranking tbody tr").first
    expect(first).to_contain_text(f"fast period {best['parameters']['fast_period']}")
    expect(first).to_contain_text(ratio(best["out_of_sample_objective"]))
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert findings(page, axe) == []
    first.locator("button:has-text('Use')").click()
    diff = page.locator("dialog .diff tbody tr")
    expect(diff.filter(has_text="fast period")).to_have_text(
        re.compile(rf"fast period\s*12\s*{best['parameters']['fast_period']}")
    )
    page.click("dialog .primary")
    expect(page.locator("dialog h2")).to_have_text("Changed")
    page.keyboard.press("Enter")
    now = server.call("config.strategy.get", name="ema_crossover")["parameters"]
    assert now["fast_period"] == best["parameters"]["fast_period"]
    first.locator("button:has-text('Form')").click()
    expect(page.locator("#bt-fast_period")).to_have_value(str(best["parameters"]["fast_period"]))
    server.call("backtest.delete", backtest_id=row["id"])


@pytest.mark.slow
def test_runs_compare_side_by_side_and_one_under_way_is_canceled(
    real: Desk, server: Server, axe: str
) -> None:
    page = open_view(real, calm=True)
    short(page)
    run(page)
    page.fill("#bt-fast_period", "4")
    run(page)
    for box in page.locator(f"{RUNS} input[type=checkbox]").all():
        box.check()
    page.click("button:has-text('Compare 2')")
    rows = page.locator(".bt-compare tbody tr")
    expect(rows.filter(has_text="fast period")).to_contain_text("412")
    expect(rows.filter(has_text="Return")).to_have_count(1)
    assert findings(page, axe) == []
    page.select_option("#bt-timeframe", "1m")
    page.fill("#bt-days", "300")
    page.click(".bt-form button[type=submit]")
    cancel = page.locator(f"{RUNS} button:has-text('Cancel')")
    expect(page.locator("#tab-backtest .count")).to_have_text("1")
    cancel.click()
    expect(page.locator(f"{RUNS} .bt-state").first).to_have_text("canceled", timeout=WAIT)
    expect(page.locator("#tab-backtest .count")).to_have_text("")
    assert server.call("backtest.list")["backtests"][0]["status"] == "canceled"


@pytest.mark.slow
def test_on_the_phone_nothing_is_wider_than_the_screen(real: Desk) -> None:
    page = open_view(real, width=390, height=844, touch=True)
    page.click(".bt-modes button:nth-child(2)")
    page.click("label[for=bt-range-fast_period]")
    assert page.evaluate(WIDER) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = page.evaluate(
        "[...document.querySelectorAll('#pane-backtest :is(button, select, .check, input[type=text])')]"
        ".filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 43.5).length"
    )
    assert small == 0
