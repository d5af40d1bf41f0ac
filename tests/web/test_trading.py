"""Stories of trading on the page, in a real browser against the fake server."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Desk, drawn, stopped, until
from tests.web.fake import Connection, Fake, Refusal, Row


pytestmark = pytest.mark.browser


def fill_ticket(page: Page, amount: str, price: str | None = None) -> None:
    if price is not None:
        page.fill("#ticket-price", price)
    page.fill("#ticket-amount", amount)


def row(page: Page, tab: str, words: str) -> None:
    """One row of the table, which is drawn in its own time, comes to say this."""
    page.click(f"#tab-{tab}")
    expect(page.locator(f"#pane-{tab} tbody tr").filter(has_text=words)).to_have_count(1)


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
    row(page, "orders", "BTC/USDT")
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


def test_a_refusal_by_a_rule_with_words_is_a_sentence(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    details = {"rule": "insufficient_funds", "value": "319057", "limit": "100000", "unit": "USDT"}
    message = "needs 319057 USDT, available 100000 USDT"
    fake.refusals.append(Refusal("insufficient_funds", message, details))
    fill_ticket(page, "5", "63811.40")
    page.click("button.submit")
    expect(page.locator(".outcome[role=alert]")).to_have_text(
        "Not enough funds: needs 319,057 USDT, have 100,000 USDT (insufficient_funds)"
    )


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
    fill_ticket(page, "0.01", "63900")
    expect(page.locator(".preview")).to_have_attribute("data-valid", "yes")
    button = page.locator("button.submit")
    before = button.bounding_box()
    fill_ticket(page, "0.5", "63900")
    expect(page.locator(".rules")).to_have_text("Order too large: 31,950 USDT, limit 10,000 USDT")
    assert button.bounding_box() == before, "a hand on its way to the button would miss it"
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
    row(page, "orders", "BTC/USDT")
    # As after an answer: what is pressed once more must not make a second order.
    expect(page.locator("#ticket-amount")).to_have_value("")
    page.focus("#ticket-amount")
    page.keyboard.press("Enter")
    page.click("button.submit", force=True)
    drawn(page)
    assert len(fake.ops("order.place")) == 1


def test_an_order_that_may_still_arrive_is_not_said_to_have_been_lost(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open(clock=True)
    said = page.locator(".outcome[role=alert]")
    fake.hold_next = True
    fill_ticket(page, "0.05", "63900")
    page.click("button.submit")
    until(page, lambda: len(fake.ops("order.get")) >= 1)
    drawn(page)
    page.clock.run_for(1100)
    until(page, lambda: len(fake.ops("order.get")) >= 2)
    drawn(page)
    expect(said).to_contain_text("Outcome unknown, being looked up")
    late = fake.held_up.pop()
    fake.do(lambda: fake.place(late, "page"))
    expect(page.locator(".outcome[role=status]")).to_contain_text("Resolved: the order is open")
    fake.hold_next = True
    fill_ticket(page, "0.02", "63800")
    expect(page.locator("button.submit")).to_be_enabled()
    page.click("button.submit")
    expect(said).to_contain_text("Outcome unknown, being looked up")
    page.clock.fast_forward(12_000)  # the server would refuse it now
    expect(said).to_contain_text("did not reach the server")
    expect(page.locator("#ticket-amount")).to_have_value("0.02")


def lost(page: Page, fake: Fake, amount: str, price: str) -> None:
    """An order that is held up on its way while the link breaks and comes back."""
    asked = len(fake.ops("order.get"))
    fake.hold_next = True
    fill_ticket(page, amount, price)
    expect(page.locator("button.submit")).to_be_enabled()
    page.click("button.submit")
    until(page, lambda: len(fake.ops("order.get")) > asked)
    expect(page.locator(".dot.live")).to_be_visible()
    expect(page.locator(".outcome[role=alert]")).to_contain_text("it has the same id")


def test_an_order_that_may_arrive_at_any_time_is_looked_for_ever_more_seldom(
    desk: Desk, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = fake.frame

    async def deaf(connection: Connection, p: Row) -> None:
        if p["op"] != "ping":
            await answer(connection, p)

    # The page never learns the server's clock: nothing bounds the life of what it sends.
    monkeypatch.setattr(fake, "frame", deaf)
    page = desk.open(clock=True)
    lost(page, fake, "0.05", "63900")
    (sent,) = fake.ops("order.place")
    assert "expires_at" not in sent
    page.click("#tab-orders")
    other = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "amount": "0.01"}

    def look(seconds: int, number: int) -> None:
        """Time goes by, and the orders change, at which the page asks if it is time to."""
        drawn(page)
        page.clock.fast_forward(seconds * 1000)
        named = other | {"price": str(60000 + number), "client_order_id": f"x-{number}"}
        fake.do(partial(fake.place, named, "another"))
        expect(page.locator("#pane-orders tbody tr")).to_have_count(number)

    def asked(before: int) -> bool:
        return len(fake.ops("order.get")) > before

    for number in range(1, 21):
        look(1, number)
    assert len(fake.ops("order.get")) < 10
    for number in range(21, 24):
        before = len(fake.ops("order.get"))
        look(31, number)
        until(page, partial(asked, before))
    expect(page.locator(".outcome[role=alert]")).to_contain_text("being looked up")
    late = fake.held_up.pop()
    fake.do(lambda: fake.place(late, "page"))
    expect(page.locator(".outcome[role=status]")).to_contain_text("Resolved: the order is open")
    assert len(fake.ops("order.place")) == 1


def again(page: Page, fake: Fake, amount: str, price: str) -> None:
    """The same ticket once more, and then what was held up arrives, too."""
    placed = len(fake.ops("order.place"))
    fill_ticket(page, amount, price)
    expect(page.locator("button.submit")).to_be_enabled()
    page.click("button.submit")
    until(page, lambda: len(fake.ops("order.place")) > placed)
    expect(page.locator(".outcome[role=status]")).to_contain_text("Open: buy")
    late = fake.held_up.pop()
    fake.do(lambda: fake.place(late, "page"))


def prices(fake: Fake) -> list[str]:
    return sorted(o["price"] for o in fake.do(fake.working))


def test_a_look_at_another_order_does_not_end_the_doubt_of_the_first(
    desk: Desk, fake: Fake
) -> None:
    always = """localStorage.setItem('realtime.page.1', JSON.stringify({reviewPaper: 'always'}))"""
    page = desk.open(script=always)
    yes, no = (page.locator(f"dialog .dialog-buttons [type={t}]") for t in ("submit", "button"))
    fake.hold_next = True
    fill_ticket(page, "0.05", "63900")
    page.click("button.submit")
    yes.click()
    expect(page.locator(".outcome[role=alert]")).to_contain_text("it has the same id")
    expect(page.locator(".dot.live")).to_be_visible()
    for price in ("63800", "63900"):
        fill_ticket(page, "0.05", price)
        expect(page.locator("button.submit")).to_be_enabled()
        page.click("button.submit")
        (no if price == "63800" else yes).click()
        expect(page.locator("dialog")).to_have_count(0)
    until(page, lambda: len(fake.ops("order.place")) == 2)
    late = fake.held_up.pop()
    fake.do(lambda: fake.place(late, "page"))
    assert prices(fake) == ["63900.00"]


def test_another_order_does_not_end_the_doubt_of_the_first(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    lost(page, fake, "0.05", "63900")
    fill_ticket(page, "0.02", "63800")
    page.click("button.submit")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Open: buy 0.02")
    again(page, fake, "0.05", "63900")
    assert prices(fake) == ["63800.00", "63900.00"]


def test_what_resolves_the_first_order_says_nothing_of_one_in_flight(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    lost(page, fake, "0.05", "63900")
    fill_ticket(page, "0.02", "63800")
    expect(page.locator("button.submit")).to_be_enabled()
    fake.mute_next = True
    page.click("button.submit")
    until(page, lambda: len(fake.held_up) == 2)
    first, second = fake.held_up
    asked = len(fake.ops("order.get"))
    fake.do(lambda: fake.place(first, "page"))
    page.click("#tab-orders")
    expect(page.locator("#pane-orders tbody tr")).to_have_count(1)
    drawn(page)
    expect(page.locator(".outcome[role=status]")).to_have_text("Sending…")
    fake.cut()
    expect(page.locator(".outcome[role=alert]")).to_contain_text("it has the same id")
    fake.held_up = [second]
    again(page, fake, "0.02", "63800")
    assert prices(fake) == ["63800.00", "63900.00"]
    assert len(fake.ops("order.get")) >= asked


def test_an_order_refused_after_an_unknown_outcome_keeps_its_id(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    lost(page, fake, "0.05", "63900")
    fake.refusals.append(Refusal("rate_limited", "too fast"))
    page.click("button.submit")
    expect(page.locator(".outcome[role=alert]")).to_contain_text("rate_limited")
    again(page, fake, "0.05", "63900")
    assert prices(fake) == ["63900.00"]
    assert len({p["client_order_id"] for p in fake.ops("order.place")}) == 1


def test_an_order_found_canceled_says_what_of_it_was_filled(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    lost(page, fake, "0.05", "63900")
    late = fake.held_up.pop()

    def arrive() -> None:
        fake.place(late, "page")
        row = next(iter(fake.streams["orders"].rows.values()))
        ended = {"status": "canceled", "filled": "0.03", "average": "63900.0"}
        fake.row("orders", row | ended)

    fake.do(arrive)
    said = page.locator(".outcome[role=status]")
    expect(said).to_contain_text("Resolved. Canceled: buy 0.05")
    expect(said).to_contain_text("0.03000 filled at 63,900.0")
    expect(page.locator("#ticket-amount")).to_have_value("")


def test_a_close_that_is_not_answered_is_left_for_halt_and_never_sent_twice(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    page.select_option("#ticket-type", "market")
    fill_ticket(page, "0.05")
    page.click("button.submit")
    row(page, "positions", "BTC/USDT")
    main = page.locator("dialog .dialog-buttons [type=submit]")
    fake.silent = True
    page.click("#pane-positions .row-acts button")
    main.click()
    until(page, lambda: fake.ops("position.close"))
    expect(main).to_have_text("Sending…")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("Shift+H")
    expect(page.locator("dialog h2")).to_have_text("Halt trading?")
    page.click("dialog .dialog-buttons [type=button]")
    page.click("#pane-positions .row-acts button")
    page.select_option("dialog [name=fraction]", "0.5")
    main.click()
    expect(page.locator("dialog [role=alert]")).to_contain_text("not answered yet")
    assert len(fake.ops("position.close")) == 1
    page.click("dialog .dialog-buttons [type=button]")
    asked = len(fake.ops("subscribe"))
    fake.silent = False
    fake.cut()
    expect(page.locator("dialog [role=alert]")).to_contain_text(
        "no_answer"
    )  # of the one that was left
    main.click()
    until(page, lambda: len(fake.ops("subscribe")) > asked)  # the dot may be of before the cut
    fake.refusals.append(Refusal("rate_limited", "too fast"))
    page.click("#pane-positions .row-acts button")
    main.click()
    expect(page.locator("dialog [role=alert]")).to_contain_text("rate_limited")
    main.click()
    expect(page.locator("dialog")).to_have_count(0)
    assert len(fake.ops("position.close")) == 3
    assert len({p["client_order_id"] for p in fake.ops("position.close")}) == 1


def test_a_dialog_whose_act_fails_says_so_and_is_not_locked(desk: Desk) -> None:
    page = desk.open()
    page.evaluate(
        "import('/js/dialog.js').then(({ dialog }) => void dialog("
        "{ title: 'T', body: [], yes: 'Go', act: async () => { throw new Error('of the test'); } }))"
    )
    main = page.locator("dialog .dialog-buttons [type=submit]")
    main.click()
    expect(page.locator("dialog [role=alert]")).to_contain_text("The page failed")
    expect(main).to_have_text("Go")
    assert "of the test" in desk.watch.faults.pop()


def test_a_dialog_stays_locked_until_what_it_does_is_answered(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    fill_ticket(page, "0.05", "63900")
    page.click("button.submit")
    row(page, "orders", "BTC/USDT")
    page.click("#pane-orders button:has-text('Amend')")
    fake.silent = True
    page.fill("dialog [name=price]", "63800")
    for _ in range(2):
        page.keyboard.press("Enter")
    until(page, lambda: fake.ops("order.amend"))
    main = page.locator("dialog .primary")
    expect(main).to_have_text("Sending…")
    expect(main).to_have_attribute("aria-disabled", "true")
    asked = len(fake.ops("subscribe"))
    fake.silent = False
    fake.cut()
    expect(page.locator("dialog [role=alert]")).to_contain_text("no_answer")
    expect(page.locator("dialog [name=price]")).to_have_value("63800")
    assert len(fake.ops("order.amend")) == 1
    until(page, lambda: len(fake.ops("subscribe")) > asked)  # the dot may be of before the cut
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_have_count(0)
    assert fake.do(lambda: fake.working()[0]["price"]) == "63800"
    row(page, "orders", "63,800.0")


def test_a_market_order_makes_fill_position_and_balance_and_is_closed(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    page.select_option("#ticket-type", "market")
    fill_ticket(page, "0.1")
    page.click("button.submit")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Filled: buy 0.10000 BTC")
    row(page, "positions", "▲ long")
    row(page, "fills", "0.10000")
    row(page, "balances", "BTC")
    expect(page.locator("#pane-balances tbody")).to_contain_text(re.compile(r"BTC\D+0\.1"))
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


def test_a_time_to_end_is_of_the_zone_that_the_page_shows(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    page.select_option("#ticket-tif", "GTD")
    field = page.locator(".field", has=page.locator("#ticket-good_till_ts"))
    page.fill("#ticket-good_till_ts", "2030-01-02T03:04")
    fill_ticket(page, "0.01", "63000")
    for zone, hour in (("local", 2), ("UTC", 3)):  # the browser's is Stockholm
        expect(field.locator(".unit")).to_have_text(zone)
        page.fill("#ticket-amount", "0.01")
        page.click("button.submit")
        expect(page.locator("#ticket-amount")).to_have_value("")
        ends = datetime(2030, 1, 2, hour, 4, tzinfo=UTC).timestamp() * 1000
        assert fake.ops("order.place")[-1]["good_till_ts"] == ends
        page.click(".zone")


def test_a_comma_is_a_decimal_sign_where_it_can_be_nothing_else_and_is_never_guessed(
    desk: Desk, fake: Fake
) -> None:
    market = fake.streams["markets"].rows["BTC/USDT"]
    fake.do(lambda: fake.row("markets", market | {"type": "swap"}))
    page = desk.open()
    submit = page.locator("button.submit")
    note = page.locator("#ticket-amount-error")
    wrong = {"amount": "1,234", "leverage": "2.5.0", "price": "0x10"}
    right = {"amount": "0,01", "leverage": "2,5", "price": "63,900.5"}
    for typed in (wrong, right):
        for name, text in typed.items():
            page.fill(f"#ticket-{name}", text)
        expect(submit).to_be_enabled(enabled=typed is right)
        expect(note).to_have_text(
            "= 0.01" if typed is right else "1234 or 1.234? Write 1234 or 1,2340."
        )
        expect(page.locator("#ticket [aria-invalid=true]")).to_have_count(3 * (typed is wrong))
    expect(submit).to_have_text("Buy 0.01000 BTC at 63,900.5")
    page.locator("#ticket-price").press("Enter")
    sent = until(page, lambda: fake.ops("order.place"))[0]
    assert {name: sent[name] for name in right} == {
        "amount": "0.01",
        "leverage": "2.5",
        "price": "63900.5",
    }
    expect(page.locator("#ticket-amount")).to_have_value("")
    expect(note).to_have_text("")

    page.click("#tab-orders")
    page.click("text=Amend")
    amend = page.locator("dialog button.primary")
    page.fill("dialog [name=price]", "63,901")
    expect(amend).to_be_disabled()
    expect(page.locator("dialog .field-error")).to_contain_text("Write 63901 or 63,9010.")
    page.fill("dialog [name=price]", "63901,5")
    expect(page.locator("dialog .field-note").first).to_have_text("= 63901.5")
    amend.click()
    assert until(page, lambda: fake.ops("order.amend"))[0]["price"] == "63901.5"


PUT = """
window.put = [];
const { get, set } = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
Object.defineProperty(HTMLInputElement.prototype, "value", { get, set(value) {
  if (this.id === "ticket-amount" && value !== "") window.put.push(value);
  set.call(this, value);
} });
"""
"""What the page itself writes into the amount."""


@pytest.mark.parametrize(
    ("meanwhile", "shown"),
    [
        ('find("#symbol").value = "ETH/USDT"; tell("#symbol", "change");', " ETH"),
        ('find(".side-button.sell").click();', "Sell "),
        ('tell("#ticket-amount", "input");', "BTC"),
    ],
    ids=["symbol", "side", "amount"],
)
def test_a_largest_amount_that_comes_late_is_not_another_tickets(
    desk: Desk, meanwhile: str, shown: str
) -> None:
    page = desk.open(script=PUT)
    page.select_option("#ticket-type", "market")
    # In one task: the server's word comes after it.
    page.evaluate(
        "() => { const find = (css) => document.querySelector(css);"
        " const tell = (css, what) => find(css).dispatchEvent(new Event(what, { bubbles: true }));"
        f' find(".chips.fill .chip:last-child").click(); {meanwhile} }}'
    )
    expect(page.locator("button.submit")).to_contain_text(shown)
    page.fill("#ticket-amount", "0.02")
    # Answers come in the order of the questions: this one's after that one's.
    expect(page.locator(".preview")).to_have_attribute("data-valid", "yes")
    assert page.evaluate("window.put") == []
    page.click(".chips.fill .chip:last-child")
    until(page, lambda: page.evaluate("window.put"))


def test_an_order_is_of_the_mode_that_its_review_told(desk: Desk, fake: Fake) -> None:
    page = desk.open(
        script="""localStorage.setItem("realtime.page.1", '{"reviewPaper": "always"}');"""
    )
    fill_ticket(page, "0.01", "64000")
    page.click("button.submit")
    expect(page.locator("dialog")).to_contain_text("A paper order")
    fake.mode = "live"  # another server at the same address
    fake.cut()
    expect(page.locator(".badge")).to_have_text("LIVE")
    expect(page.locator(".dot.live")).to_be_visible()
    page.click("dialog .dialog-buttons .primary")
    assert until(page, lambda: fake.ops("order.place"))[0]["mode"] == "paper"


def test_cancel_all_says_what_it_would_do_before_it_acts(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    fill_ticket(page, "0.01", "63900")
    page.click("button.submit")
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    page.locator("body").press("Shift+X")
    expect(page.locator("dialog dl")).to_have_text("Working orders1SymbolsBTC/USDT")
    assert all(p.get("dry_run") for p in fake.ops("order.cancel_all"))
    page.click("dialog .button.danger")
    expect(page.locator("#tab-orders .count")).to_have_text("")


def test_x_cancels_the_order_that_was_selected_once_and_no_other(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    page.click("#tab-orders")
    rows = page.locator("#pane-orders tbody tr")
    for n, price in enumerate(("63700", "63800", "63900"), 1):
        args = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "amount": "0.01"}
        fake.do(partial(fake.place, args | {"price": price, "client_order_id": f"x{n}"}, "test"))
        fake.now += 1000
        expect(rows).to_have_count(n)
    expect(rows.first).to_contain_text("63,900")
    body = page.locator("body")

    def canceled() -> list[str]:
        return [o["price"] for o in fake.streams["orders"].rows.values() if o["status"] != "open"]

    body.press("x")  # none is selected
    page.fill("#ticket-amount", "0.1")
    page.locator("#ticket-amount").press("x")  # typed
    rows.filter(has_text="63,800").hover()  # not the one under the mouse
    page.locator("#pane-orders").focus()
    page.keyboard.press("x")
    rows.filter(has_text="63,800").locator("td").first.click()
    expect(rows.filter(has_text="63,800")).to_be_focused()
    page.keyboard.press("x")
    until(page, lambda: canceled() == ["63800.00"])
    expect(rows.last).to_contain_text("63,800")
    page.keyboard.press("x")  # what came into its place is not selected
    page.keyboard.press("ArrowDown")
    expect(rows.filter(has_text="63,700")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.filter(has_text="63,800")).to_be_focused()
    page.keyboard.press("x")  # it has ended
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    expect(rows.filter(has_text="63,900")).to_be_focused()
    page.keyboard.press("x")
    until(page, lambda: canceled() == ["63800.00", "63900.00"])
    assert len(fake.ops("order.cancel")) == 2
    fake.scopes = ("read",)
    fake.cut()
    rows.filter(has_text="63,700").locator("td").first.click()
    expect(rows.filter(has_text="63,700").locator("text=Cancel")).to_be_disabled()
    page.keyboard.press("x")
    drawn(page)
    assert len(fake.ops("order.cancel")) == 2


def test_the_ticket_of_another_market_says_nothing_of_the_last_order(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    fill_ticket(page, "0.01", "63900")
    page.click("button.submit")
    outcome = page.locator(".outcome[role=status]")
    expect(outcome).to_contain_text("Open: buy 0.01000 BTC")
    page.select_option("#symbol", "ETH/USDT")
    expect(outcome).to_have_text("")
    fake.do(lambda: fake.fill(fake.working()[0]))
    expect(page.locator("#tab-orders .count")).to_have_text("")
    drawn(page)
    assert outcome.inner_text() == ""


def test_an_order_that_ended_while_the_page_slept_is_not_said_to_be_open(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    fill_ticket(page, "0.01", "63900")
    page.click("button.submit")
    outcome = page.locator(".outcome[role=status]")
    expect(outcome).to_contain_text("Open: buy 0.01000 BTC")
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    fake.do(fake.streams["orders"].rows.clear)
    fake.streams["orders"].epoch = "b-later"
    fake.streams["orders"].ring = []
    fake.cut()
    expect(page.locator("#tab-orders .count")).to_have_text("")
    expect(outcome).to_have_text("Not among the orders any more: buy 0.01000 BTC.")


def test_an_order_that_only_rests_is_said_to_once(desk: Desk, fake: Fake) -> None:
    page = desk.open(width=1920)
    page.click("#tab-orders")
    args: Row = {
        "symbol": "BTC/USDT",
        "side": "buy",
        "type": "limit",
        "amount": "1",
        "price": "63900",
    }
    args |= {"time_in_force": "PO", "post_only": True, "reduce_only": True, "client_order_id": "x"}
    fake.do(lambda: fake.place(args, "test"))
    expect(page.locator("#pane-orders [data-head='In force']")).to_have_text(
        "post only, reduce only"
    )


def test_a_table_that_does_not_show_all_says_so(desk: Desk, fake: Fake) -> None:
    market = fake.streams["markets"].rows["BTC/USDT"]
    more = {f"X{n}/USDT": market | {"symbol": f"X{n}/USDT", "base": f"X{n}"} for n in range(60)}
    fake.streams["markets"].rows |= more
    page = desk.open()
    expect(page.locator("#markets .empty")).to_have_text(
        "40 of 63 are shown: filter for the others."
    )
    page.fill("#markets .filter", "X1")
    expect(page.locator("#markets .empty")).to_be_hidden()
    page.fill("#markets .filter", "none")
    expect(page.locator("#markets .empty")).to_have_text("No market matches.")

    def fills(first: int, number: int) -> None:
        fill = {
            "symbol": "BTC/USDT",
            "side": "buy",
            "amount": "1",
            "price": "64000",
            "cost": "64000",
        }
        for n in range(first, number):
            fake.append("fills", fill | {"id": f"f-{n}", "ts": fake.now})

    page.click("#tab-fills")
    said = page.locator("#pane-fills .empty")
    expect(said).to_have_text("No fills yet.")
    fake.do(lambda: fills(0, 49))
    expect(page.locator("#pane-fills tbody tr")).to_have_count(49)
    expect(said).to_be_hidden()
    fake.do(lambda: fills(49, 120))
    all_fills = "More: realtime call fill.list limit=500"
    expect(said).to_have_text(f"The newest 100. {all_fills}")
    page.reload()  # the server sends fewer at first
    expect(said).to_have_text(f"The newest 50. {all_fills}")

    order = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "amount": "1", "price": "60000"}
    fake.do(lambda: fake.place(order | {"client_order_id": "x"}, "another"))
    page.click("#tab-orders")
    said = page.locator("#pane-orders .empty")
    expect(page.locator("#pane-orders tbody tr")).to_have_count(1)
    expect(said).to_be_hidden()
    fake.do(lambda: fake.cancel(fake.working()))
    expect(said).to_have_text(
        "Ended orders stay five minutes, the newest of many. More: realtime call order.history limit=500"
    )

    def events() -> None:
        for n in range(230):
            fake.append("events", {"type": "x", "ts": fake.now, "id": n})

    fake.do(events)
    page.click("#tab-log")
    said = page.locator("#pane-log .empty")
    expect(said).to_have_text("200 of 230 lines are shown here; Export saves them all.")


def test_halt_by_holding_and_an_early_release_does_nothing(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    box = page.locator(".halt").bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 10)
    stopped(page)
    page.mouse.down()
    page.clock.run_for(400)
    page.mouse.up()
    assert fake.ops("trading.halt") == []
    assert page.locator("dialog").count() == 0
    page.mouse.down()
    page.clock.run_for(1000)
    page.clock.resume()
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
    stopped(page)
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
    spoken.wait_for(state="attached")
    page.clock.run_for(500)
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
    page.locator(".chart-canvas canvas").first.wait_for()  # the last that is loaded
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


def test_a_choice_in_one_tab_survives_what_another_tab_remembers(desk: Desk) -> None:
    page = desk.open()
    other = page.context.new_page()
    desk.watch.look(other)
    other.goto(desk.url)
    other.locator(".dot.live").wait_for()
    other.click(".tools [aria-label=Settings]")
    other.select_option("dialog [name=reviewPaper]", "always")
    other.click("dialog .dialog-buttons .primary")
    page.select_option("#symbol", "ETH/USDT")
    other.reload()
    other.locator(".dot.live").wait_for()
    expect(other.locator("#symbol")).to_have_value("BTC/USDT")  # it is this tab's own
    other.click(".tools [aria-label=Settings]")
    expect(other.locator("dialog [name=reviewPaper]")).to_have_value("always")
