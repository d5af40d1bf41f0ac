"""Stories against the real server whose wire is cut, left hanging or stopped, and of roles. The number is the story's."""

import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Browser, Page, expect

from realtime.server.auth import digest
from tests.web.conftest import Desk, drawn, until
from tests.web.serving import Gate, Server
from tests.web.test_link import WORDS
from tests.web.test_look import SMALL
from tests.web.test_real import place
from tests.web.test_settings import HEARD


pytestmark = [pytest.mark.browser, pytest.mark.slow]

DOWN = ("WebSocket connection to", "ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE")
FIRST = """
(() => {
  window.first = {};
  const look = () => {
    for (const [name, css] of Object.entries({ mode: ".badge", price: ".last", equity: "#account .figure",
        venue: "#strip", book: ".bids .book-row [data-cell=amount]" })) {
      const text = document.querySelector(css)?.textContent ?? "";
      if (!window.first[name] && /PAPER|[0-9]|paper ok/.test(text)) window.first[name] = performance.now();
    }
    if (Object.keys(window.first).length < 5) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    """Between pages and the server of this file."""
    made = Gate()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Server]:
    """The real server behind the gate."""
    made = Server(tmp_path_factory.mktemp("behind"), **gate.known)
    made.start()
    gate.to = made.port
    yield made
    made.kill()


@pytest.fixture
def behind(browser: Browser, server: Server, gate: Gate) -> Iterator[Desk]:
    """Pages that reach the server through the gate, which is open again afterwards, as is trading."""
    made = Desk(browser, gate.address)
    made.watch.forgiven = DOWN
    yield made
    gate.open()
    made.close()
    server.call("trading.resume", reason="the test is over")
    server.call("order.cancel_all")
    assert made.watch.faults == []


def last(page: Page) -> Decimal:
    """The price in the header."""
    return Decimal(page.locator(".last").inner_text().replace(",", ""))


def halted(server: Server) -> bool:
    """By the word of the server."""
    return bool(server.value("status")["trading_state"] == "halted")


def halt(page: Page) -> None:
    """By keyboard."""
    page.locator("body").press("Shift+H")
    page.keyboard.press("Enter")


def test_1_a_fresh_page_shows_mode_price_venue_and_equity_at_once(
    behind: Desk, server: Server
) -> None:
    page = behind.open(script=FIRST)
    first = until(page, lambda: page.evaluate("Object.keys(first).length === 5 && first"))
    # A second on a machine that does nothing else, as `make speed` measures it.
    assert max(first.values()) < 4000, first
    assert page.locator(".badge").inner_text() == "PAPER"
    equity = Decimal(server.value("risk")["equity"])
    shown = page.locator("#account .figure").first.inner_text().replace(",", "")
    assert abs(Decimal(shown) - equity) < 1
    assert "paper ok" in page.locator("#strip").inner_text()


def test_4_22_the_book_fills_the_ticket_and_sends_nothing_and_another_symbol_clears_it(
    behind: Desk, server: Server
) -> None:
    page = behind.open()
    before = server.rows("orders").keys()
    price = page.evaluate(
        """() => { const row = document.querySelectorAll(".asks .book-row[data-price]")[2];
        const price = row.dataset.price; row.querySelector("[data-cell=price]").click(); return price; }"""
    )
    expect(page.locator("#ticket-price")).to_have_value(price)
    expect(page.locator("#ticket-amount")).to_have_value("")
    price, total = page.evaluate(
        """() => { const row = document.querySelectorAll(".bids .book-row[data-price]")[3];
        const cell = row.querySelector("[data-cell=total]"); const was = [row.dataset.price, cell.dataset.raw];
        cell.click(); return was; }"""
    )
    expect(page.locator("#ticket-price")).to_have_value(price)
    expect(page.locator("#ticket-amount")).to_have_value(total)
    page.select_option("#symbol", "ETH/USDT")
    expect(page.locator(".book[data-symbol='ETH/USDT']")).to_be_visible()
    expect(page.locator("#ticket-price")).to_have_value("")
    expect(page.locator("#ticket-amount")).to_have_value("")
    assert server.rows("orders").keys() == before


def test_5_6_a_limit_order_is_one_whatever_the_gesture_and_shows_in_table_chart_and_book(
    behind: Desk, server: Server
) -> None:
    page = behind.open()
    page.check("#ticket-post")
    page.click("#tab-orders")

    def sent(gesture: str) -> None:
        before = set(server.rows("orders"))
        page.fill("#ticket-price", f"{last(page) * Decimal('0.998'):.2f}")
        page.fill("#ticket-amount", "0.002")
        expect(page.locator("button.submit")).to_be_enabled()
        if gesture == "double click":
            page.dblclick("button.submit")
        else:
            page.focus("#ticket-amount")
            page.keyboard.down("Enter")
            for _ in range(5 if gesture == "held" else 0):
                page.keyboard.down("Enter")
            page.keyboard.up("Enter")
            page.keyboard.press("Enter")
            page.locator("button.submit").evaluate("(button) => button.click()")
        expect(page.locator(".outcome[role=status]")).to_contain_text("Open: buy 0.00200 BTC")
        page.wait_for_timeout(500)  # nothing more is sent
        (made,) = set(server.rows("orders")) - before
        expect(page.locator(f"#pane-orders tr[data-key='{made}']")).to_contain_text("open")

    for gesture in ("double click", "twice", "held"):
        sent(gesture)
    expect(page.locator(".grip")).to_have_count(3)
    server.call("order.cancel_all")
    expect(page.locator(".grip")).to_have_count(0)
    marked = ""
    for _ in range(8):  # the market moves the rows about, and may pass the order
        bid = page.locator(".bids .book-row[data-price]:visible").last.get_attribute("data-price")
        page.fill("#ticket-price", bid or "")
        page.fill("#ticket-amount", "0.001")
        page.click("button.submit")
        expect(page.locator("#ticket-amount")).to_have_value("")
        marked = page.evaluate(
            """async (price) => { for (let i = 0; i < 60; i++) {
              const row = document.querySelector(`.book-row.own[data-price^='${price}']`);
              if (row) return row.title;
              await new Promise((drawn) => requestAnimationFrame(drawn)); } return ""; }""",
            bid,
        )
        if marked:
            break
    assert "you have an order at" in marked


def test_7_a_refusal_stands_at_its_field_is_heard_and_leaves_the_ticket(
    behind: Desk, server: Server
) -> None:
    page = behind.open(script=HEARD)
    page.click(".sound")
    page.click("dialog [name=sound-refusal]")
    page.click("dialog .dialog-buttons .primary")
    expect(page.locator(".sound")).to_have_attribute("aria-pressed", "true")
    before = server.rows("orders").keys()
    page.evaluate("window.heard = 0")
    wrong = f"{last(page) * Decimal('0.99'):.2f}3"
    page.fill("#ticket-price", wrong)
    page.fill("#ticket-amount", "0.002")
    page.click("button.submit")
    expect(page.locator(".outcome[role=alert]")).to_contain_text("invalid")
    expect(page.locator("#ticket-price-error")).not_to_have_text("")
    expect(page.locator("#ticket-price")).to_have_attribute("aria-invalid", "true")
    assert page.locator("#ticket-price").input_value() == wrong
    assert page.locator("#ticket-amount").input_value() == "0.002"
    until(page, lambda: page.evaluate("window.heard") == 2)
    assert server.rows("orders").keys() == before
    page.click(".sound")
    expect(page.locator(".sound")).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(500)  # the same sound rests so long
    page.click("button.submit")
    expect(page.locator(".outcome[role=alert]")).to_contain_text("invalid")
    assert page.evaluate("window.heard") == 2
    page.click(".sound")
    expect(page.locator(".sound")).to_have_attribute("aria-pressed", "true")


def test_15_halt_by_holding_survives_a_reload_and_resuming_needs_a_word(
    behind: Desk, server: Server
) -> None:
    page, other = behind.open(), behind.open()
    box = page.locator(".halt").bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 10)
    page.mouse.down()
    page.wait_for_timeout(300)  # not long enough
    page.mouse.up()
    page.wait_for_timeout(800)  # nothing follows
    assert not halted(server)
    assert page.locator("dialog").count() == 0
    page.mouse.down()
    expect(page.locator("dialog h2")).to_have_text("Trading is halted")
    page.mouse.up()
    assert halted(server)
    for one in (page, other):
        expect(one.locator("#banner")).to_contain_text("Trading is halted")
        expect(one.locator("button.submit")).to_be_disabled()
    page.reload()
    expect(page.locator("#banner")).to_contain_text("Trading is halted")
    page.click(".halt")
    expect(page.locator("dialog .primary")).to_be_disabled()
    page.fill("dialog [name=reason]", "looked into it")
    page.fill("dialog [name=word]", "go")
    expect(page.locator("dialog .primary")).to_be_disabled()
    page.fill("dialog [name=word]", "resume")
    page.click("dialog .primary")
    for one in (page, other):
        expect(one.locator("#banner")).to_be_hidden()
    assert not halted(server)


def test_16_halt_goes_by_http_with_the_socket_cut_or_hanging_or_never_there(
    behind: Desk, server: Server, gate: Gate
) -> None:
    page = behind.open()
    gate.cut()
    expect(page.locator(".dot.lost")).to_be_visible()
    halt(page)
    expect(page.locator("dialog h2")).to_have_text("Trading is halted")
    assert halted(server)
    server.call("trading.resume", reason="again")

    late = behind.open(wait=False)
    expect(late.locator(".halt")).to_be_visible()
    late.wait_for_timeout(300)  # no state has come, and none will
    halt(late)
    expect(late.locator("dialog h2")).to_have_text("Trading is halted")
    assert halted(server)
    late.close()
    server.call("trading.resume", reason="again")

    gate.open()
    page.keyboard.press("Escape")
    expect(page.locator(".dot.live")).to_be_visible(timeout=30_000)
    place(page, "buy", "limit", "0.001", 0.99)
    gate.hang()
    halt(page)  # the link looks alive still
    expect(page.locator("dialog h2")).to_have_text("Trading is halted")
    assert halted(server)
    assert server.working() == []


def test_16_with_both_down_the_page_says_what_is_known(
    behind: Desk, server: Server, gate: Gate
) -> None:
    page = behind.open()
    assert server.process
    server.process.send_signal(signal.SIGSTOP)
    try:
        halt(page)
        expect(page.locator("dialog h2")).to_have_text("Nobody knows whether it is halted")
        expect(page.locator("dialog")).to_contain_text("realtime call trading.halt")
    finally:
        server.process.send_signal(signal.SIGCONT)
    page.keyboard.press("Escape")
    expect(page.locator(".dot.live")).to_be_visible(timeout=30_000)
    # It had reached the server after all, and the page shows so by itself.
    expect(page.locator("#banner")).to_contain_text("Trading is halted")
    server.call("trading.resume", reason="again")
    expect(page.locator("#banner")).to_be_hidden()
    server.kill()
    expect(page.locator(".dot.lost")).to_be_visible()
    gate.to = 1  # nobody listens there
    halt(page)
    expect(page.locator("dialog h2")).to_have_text("Trading is NOT halted")
    expect(page.locator("dialog")).to_contain_text("nothing reached the server")
    server.start()
    gate.to = server.port


def test_17_21_an_order_sent_into_a_silent_server_that_dies_is_looked_up_after_its_restart(
    behind: Desk, server: Server, gate: Gate
) -> None:
    page = behind.open()
    page.evaluate("window.mark = 1")
    before = set(server.rows("orders"))
    page.fill("#ticket-price", f"{last(page) * Decimal('0.99'):.2f}")
    page.fill("#ticket-amount", "0.003")
    expect(page.locator(".preview")).to_have_attribute("data-valid", "yes")
    assert server.process
    page.evaluate(WORDS)
    server.process.send_signal(signal.SIGSTOP)
    page.click("button.submit")
    expect(page.locator("button.submit")).to_be_disabled()
    expect(page.locator(".dot.lost")).to_be_visible()
    # It lasts two seconds: whoever looks now and then may miss it.
    assert [word for word in page.evaluate("window.words") if word.startswith("late")]
    expect(page.locator("#banner")).to_contain_text("Prices are frozen")
    for panel in ("price", "orderbook", "tape", "tables"):
        expect(page.locator(f"#{panel}")).to_have_attribute("data-age", "frozen")
    server.kill()
    expect(page.locator(".outcome[role=alert]")).to_contain_text("Outcome unknown")
    assert page.locator("#ticket-amount").input_value() == "0.003"
    server.start()
    gate.to = server.port
    expect(page.locator(".dot.live")).to_be_visible(timeout=30_000)
    expect(page.locator(".outcome[role=alert]")).to_contain_text("did not reach the server")
    assert set(server.rows("orders")) == before
    page.click("button.submit")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Open: buy 0.00300 BTC")
    assert len(set(server.rows("orders")) - before) == 1
    assert page.evaluate("window.mark") == 1


def test_28_31_reduced_motion_has_none_and_a_thumb_finds_every_target(
    behind: Desk, server: Server
) -> None:
    page = behind.open(calm=True)
    place(page, "buy", "limit", "0.001", 0.99)
    place(page, "buy", "market", "0.002")
    moving = "[...document.querySelectorAll('*')].filter((e) => parseFloat(getComputedStyle(e).transitionDuration) > 0)"
    assert page.evaluate(f"{moving}.length") == 0
    assert page.evaluate("document.getAnimations().length") == 0
    for width, height in ((375, 812), (768, 1024)):
        touched = behind.open(width=width, height=height, touch=True)
        for view in ("chart", "book", "trade", "bots", "account") if width <= 720 else ("",):
            if view:
                touched.click(f"[data-view={view}].phone-tab")
            for tab in ("orders", "positions") if view in {"account", ""} else ():
                touched.click(f"#tab-{tab}")
                expect(touched.locator(f"#pane-{tab} tbody tr").first).to_be_visible()
            drawn(touched)
            assert touched.evaluate(SMALL) == [], (width, view)
            assert touched.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    server.call("position.close_all")


def test_34_text_of_others_is_text_wherever_it_comes_from(behind: Desk, server: Server) -> None:
    page = behind.open()
    server.call("trading.halt", reason=EVIL)
    expect(page.locator("#banner")).to_contain_text(EVIL)
    page.click("#tab-log")
    expect(page.locator("#pane-log tbody")).to_contain_text(EVIL)
    page.click("#tab-risk")
    expect(page.locator(".risk-happened tbody")).to_contain_text(EVIL)
    assert page.locator("body img:not(.brand img)").count() == 0


def test_32_33_a_viewer_sees_no_entry_and_why_and_a_lapsed_token_asks_once(
    browser: Browser, tmp_path: Path
) -> None:
    gate = Gate()
    server = Server(tmp_path, REALTIME_AUTH__REQUIRED="true", **gate.known)
    server.start()
    admin = re.search(r"rt_\S+", server.said)
    assert admin
    server.kill()
    identities(server.data, viewer=None, lapsed=int(time.time() * 1000) - 1)
    server.start()
    gate.to = server.port
    desk = Desk(browser, gate.address)
    desk.watch.forgiven = (*DOWN, "401")
    page = desk.open(wait=False)
    for token, said in (("rt_none", "wrong token"), ("rt_lapsed", "the token expired")):
        page.fill("dialog [name=token]", token)
        page.click("dialog button.primary")
        expect(page.locator("dialog [role=alert]")).to_contain_text(said)
    opened = gate.opened
    page.wait_for_timeout(2500)  # nobody signs in: the page waits, and asks nobody
    assert gate.opened - opened <= 1
    other = page.context.new_page()
    desk.watch.look(other)
    other.goto(gate.address)
    expect(other.locator("dialog h2")).to_have_text("Sign in")
    page.fill("dialog [name=token]", "rt_viewer")
    page.click("dialog button.primary")
    expect(page.locator(".dot.live")).to_be_visible()
    # The cookie is every tab's.
    expect(other.locator("dialog")).to_have_count(0)
    expect(other.locator(".dot.live")).to_be_visible()
    other.close()
    expect(page.locator("#banner")).to_contain_text("View only")
    page.fill("#ticket-price", f"{last(page) * Decimal('0.99'):.2f}")
    page.fill("#ticket-amount", "0.01")
    expect(page.locator("#ticket")).to_contain_text("View only: your role may not trade")
    for button in ("button.submit", ".halt", "#tables button:has-text('Close all')"):
        expect(page.locator(button)).to_be_disabled()
    for button in (
        ".halt",
        "#bots .bot button:has-text('Start')",
        "text=Stop all…",
        "text=Close all…",
    ):
        expect(page.locator(button).first).to_have_attribute("title", re.compile("^View only"))
    page.locator("body").press("Shift+H")
    page.locator("body").press("Shift+X")
    assert page.locator("dialog").count() == 0
    expect(page.locator(".last")).to_contain_text(".")

    # Cookies live as long as the server does: it asks again, once, and tries no socket in vain.
    server.kill()
    server.start()
    gate.to = server.port
    expect(page.locator("dialog h2")).to_have_text("Sign in", timeout=30_000)
    opened = gate.opened
    page.wait_for_timeout(2500)  # nor now
    assert gate.opened - opened <= 1
    # A printed address that is pasted where the page is open loads nothing anew.
    page.evaluate("location.hash = 'ticket=stale'")
    expect(page.locator("dialog [role=status]")).to_contain_text("unauthorized")
    assert page.evaluate("location.hash") == ""
    page.fill("dialog [name=token]", admin[0])
    page.click("dialog button.primary")
    expect(page.locator(".dot.live")).to_be_visible(timeout=30_000)
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator(".halt")).to_be_enabled()
    desk.close()
    server.kill()
    gate.close()
    assert desk.watch.faults == []


def identities(journal: Path, **lapse: int | None) -> None:
    """Tokens `rt_NAME` that may only read; the product makes the first one, of an administrator."""
    with sqlite3.connect(journal) as base:
        for name, until_ts in lapse.items():
            body = {
                "id": f"t-{name}",
                "digest": digest(f"rt_{name}").hex(),
                "subject": name,
                "scopes": ["read"],
                "expires_at": until_ts,
            }
            base.execute(
                "INSERT INTO tokens VALUES (?, ?, ?)", (f"t-{name}", 0, orjson.dumps(body))
            )
    base.close()
