"""Stories of the link: late, lost, resumed, restarted, skipped, stale; and of untrusted text."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Desk, drawn, stopped, until
from tests.web.fake import Fake, Row


pytestmark = pytest.mark.browser

WORDS = """() => {
  window.words = [];
  const word = document.querySelector(".link-word");
  new MutationObserver(() => window.words.push(word.textContent)).observe(
    word, { childList: true, characterData: true, subtree: true });
}"""


def show_hidden(page: Page, *, hidden: bool) -> None:
    flag = "true" if hidden else "false"
    page.evaluate(
        f"Object.defineProperty(document, 'hidden', {{value: {flag}, configurable: true}});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


def passes(page: Page, told: Callable[[], bool]) -> None:
    """By the page's clock, which stands still, time goes by in steps until this is told, however slow the machine."""

    def later() -> bool:
        page.clock.run_for(500)
        return told()

    until(page, later)


def test_a_silent_link_is_late_then_lost_and_comes_back(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    stopped(page)
    fake.silent = True
    passes(page, page.locator(".dot.late").is_visible)
    passes(page, page.locator(".dot.lost").is_visible)
    page.clock.resume()
    expect(page.locator("#banner [role=alert]")).to_contain_text("Prices are frozen")
    expect(page.locator("#orderbook")).to_have_attribute("data-age", "frozen")
    expect(page.locator("#ticket")).to_contain_text("Order entry is off")
    fake.silent = False
    expect(page.locator(".dot.live")).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()


READ_OUT = """() => {
  window.readOut = [];
  const live = "[role=status], [role=alert]";
  const hear = (target) => {
    const node = target instanceof Element ? target : target.parentElement;
    if (node?.closest(live) && !node.closest("[aria-hidden=true]")) window.readOut.push(node.textContent);
  };
  new MutationObserver((all) => {
    for (const m of all) {
      hear(m.target);
      for (const node of m.addedNodes) if (node instanceof Element && node.matches(live)) hear(node);
    }
  }).observe(document.body, { childList: true, characterData: true, subtree: true });
}"""
"""What assistive technology is told by live regions."""


def test_an_age_that_moves_is_not_read_out_again_and_again(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    stopped(page)
    page.evaluate(READ_OUT)
    fake.silent = True
    passes(page, page.locator(".dot.lost").is_visible)
    passes(page, page.locator("#banner [role=alert]").is_visible)
    seen: list[set[str]] = [set(), set()]

    def moved() -> bool:
        for ages, place in zip(seen, ("#banner [role=alert]", ".link"), strict=True):
            ages.add(page.inner_text(place))
        return all(len(ages) > 3 for ages in seen)

    passes(page, moved)
    said = page.evaluate("window.readOut")
    assert len([text for text in said if text.startswith("Connection lost")]) == 1
    assert said.count("lost") == 1


def test_the_title_of_the_tab_holds_no_price_that_may_be_old(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    expect(page).to_have_title("64,012.1 BTC/USDT · realtime")
    fake.notice_stale(stale=True)
    expect(page).to_have_title("feed late · BTC/USDT · realtime")
    expect(page.locator(".last")).to_have_class("last frozen")
    fake.notice_stale(stale=False)
    expect(page).to_have_title("64,012.1 BTC/USDT · realtime")
    stopped(page)
    fake.silent = True
    passes(page, lambda: page.title() == "late · BTC/USDT · realtime")
    passes(page, lambda: page.title() == "lost · BTC/USDT · realtime")
    page.clock.resume()
    expect(page.locator(".change")).to_have_class("change frozen")
    expect(page.locator("#strip")).to_contain_text("paper unknown")
    fake.silent = False
    expect(page).to_have_title("64,012.1 BTC/USDT · realtime")


def test_a_page_that_slept_is_lost_at_once_and_never_merely_late(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    stopped(page)
    page.evaluate(WORDS)
    fake.silent = True
    page.clock.fast_forward(600_000)
    page.clock.resume()
    expect(page.locator(".dot.lost")).to_be_visible()
    assert not [word for word in page.evaluate("window.words") if word.startswith("late")]
    fake.silent = False
    expect(page.locator(".dot.live")).to_be_visible()


def test_a_hidden_page_gets_no_frames_and_its_title_and_sounds_go_on(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    heard = "import('/js/app.js').then(({ app }) => app.store.watch(['fills'], () => { window.heard = true; }))"
    page.evaluate(heard)
    drawn(page)
    show_hidden(page, hidden=True)
    page.evaluate("window.heard = false; window.requestAnimationFrame = () => 0; 0")
    fake.do(lambda: fake.price.update({"BTC/USDT": Decimal("63000.5")}))
    fake.do(lambda: fake.quote("BTC/USDT"))
    expect(page).to_have_title("63,000.5 BTC/USDT · realtime")
    fake.do(lambda: fake.append("fills", {"id": "f-1", "symbol": "BTC/USDT", "amount": "1"}))
    until(page, lambda: page.evaluate("window.heard"))
    assert page.locator(".last").inner_text() == "64,012.1"  # nothing is painted for nobody


def waiting(page: Page, fake: Fake) -> None:
    """An order is sent, and the server falls silent until the link is late, or lost already."""
    page.fill("#ticket-price", "63900")
    page.fill("#ticket-amount", "0.05")
    fake.silent = True
    page.click("button.submit")
    until(page, lambda: fake.ops("order.place"))
    page.clock.fast_forward(3300)
    expect(page.locator(".dot:not(.live)")).to_be_visible()


def test_a_socket_that_is_renewed_leaves_nobody_waiting(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    waiting(page, fake)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.locator(".outcome[role=alert]")).to_contain_text("connection lost")
    fake.silent = False
    expect(page.locator(".dot.live")).to_be_visible()


def test_at_midnight_the_times_of_yesterday_get_their_date(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    page.click("#tab-fills")
    row = {
        "id": "f-1",
        "symbol": "BTC/USDT",
        "side": "buy",
        "amount": "1",
        "price": "64000",
        "cost": "64000",
    }
    fake.do(lambda: fake.append("fills", row | {"ts": fake.now}))
    cell = page.locator("#pane-fills tbody td").first
    expect(cell).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    tomorrow = "const now = app.serverNow; app.serverNow = () => now() + 86400000;"
    page.evaluate("import('/js/app.js').then(({ app }) => { " + tomorrow + " })")
    expect(cell).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d$"))


def test_a_cut_socket_reconnects_and_resumes_from_its_positions(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    first = page.locator(".last").inner_text()
    fake.do(fake.step)
    expect(page.locator(".last")).not_to_have_text(first)
    before = len(fake.ops("subscribe"))
    fake.cut()
    (again,) = until(page, lambda: fake.ops("subscribe")[before:])
    resumed = {c["channel"]: c["since"] for c in again["channels"] if isinstance(c, dict)}
    expect(page.locator(".dot.live")).to_be_visible()
    assert resumed["fills"]["epoch"] == "j1"
    assert "orderbook:BTC/USDT?depth=25&rate=100" in resumed
    first = page.locator(".last").inner_text()
    fake.moving = True
    expect(page.locator(".last")).not_to_have_text(first)


def test_after_a_restart_snapshots_replace_everything_without_a_reload(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    page.fill("#ticket-price", "63900")
    page.fill("#ticket-amount", "0.01")
    page.click("button.submit")
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    page.evaluate("window.mark = 1")

    def change() -> None:
        fake.streams["orders"].rows.clear()
        fake.price["BTC/USDT"] -= 50
        fake.quote("BTC/USDT")

    fake.silent = True
    fake.do(change)
    fake.silent = False
    fake.restart()
    expect(page.locator("#tab-orders .count")).to_have_text("")
    book = fake.do(lambda: fake.streams["orderbook:BTC/USDT?depth=25&rate=100"].value)
    expect(page.locator(".bids .book-row").first).to_have_attribute(
        "data-price", book["bids"][0][0]
    )
    shown = page.eval_on_selector_all(
        ".asks .book-row[data-price]:not([hidden])", "rows => rows.map(r => r.dataset.price)"
    )
    assert shown == [p for p, _ in book["asks"][: len(shown)]]
    assert page.evaluate("window.mark") == 1


def test_a_skipped_delta_makes_the_page_fetch_the_book_again(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    name = "orderbook:BTC/USDT?depth=25&rate=100"
    before = len(fake.ops("subscribe"))
    fake.skip_next = True
    fake.do(fake.step)
    fake.do(fake.step)
    until(page, lambda: [name] in [p["channels"] for p in fake.ops("subscribe")[before:]])
    book = fake.do(lambda: fake.streams[name].value)
    expect(page.locator(".bids .book-row").first).to_have_attribute(
        "data-price", book["bids"][0][0]
    )


def test_a_late_feed_marks_its_panels_only_and_bars_market_orders(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    fake.notice_stale(stale=True)
    expect(page.locator("#banner")).to_contain_text("The link is fine; the source is not")
    expect(page.locator("#orderbook")).to_have_attribute("data-age", "stale")
    expect(page.locator("#tables")).not_to_have_attribute("data-age", "stale")
    expect(page.locator(".dot.live")).to_be_visible()
    page.select_option("#ticket-type", "market")
    page.fill("#ticket-amount", "0.01")
    expect(page.locator("button.submit")).to_be_disabled()
    expect(page.locator("#ticket")).to_contain_text("no market orders")
    fake.notice_stale(stale=False)
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("button.submit")).to_be_enabled()


def test_a_doubted_account_is_marked_as_old_wherever_it_is_shown_until_it_is_confirmed(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    page.select_option("#ticket-type", "market")
    page.fill("#ticket-amount", "0.01")
    page.click("button.submit")
    held = page.locator("#pane-positions tbody tr")
    expect(held).to_have_count(1)
    for _ in range(2):
        fake.doubt(fake.now - 3_000)
        tables, strip = page.locator("#tables"), page.locator("#account")
        for panel in (tables, strip):
            expect(panel).to_have_attribute("data-age", "stale")
        expect(tables.locator(".age")).to_have_text(re.compile(r"late \d+ (s|min|h)"))
        expect(strip).to_contain_text(re.compile(r"Equity, late \d+ (s|min|h)"))
        expect(page.locator("#banner [role=status]")).to_have_text(
            re.compile(r"Orders, positions and balances are as they were \d+ \w+ ago: paper")
        )
        expect(page.locator("#pane-positions .empty")).to_contain_text("As last known")
        for tab in ("orders", "fills", "balances", "equity", "risk", "portfolio"):
            page.click(f"#tab-{tab}")
            expect(page.locator(f"#pane-{tab}")).to_be_visible()
            expect(tables).to_have_attribute("data-age", "stale")
        page.click("#tab-log")
        expect(tables).not_to_have_attribute("data-age", "stale")
        page.click("#tab-positions")
        expect(tables).to_have_attribute("data-age", "stale")
        expect(page.locator("#orderbook")).not_to_have_attribute("data-age", "stale")
        expect(held).to_have_count(1)
        fake.doubt(None)
        expect(page.locator("#banner")).to_be_hidden()
        expect(page.locator("[data-age]")).to_have_count(0)
        expect(strip).to_contain_text("Equity, USDT")
        expect(page.locator("#pane-positions .empty")).to_be_hidden()


def test_an_account_that_is_not_known_yet_is_not_shown_as_an_empty_one(
    desk: Desk, fake: Fake
) -> None:
    fake.doubted = 0
    page = desk.open()
    empty = page.locator("#pane-positions .empty")
    expect(empty).to_have_text("Not known: the venue has not confirmed it.")
    expect(page.locator("#banner")).to_contain_text("balances are not known yet")
    expect(page.locator("#tables .age")).to_have_text("late")
    expect(page.locator("#account")).to_contain_text("Equity, late")
    before = len(fake.ops("subscribe"))
    fake.cut()  # the reply to the next subscribe says it again
    until(page, lambda: len(fake.ops("subscribe")) > before)
    expect(page.locator("#tables")).to_have_attribute("data-age", "stale")
    page.click("#tab-equity")
    worth = {"total_value": "99999.5", "total_unrealized_pnl": "0"}
    fake.do(lambda: fake.set_value("portfolio", worth))
    expect(page.locator("#pane-equity")).to_contain_text("99,999.50")
    curve = page.locator("#pane-equity .empty")
    expect(curve).to_have_text(re.compile("No samples yet"))  # an old figure is no point of now
    assert curve.is_visible()
    page.click("#tab-positions")
    fake.doubt(None)
    expect(empty).to_have_text("No positions. A fill makes one.")
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("[data-age]")).to_have_count(0)
    page.click("#tab-equity")
    fake.do(fake.publish_risk)
    expect(curve).to_be_hidden()


def test_a_quiet_market_is_not_marked(desk: Desk) -> None:
    page = desk.open()
    page.wait_for_timeout(1500)  # nothing moves but the clock, and a heartbeat a second
    expect(page.locator(".dot.live")).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()
    assert page.locator("[data-age]").count() == 0


def test_a_change_of_symbol_clears_and_late_messages_are_ignored(desk: Desk, fake: Fake) -> None:
    fake.moving = True
    page = desk.open()
    page.fill("#ticket-price", "63900")
    page.select_option("#symbol", "PEPE/USDT")
    expect(page.locator(".last")).to_contain_text("0.00001")
    expect(page.locator("#ticket-price")).to_have_value("")
    then = fake.now
    until(page, lambda: fake.now > then + 400)  # four more moves of both markets
    prices = page.eval_on_selector_all(
        ".book-row[data-price]:not([hidden])", "rows => rows.map(r => Number(r.dataset.price))"
    )
    assert prices
    assert max(prices) < 1
    gone = fake.ops("unsubscribe")
    assert {n for p in gone for n in p["channels"]} >= {"ticker:BTC/USDT", "trades:BTC/USDT"}


def test_a_hidden_page_slows_down_gives_up_the_loud_channels_and_comes_back(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open(clock=True)
    show_hidden(page, hidden=True)
    until(page, lambda: [p["every"] for p in fake.ops("pace")][-1:] == [1000])
    page.clock.fast_forward(31_000)
    parked = until(page, lambda: fake.ops("unsubscribe"))[-1]["channels"]
    assert sorted(parked) == ["orderbook:BTC/USDT?depth=25&rate=100", "trades:BTC/USDT"]
    # After half a minute without a frame the page would connect anew, which tells its pace in the address.
    state = "import('/js/app.js').then(({ app }) => app.link.state.state)"
    until(page, lambda: page.evaluate(state) == "live")
    show_hidden(page, hidden=False)
    until(page, lambda: fake.ops("pace")[-1]["every"] == 50)
    until(page, lambda: parked in [asked["channels"] for asked in fake.ops("subscribe")])


def test_who_signs_in_in_one_tab_is_signed_in_in_all(desk: Desk, fake: Fake) -> None:
    fake.locked = True
    page = desk.open(wait=False)
    other = page.context.new_page()
    desk.watch.look(other)
    other.goto(desk.url)
    for tab in (page, other):
        expect(tab.locator("dialog h2")).to_have_text("Sign in")
    page.fill("dialog [name=token]", "rt_one")
    page.click("dialog button.primary")
    for tab in (page, other):
        expect(tab.locator(".dot.live")).to_be_visible()
        expect(tab.locator("dialog")).to_have_count(0)
    assert [p.get("token") for p in fake.ops("auth.login")] == ["rt_one"]


def test_a_ticket_pasted_where_the_page_is_open_signs_in_and_leaves_the_address(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    fake.locked = True
    fake.cut()
    expect(page.locator("dialog h2")).to_have_text("Sign in")
    page.evaluate("location.hash = 'ticket=t-1'")
    expect(page.locator(".dot.live")).to_be_visible()
    expect(page.locator("dialog")).to_have_count(0)
    assert page.evaluate("location.href") == desk.url
    assert [p.get("ticket") for p in fake.ops("auth.login")] == ["t-1"]


def test_text_of_others_stays_text(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    alert = {"id": "a1", "ts": fake.now, "level": "warning", "code": evil, "text": evil}
    fake.do(lambda: fake.append("alerts", alert | {"acked_by": None}))
    fake.do(
        lambda: fake.append("logs", {"ts": 1, "level": "info", "component": evil, "message": evil})
    )
    page.click("#tab-log")
    expect(page.locator("#pane-log tbody tr")).to_have_count(2)
    assert evil in page.locator("#pane-log").inner_text()
    assert page.locator("#pane-log img").count() == 0
    expect(page.locator(".strip-alert")).to_contain_text("onerror")


def test_without_the_library_a_plain_chart_is_drawn_and_one_line_says_how_to_add_it(
    desk: Desk, fake: Fake
) -> None:
    fake.vendor = False
    desk.watch.forgiven = ("404",)
    page = desk.open()
    expect(page.locator(".chart-note")).to_contain_text("the chart library is not installed")
    expect(page.locator(".plain-chart")).to_be_visible()
    expect(page.locator(".legend")).to_contain_text(re.compile("C.64,012.1"))
    drawn = page.evaluate(
        "(() => { const c = document.querySelector('.plain-chart');"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0) })()"
    )
    assert drawn
    page.hover(".plain-chart", position={"x": 100, "y": 100})
    expect(page.locator(".legend")).not_to_contain_text(re.compile("C.64,012.1"))
    page.select_option("#symbol", "ETH/USDT")  # the pointer stays where it is
    expect(page.locator(".legend")).to_have_text(re.compile(r"^O.3,\d"))


def test_history_comes_by_op_and_the_forming_bar_by_channel(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    expect(page.locator(".legend")).to_contain_text(re.compile("C.64,012.1"))
    page.click("[data-frame='15m']")
    expect(page.locator("#price .hidden p")).to_contain_text("15m bars")
    assert fake.ops("market.ohlcv")[-1]["timeframe"] == "15m"
    first = page.locator(".legend").inner_text()
    fake.moving = True
    expect(page.locator(".legend")).not_to_have_text(first)
    assert "Last 20 bars" in page.locator("#price").inner_text()


def test_a_market_without_bars_says_so_until_the_first_and_is_no_other_one(
    desk: Desk, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, value = fake.command, fake.bar_value
    none: Row = {"ohlcv": [], "gaps": [], "closed_through_ts": None}

    def command(op: str, p: Row, client: str) -> Row:
        new = op == "market.ohlcv" and p["symbol"] == "PEPE/USDT"
        return {"result": none} if new else answer(op, p, client)

    def bar_value(symbol: str, frame: str) -> Row:
        return value(symbol, frame) | (none if symbol == "PEPE/USDT" else {})

    monkeypatch.setattr(fake, "command", command)
    monkeypatch.setattr(fake, "bar_value", bar_value)
    page = desk.open()
    spoken, bars = page.locator("#price .hidden p"), page.locator("#price .hidden tbody tr")
    expect(spoken).to_contain_text("BTC/USDT, 1m bars")
    expect(bars).to_have_count(20)
    page.select_option("#symbol", "PEPE/USDT")
    note = page.locator(".chart-note")
    expect(note).to_have_text("No bars yet: the first comes with the first trade.")
    expect(spoken).to_have_text("")
    expect(bars).to_have_count(0)
    first = [
        fake.now // 60_000 * 60_000,
        "0.00000009",
        "0.00000012",
        "0.00000008",
        "0.0000001",
        "5",
    ]
    told = {"symbol": "PEPE/USDT", "timeframe": "1m", "ohlcv": [None, first]}
    channel = "ohlcv:PEPE/USDT?timeframe=1m"
    fake.do(lambda: fake.set_value(channel, told | {"closed_through_ts": first[0]}))
    expect(note).to_have_text("")
    expect(page.locator(".legend")).to_contain_text("0.00000009")
    expect(bars).to_have_count(1)
    expect(bars.locator("td").nth(4)).to_have_text("0.00000010")
