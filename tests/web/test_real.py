"""Stories against the real server, in a process of its own, that a test may kill."""

import re
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Desk, until
from tests.web.serving import Server


pytestmark = pytest.mark.browser


def place(page: Page, side: str, kind: str, amount: str, part: float = 1.0) -> None:
    """Types an order into the ticket and sends it."""
    page.click(f".side-button.{side}")
    page.select_option("#ticket-type", kind)
    if kind == "limit":
        last = float(page.locator(".last").inner_text().replace(",", ""))
        page.fill("#ticket-price", f"{last * part:.2f}")
    page.fill("#ticket-amount", amount)
    expect(page.locator(".preview")).to_have_attribute("data-valid", "yes")
    page.click("button.submit")
    expect(page.locator("#ticket-amount")).to_have_value("")


def agree(page: Page, server: Server) -> None:
    """Orders, positions and balances on the screen become those of the server."""
    for tab, name in (("orders", "status"), ("positions", "amount"), ("balances", "total")):
        page.click(f"#tab-{tab}")
        until(page, partial(same, page, server, tab, name))


def same(page: Page, server: Server, tab: str, name: str) -> bool:
    """Whether a table has the rows of the server, and each says this field."""
    shown: dict[str, str] = page.eval_on_selector_all(
        f"#pane-{tab} tbody tr",
        "rows => Object.fromEntries(rows.map(r => [r.dataset.key, r.innerText.replaceAll(',', '')]))",
    )
    told = server.rows(tab)
    return shown.keys() == told.keys() and all(told[key][name] in shown[key] for key in told)


@pytest.mark.slow
def test_halt_is_the_servers_seen_by_every_page_and_ended_by_resume(
    real: Desk, server: Server
) -> None:
    page, other = real.open(), real.open()
    place(page, "buy", "limit", "0.001", 0.99)
    page.locator("body").press("Shift+H")
    page.keyboard.press("Enter")
    expect(page.locator("dialog h2")).to_have_text("Trading is halted")
    expect(page.locator("dialog .facts")).to_contain_text("1: p-")
    page.keyboard.press("Enter")
    expect(other.locator("#banner")).to_contain_text("Trading is halted")
    expect(other.locator("button.submit")).to_be_disabled()
    assert all(row["status"] == "canceled" for row in server.rows("orders").values())
    other.click(".halt")
    other.fill("dialog [name=reason]", "checked")
    other.fill("dialog [name=word]", "resume")
    other.click("dialog button.primary")
    expect(page.locator("#banner")).to_be_hidden()
    place(page, "buy", "limit", "0.001", 0.99)
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    page.click("#tab-orders")
    page.click("#pane-orders button:has-text('Cancel'):visible")
    expect(page.locator("#tab-orders .count")).to_have_text("")


def test_every_symbol_shows_book_chart_and_tape_that_agree(real: Desk) -> None:
    page = real.open()
    symbols = page.eval_on_selector_all("#symbol option", "all => all.map(o => o.value)")
    assert len(symbols) >= 10
    for symbol in symbols[1::3]:
        page.select_option("#symbol", symbol)
        book = page.locator(f".book[data-symbol='{symbol}'] .asks .book-row[data-price]")
        expect(book.first).to_be_visible()
        expect(page.locator("#tape tbody tr:visible").first).to_be_visible()
        expect(page.locator(".legend")).to_contain_text("C")
        best = page.locator(".bids .book-row").first.get_attribute("data-price")
        last = float(page.locator(".last").inner_text().replace(",", ""))
        assert best
        assert abs(float(best) / last - 1) < 0.02, symbol


def test_a_refusal_of_the_real_gate_names_its_rule_before_and_after(real: Desk) -> None:
    page = real.open()
    page.select_option("#ticket-type", "market")
    page.fill("#ticket-amount", "0.3")
    expect(page.locator(".preview")).to_have_attribute("data-valid", "no")
    expect(page.locator(".rules li").first).to_be_visible()
    page.click("button.submit")
    expect(page.locator(".outcome[role=alert]")).to_contain_text(
        re.compile("risk_rejected|insufficient_funds")
    )
    expect(page.locator("#ticket-amount")).to_have_value("0.3")


def test_orders_fill_cancel_and_survive_kill_9_on_the_page(real: Desk, server: Server) -> None:
    real.watch.forgiven = ("WebSocket connection to", "ERR_CONNECTION_REFUSED")
    page = real.open()
    place(page, "buy", "limit", "0.001", 0.99)
    place(page, "buy", "limit", "0.001", 0.985)
    expect(page.locator("#tab-orders .count")).to_have_text("2")
    place(page, "buy", "market", "0.005")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Filled: buy 0.00500 BTC")
    expect(page.locator("#tab-positions .count")).to_have_text("1")
    page.click("#tab-fills")
    expect(page.locator("#pane-fills tbody tr").first).to_contain_text("BTC/USDT")
    page.click("#tab-orders")
    page.locator("#pane-orders button:has-text('Cancel'):visible").first.click()
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    agree(page, server)
    page.evaluate("window.mark = 1")
    server.kill()
    expect(page.locator("#banner")).to_contain_text("Prices are frozen")
    expect(page.locator("button.submit")).to_be_disabled()
    server.start()
    expect(page.locator(".dot.live")).to_be_visible(timeout=30_000)
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    agree(page, server)
    assert page.evaluate("window.mark") == 1
    first = page.locator(".last").inner_text()
    expect(page.locator(".last")).not_to_have_text(first)
    place(page, "sell", "market", "0.004")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Filled: sell")
    agree(page, server)


def test_signing_in_by_ticket_or_token_and_neither_is_kept(
    browser: Browser, tmp_path: Path
) -> None:
    server = Server(tmp_path, REALTIME_AUTH__REQUIRED="true")
    server.start()
    ticket, token = re.search(r"#ticket=(\S+)", server.said), re.search(r"rt_\S+", server.said)
    assert ticket
    assert token
    desk = Desk(browser, f"{server.address}{ticket[0]}")
    page = desk.open()
    assert page.url == server.address
    desk.close()
    assert desk.watch.faults == []

    desk = Desk(browser, server.address)
    desk.watch.forgiven = ("401",)
    page = desk.open(wait=False)
    page.fill("dialog [name=token]", "rt_wrong")
    page.click("dialog button.primary")
    expect(page.locator("dialog [role=alert]")).to_contain_text("unauthorized")
    page.fill("dialog [name=token]", token[0])
    page.click("dialog button.primary")
    expect(page.locator(".dot.live")).to_be_visible()
    expect(page.locator("#account")).to_contain_text("10,000.00")
    assert token[0] not in page.evaluate("JSON.stringify({...localStorage}) + document.cookie")
    desk.close()
    server.kill()
    assert desk.watch.faults == []
