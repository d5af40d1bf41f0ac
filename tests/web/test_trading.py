"""Stories of trading on the page, in a real browser against the fake server."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Desk, drawn, until
from tests.web.fake import Fake, Refusal


pytestmark = pytest.mark.browser


def fill_ticket(page: Page, amount: str, price: str | None = None) -> None:
    if price is not None:
        page.fill("#ticket-price", price)
    page.fill("#ticket-amount", amount)


def rows(page: Page, tab: str) -> list[str]:
    page.click(f"#tab-{tab}")
    found = page.locator(f"#pane-{tab} tbody tr")
    found.first.wait_for()
    return found.all_inner_texts()


def test_a_fresh_page_shows_mode_price_equity_and_book(desk: Desk) -> None:
    page = desk.open()
    expect(page.locator(".badge")).to_have_text("PAPER")
    expect(page.locator(".last")).to_have_text("64,012.1")
    expect(page.locator("#account")).to_contain_text("100,000.00")
    expect(page.locator("#strip")).to_contain_text("paper ok")
    sides = [page.locator(f".{s} .book-row:visible").count() for s in ("asks", "bids")]
    assert sides[0] == sides[1] > 10
    expect(page.locator(".credit")).to_contain_text("TradingView Lightweight Charts")
    assert page.locator(".chart-canvas canvas").count() > 0


def test_numbers_move_by_the_socket_alone_and_cells_keep_their_width(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    page.wait_for_load_state("networkidle")
    before = len(desk.watch.requests)
    last = page.locator(".last")
    width = last.bounding_box()
    first = last.inner_text()
    fake.moving = True
    expect(last).not_to_have_text(first)
    expect(page.locator("#tape tbody tr:visible").nth(3)).to_be_visible()
    assert last.bounding_box() == width
    assert len(desk.watch.requests) == before


def test_the_page_shows_the_book_of_the_server_to_the_last_digit(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    then = fake.now
    fake.moving = True
    until(page, lambda: fake.now > then + 500)
    fake.moving = False

    def same() -> bool:
        book = fake.do(lambda: fake.streams["orderbook:BTC/USDT?depth=25&rate=100"].value)
        shown = page.eval_on_selector_all(
            ".bids .book-row[data-price]:not([hidden])",
            "rows => rows.map(r => [r.dataset.price, r.querySelector('[data-cell=amount]').dataset.raw])",
        )
        return len(shown) > 5 and shown == book["bids"][: len(shown)]

    until(page, same)


def test_a_click_in_the_book_fills_the_ticket_and_sends_nothing(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    row = page.locator(".asks .book-row[data-price]").nth(2)
    price = row.get_attribute("data-price")
    row.locator("[data-cell=price]").click()
    expect(page.locator("#ticket-price")).to_have_value(price or "")
    expect(page.locator("#ticket-amount")).to_have_value("")
    row.locator("[data-cell=total]").click()
    expect(page.locator("#ticket-amount")).not_to_have_value("")
    assert fake.ops("order.place") == []


def test_a_limit_order_is_previewed_sent_once_shown_amended_and_canceled(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    fill_ticket(page, "0.05", "64010.7")
    expect(page.locator(".preview")).to_contain_text("3,200.54 USDT")
    assert fake.ops("order.place") == []
    page.get_by_role("button", name="Buy 0.05000 BTC at 64,010.7").click()
    expect(page.locator(".outcome[role=status]")).to_contain_text("Open: buy 0.05000 BTC")
    placed = fake.ops("order.place")
    assert [(p["price"], p["amount"], p["mode"]) for p in placed] == [("64010.7", "0.05", "paper")]
    assert "BTC/USDT" in rows(page, "orders")[0]
    expect(page.locator("#tab-orders")).to_contain_text("1")
    page.click("#pane-orders button:has-text('Amend')")
    page.fill("dialog [name=price]", "64000.05")
    page.click("dialog .button.primary")
    expect(page.locator("dialog [role=alert]")).to_contain_text("invalid: price 64000.05 is off")
    page.fill("dialog [name=price]", "64000.5")
    page.click("dialog .button.primary")
    expect(page.locator("#pane-orders tbody")).to_contain_text("64,000.5")
    page.click("#pane-orders button:has-text('Cancel')")
    expect(page.locator("#pane-orders tbody")).to_contain_text("canceled")


def test_no_gesture_makes_two_orders(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    fill_ticket(page, "0.01", "63900")
    page.dblclick("button.submit")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Open")
    assert len(fake.ops("order.place")) == 1
    drawn(page)
    fill_ticket(page, "0.02", "63800")
    expect(page.locator("button.submit")).to_be_enabled()
    page.focus("#ticket-amount")
    page.keyboard.down("Enter")
    for _ in range(5):  # held: the keyboard repeats
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.keyboard.press("Enter")
    page.click("button.submit", force=True)
    expect(page.locator("#tab-orders")).to_contain_text("2")
    assert len(fake.ops("order.place")) == 2


def test_a_refusal_stands_at_the_ticket_with_code_and_words_and_the_ticket_is_kept(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    details = {"fields": [{"field": "price", "message": "off the grid of 0.10"}]}
    fake.refusals.append(Refusal("invalid", "price 63900.05 is off the grid", details))
    fill_ticket(page, "0.05", "63900.05")
    page.click("button.submit")
    expect(page.locator(".outcome[role=alert]")).to_have_text(
        "invalid: price 63900.05 is off the grid"
    )
    expect(page.locator("#ticket-price")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#ticket-price-error")).to_have_text("off the grid of 0.10")
    expect(page.locator("#ticket-amount")).to_have_value("0.05")
    drawn(page)
    page.click("button.submit")  # as soon as it may be pressed again
    expect(page.locator(".outcome[role=status]")).to_contain_text("Open")
    ids = [p["client_order_id"] for p in fake.ops("order.place")]
    assert len(set(ids)) == 2


def test_the_preview_names_the_rule_that_would_refuse(desk: Desk) -> None:
    page = desk.open()
    fill_ticket(page, "0.5", "63900")
    expect(page.locator(".rules")).to_have_text("Order too large: 31,950 USDT, limit 10,000 USDT")
    page.click("text=Max")
    expect(page.locator("#ticket-amount")).to_have_value("0.15000")


def test_an_order_without_an_answer_is_looked_up_and_never_sent_twice(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    fake.lose_next = True
    fill_ticket(page, "0.05", "63900")
    page.click("button.submit")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Resolved: the order is open")
    assert len(fake.ops("order.place")) == 1
    assert len(rows(page, "orders")) == 1


def test_a_market_order_makes_fill_position_and_balance_and_is_closed(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    page.select_option("#ticket-type", "market")
    fill_ticket(page, "0.1")
    page.click("button.submit")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Filled: buy 0.10000 BTC")
    assert "▲ long" in rows(page, "positions")[0]
    assert "0.10000" in rows(page, "fills")[0]
    assert any("BTC" in row and "0.1" in row for row in rows(page, "balances"))
    page.click("#tab-positions")
    page.click("#pane-positions button:has-text('Close')")
    page.select_option("dialog [name=fraction]", "0.5")
    page.click("dialog .button.danger")
    expect(page.locator("#pane-positions tbody")).to_contain_text("0.05000")
    assert fake.do(lambda: fake.held("BTC")) == Decimal("0.05")


def test_every_type_of_order_sends_its_own_fields(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    every: dict[str, dict[str, str]] = {
        "stop": {"stop_price": "63000"},
        "stop_limit": {"stop_price": "63000", "price": "62990"},
        "trailing_stop": {"trailing_amount": "150"},
    }
    for number, (kind, fields) in enumerate(every.items(), 1):
        page.select_option("#ticket-type", kind)
        page.click(".side-button.sell")
        for name, value in fields.items():
            page.fill(f"#ticket-{name}", value)
        fill_ticket(page, "0.01")
        page.check("#ticket-reduce")
        page.click("button.submit")
        expect(page.locator("#tab-orders .count")).to_have_text(str(number))
        sent = fake.ops("order.place")[-1]
        assert (sent["type"], sent["side"], sent["reduce_only"]) == (kind, "sell", True)
        assert {name: sent[name] for name in fields} == fields


def test_cancel_all_says_what_it_would_do_before_it_acts(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    fill_ticket(page, "0.01", "63900")
    page.click("button.submit")
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    page.locator("body").press("Shift+X")
    expect(page.locator("dialog")).to_contain_text("Working orders")
    assert all(p.get("dry_run") for p in fake.ops("order.cancel_all"))
    page.click("dialog .button.danger")
    expect(page.locator("#tab-orders .count")).to_have_text("")


def test_halt_by_holding_and_an_early_release_does_nothing(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    box = page.locator(".halt").bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 10)
    page.mouse.down()
    page.clock.run_for(400)
    page.mouse.up()
    assert fake.ops("trading.halt") == []
    assert page.locator("dialog").count() == 0
    page.mouse.down()
    page.clock.run_for(1000)
    expect(page.locator("dialog h2")).to_have_text("Trading is halted")
    page.mouse.up()
    page.keyboard.press("Escape")
    expect(page.locator("#banner")).to_contain_text("Trading is halted by local: manual")
    expect(page.locator("button.submit")).to_be_disabled()
    page.reload()
    expect(page.locator("#banner")).to_contain_text("Trading is halted")
    assert len(fake.ops("trading.halt")) == 1


def test_halt_by_keyboard_tells_what_it_did_and_resuming_needs_word_and_confirmation(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    fill_ticket(page, "0.01", "63900")
    page.click("button.submit")
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    page.locator("body").press("Shift+H")
    expect(page.locator("dialog button.danger")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("dialog h2")).to_have_text("Trading is halted")
    expect(page.locator("dialog .facts")).to_contain_text("1: p-")
    page.keyboard.press("Enter")
    page.click(".halt")
    expect(page.locator("dialog button.primary")).to_be_disabled()
    page.fill("dialog [name=reason]", "checked")
    page.fill("dialog [name=word]", "resume")
    page.click("dialog button.primary")
    expect(page.locator("dialog")).to_contain_text("The server asks to confirm")
    page.click("dialog button.danger")
    expect(page.locator(".halt")).to_contain_text("Halt trading")
    assert [p.get("confirm") for p in fake.ops("trading.resume")] == [None, "c-1"]


def test_halt_goes_by_http_when_the_socket_is_down_even_if_it_was_halted_before(
    desk: Desk, fake: Fake
) -> None:
    desk.watch.forgiven = ("WebSocket connection to",)
    page = desk.open()
    fake.do(lambda: fake.command("trading.halt", {"reason": "elsewhere"}, "another"))
    expect(page.locator(".halt")).to_contain_text("Resume")
    fake.closed = True
    fake.cut()
    expect(page.locator(".dot.lost")).to_be_visible()
    expect(page.locator(".halt")).to_contain_text("Halt trading")  # who knows what came since
    page.locator("body").press("Shift+H")
    page.keyboard.press("Enter")
    expect(page.locator("dialog h2")).to_have_text("Trading is halted")
    assert [p["http"] for p in fake.ops("trading.halt")] == [True]


def test_fills_are_said_a_storm_together_and_the_same_words_again(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    page.clock.pause_at(datetime.fromtimestamp(page.evaluate("Date.now()") / 1000 + 1, UTC))
    spoken = page.locator("body > p.hidden[role=status]")
    count = "import('/js/app.js').then(({ app }) => app.store.list('fills').length)"

    def come(number: int) -> bool:
        return bool(page.evaluate(count) == number)

    def buy(*numbers: int) -> None:
        order = {"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.01"}
        for number in numbers:
            named = order | {"client_order_id": f"x-{number}"}
            fake.do(partial(fake.place, named, "another"))
            until(page, partial(come, number))
            page.clock.run_for(100)

    buy(1)
    expect(spoken).to_have_text("1 fill, 0.01 BTC")
    buy(2, 3, 4)
    expect(spoken).to_have_text("1 fill, 0.01 BTC")
    page.clock.run_for(3000)
    expect(spoken).to_have_text("3 fills, 0.03 BTC")
    page.clock.run_for(3000)
    expect(spoken).to_have_text("")
    buy(5)
    expect(spoken).to_have_text("1 fill, 0.01 BTC")


def test_with_socket_and_http_down_the_page_says_that_nothing_was_halted(
    desk: Desk, fake: Fake
) -> None:
    desk.watch.forgiven = ("WebSocket connection to", "ERR_CONNECTION_REFUSED")
    page = desk.open()
    fake.stop()
    expect(page.locator(".dot.lost")).to_be_visible()
    page.locator("body").press("Shift+H")
    page.keyboard.press("Enter")
    expect(page.locator("dialog h2")).to_have_text("Trading is NOT halted")
    expect(page.locator("dialog")).to_contain_text("realtime call trading.halt")


def test_keyboard_alone_places_and_cancels_an_order(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    body = page.locator("body")
    body.press("s")
    body.press("l")
    page.keyboard.type("64500")
    page.keyboard.press("Tab")
    page.keyboard.type("0.01")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    assert fake.ops("order.place")[0]["side"] == "sell"
    page.evaluate("document.activeElement.blur()")
    body.press("2")
    page.locator("#pane-orders button:has-text('Cancel')").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#pane-orders tbody")).to_contain_text("canceled")
    body.press("?")
    expect(page.locator("dialog .keys")).to_contain_text("halt trading")


def test_a_viewer_sees_no_entry_and_why(desk: Desk, fake: Fake) -> None:
    fake.scopes = ("read",)
    page = desk.open()
    fill_ticket(page, "0.01", "63900")
    expect(page.locator("button.submit")).to_be_disabled()
    expect(page.locator("#ticket")).to_contain_text("View only: your role may not trade")
    expect(page.locator("#banner")).to_contain_text("View only")
    alert = {
        "id": "a-1",
        "ts": fake.now,
        "level": "warning",
        "code": "x",
        "text": "y",
        "acked_by": None,
    }
    fake.do(lambda: fake.append("alerts", alert))
    page.click("#tab-log")
    expect(page.locator("text=Acknowledge")).to_have_attribute("title", re.compile("^View only"))
    expect(page.locator("text=Acknowledge")).to_be_disabled()
    page.locator("body").press("Shift+X")  # orders are not the tab that is shown
    page.locator("body").press("Shift+H")
    page.click("#tab-risk")
    expect(page.locator("#pane-risk .facts")).to_be_visible()
    assert fake.ops("order.cancel_all") == fake.ops("trading.halt") == []
    assert page.locator("dialog").count() == 0
