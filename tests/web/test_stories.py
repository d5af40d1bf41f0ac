"""Stories of trading against the real server: orders, positions, bots, keys, numbers. The number is the story's in the design."""

import json
import re
from collections.abc import Callable, Iterator
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import Desk, until
from tests.web.serving import FREE, Server, rich
from tests.web.test_real import place
from tests.web.test_settings import HEARD


pytestmark = pytest.mark.browser

WIDTHS = """
(wanted) => wanted.flatMap((selector) => [...document.querySelectorAll(selector)]
  .filter((e) => e.checkVisibility() && e.textContent.trim() !== "")
  .map((e, i) => [`${selector} ${i}`, e.textContent, Math.round(e.getBoundingClientRect().width * 2) / 2]))
"""
NUMBERS = (
    ".last", ".change", ".card .figure", ".card .side", ".market-last", ".market-change",
    ".bids .book-row:not([hidden]) [data-cell]", ".asks .book-row:not([hidden]) [data-cell]",
    ".tape td", "#pane-positions td.num",
)  # fmt: skip
FOCUS = """
() => { const e = document.activeElement; const s = getComputedStyle(e);
  return [!!e.closest("dialog"), s.outlineStyle !== "none" || s.boxShadow !== "none"]; }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A rich account, a calm market with a very small price in it, and a strategy that fails."""
    settings = FREE | {
        "REALTIME_PAPER__SYMBOLS": '["BTC/USDT","ETH/USDT","PEPE/USDT"]',
        "REALTIME_PAPER__FLOW_PER_S": "15",
        "REALTIME_RECONCILE__ORDER_TIMEOUT_S": "1",
    }
    fails = 'raise ValueError("the fuse is lit")'
    with rich(tmp_path_factory.mktemp("stories"), "boom", fails, **settings) as made:
        yield made


def flat(page: Page, server: Server) -> None:
    """No order works and nothing is held, on the server and on the page."""
    server.call("order.cancel_all")
    server.call("position.close_all")
    expect(page.locator("#tab-orders .count")).to_have_text("")
    expect(page.locator("#tab-positions .count")).to_have_text("")


def last(page: Page) -> Decimal:
    return Decimal(page.locator(".last").inner_text().replace(",", ""))


def row(page: Page, tab: str, words: str | re.Pattern[str]) -> Locator:
    """The first row of a table that says this."""
    page.click(f"#tab-{tab}")
    return page.locator(f"#pane-{tab} tbody tr").filter(has_text=words).first


def signed(number: str) -> str:
    """Money as the page writes it: two digits, half even, its sign said."""
    rounded = Decimal(number).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    sign = "+" if rounded > 0 else "\N{MINUS SIGN}" if rounded < 0 else ""
    return f"{sign}{abs(rounded):,.2f}"


def agrees(page: Page, shown: Callable[[], str], told: Callable[[], str]) -> None:
    """What is shown is what the server tells, to the last digit, as soon as neither moves under the look."""
    until(page, lambda: told() == shown() == told())


@pytest.mark.slow
def test_2_3_everything_moves_without_a_request_and_no_number_changes_its_width(
    real: Desk, server: Server
) -> None:
    page = real.open()
    place(page, "buy", "market", "0.05")
    page.click("#tab-positions")
    expect(page.locator("#pane-positions tbody tr")).to_have_count(1)
    exposure = page.locator("#account .card", has_text="Exposure").locator(".side")
    expect(exposure).not_to_have_text("0")
    page.wait_for_load_state("networkidle")
    requests = len(real.watch.requests)
    first = page.evaluate(WIDTHS, NUMBERS)
    widths = {name: width for name, _, width in first}
    texts = {name: text for name, text, _ in first}
    moved: set[str] = set()
    wanted = {".last", ".tape td", ".market-last"}
    for number in range(120):
        if number >= 12 and wanted <= moved:
            break  # a market may trade at one price for seconds
        page.wait_for_timeout(90)  # looks again and again, while the market moves
        for name, text, width in page.evaluate(WIDTHS, NUMBERS):
            if name in widths:
                assert widths[name] == width, (name, texts[name], text)
                if text != texts[name]:
                    moved.add(name.rsplit(" ", 1)[0])
    assert len(real.watch.requests) == requests
    assert wanted <= moved
    assert any("book-row" in name for name in moved)
    flat(page, server)


def test_9_38_a_part_fills_the_rest_is_canceled_and_no_sound_is_made(
    real: Desk, server: Server
) -> None:
    page = real.open(script=HEARD)
    page.click("#tab-orders")
    order = page.locator("#pane-orders tbody tr").first
    partly = re.compile(r"0\.\d+ of 0\.10000")
    page.fill("#ticket-amount", "0.1")
    # At the head of the bids, where somebody sells a part. The market may run away from it, or through it: then again.
    for _ in range(20):
        bid = page.locator(".bids .book-row[data-price]").first.get_attribute("data-price")
        page.fill("#ticket-price", str(Decimal(bid or "0") + Decimal("0.01")))
        page.fill("#ticket-amount", "0.1")
        page.click("button.submit")
        expect(page.locator("#ticket-amount")).to_have_value("")
        for _ in range(40):
            if partly.search(order.inner_text()) or "filled" in order.inner_text():
                break
            page.wait_for_timeout(50)  # two seconds in all: that nobody sells is an answer too
        # It may fill meanwhile, and the button goes: a cancel of what has ended says so and does nothing.
        order.locator("text=Cancel").evaluate("(button) => button.click()")
        expect(order).to_contain_text(re.compile("canceled|filled"))
        if partly.search(order.inner_text()):
            break
        flat(page, server)  # filled whole: there is no money for a second one
    expect(order).to_contain_text("canceled")
    told = server.rows("orders")[order.get_attribute("data-key") or ""]
    assert told["status"] == "canceled"
    assert 0 < Decimal(told["filled"]) < Decimal(told["amount"])
    expect(order).to_contain_text(f"{told['filled']} of 0.10000")
    expect(order.locator("button:visible")).to_have_count(0)
    (held,) = server.rows("positions").values()
    expect(row(page, "positions", "BTC/USDT")).to_contain_text(held["amount"])
    assert page.evaluate("window.heard") == 0
    flat(page, server)


@pytest.mark.slow
def test_8_an_order_whose_answer_is_lost_is_looked_up_and_is_one(
    real: Desk, server: Server
) -> None:
    page = real.open()
    before = set(server.rows("orders"))
    server.call("system.fault", faults=[{"kind": "lost_after", "times": 1}])
    page.fill("#ticket-price", f"{last(page) * Decimal('0.99'):.2f}")
    page.fill("#ticket-amount", "0.012")
    page.click("button.submit")
    expect(page.locator("#ticket")).to_contain_text(
        re.compile("being looked up|Resolved|Open: buy")
    )
    expect(page.locator(".outcome[role=status]")).to_contain_text(
        re.compile("Resolved: the order is open|Open: buy 0.01200"), timeout=30_000
    )
    server.call("system.fault", faults=[])
    (made,) = set(server.rows("orders")) - before
    assert server.rows("orders")[made]["status"] == "open"
    flat(page, server)


def test_11_small_prices_and_long_amounts_equal_the_servers_to_the_last_digit(
    real: Desk, server: Server
) -> None:
    page = real.open()
    page.select_option("#symbol", "PEPE/USDT")
    expect(page.locator(".last")).to_have_text(re.compile(r"^0\.0000\d{4}$"))
    page.select_option("#ticket-type", "market")
    page.fill("#ticket-amount", "123456700")
    expect(page.locator("button.submit")).to_have_text("Buy 123,456,700 PEPE (market)")
    page.click("button.submit")
    cells = row(page, "positions", "PEPE/USDT").locator("td")

    def held() -> dict[str, Any]:
        return server.rows("positions")["PEPE/USDT|long"]

    expect(cells.nth(2)).to_have_text(re.compile(r"^123,456,700$"))
    assert held()["amount"] == "123456700"
    tick = Decimal("0.00000001")
    entry = Decimal(held()["entry_price"]).quantize(tick, ROUND_HALF_EVEN)
    expect(cells.nth(3)).to_have_text(f"{entry:f}")
    agrees(page, cells.nth(6).inner_text, lambda: signed(held()["unrealized_pnl"]))
    equity = page.locator("#account .figure").first
    agrees(page, equity.inner_text, lambda: signed(server.value("risk")["equity"]).lstrip("+"))
    today = page.locator("#account .card", has_text="Today").locator(".figure")
    agrees(page, today.inner_text, lambda: signed(server.value("risk")["daily_pnl"]))
    flat(page, server)


@pytest.mark.slow
def test_12_a_position_is_closed_by_a_limit_in_part_and_at_the_market(
    real: Desk, server: Server
) -> None:
    page = real.open()
    place(page, "buy", "market", "0.04")
    (held,) = server.rows("positions").values()
    position = row(page, "positions", "BTC/USDT")
    position.locator("text=Close…").click()
    page.select_option("dialog [name=fraction]", "0.25")
    page.select_option("dialog [name=type]", "limit")
    expect(page.locator("dialog .danger")).to_be_disabled()
    limit = f"{last(page) * Decimal('1.01'):.2f}"
    page.fill("dialog [name=price]", limit)
    page.click("dialog .danger")
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    (order,) = server.working()
    assert (order["side"], order["type"], order["reduce_only"]) == ("sell", "limit", True)
    assert Decimal(order["price"]) == Decimal(limit)
    quarter = (Decimal(held["amount"]) / 4).quantize(Decimal("0.00001"), ROUND_DOWN)
    assert abs(Decimal(order["amount"]) - quarter) <= Decimal("0.00001")
    row(page, "orders", "limit").locator("text=Cancel").click()
    expect(page.locator("#tab-orders .count")).to_have_text("")
    row(page, "positions", "BTC/USDT").locator("text=Close…").click()
    page.click("dialog .danger")
    expect(page.locator("#tab-positions .count")).to_have_text("")


@pytest.mark.slow
def test_13_close_all_names_count_and_notional_before_it_acts(real: Desk, server: Server) -> None:
    page = real.open()
    place(page, "buy", "market", "0.02")
    page.select_option("#symbol", "ETH/USDT")
    expect(page.locator(".book[data-symbol='ETH/USDT']")).to_be_visible()
    place(page, "buy", "market", "0.5")
    page.click("#tab-positions")
    expect(page.locator("#tab-positions .count")).to_have_text("2")
    page.click("text=Close all…")
    expect(page.locator("dialog")).to_contain_text("2 market orders, reduce only.")
    for told in server.rows("positions").values():
        facts = page.locator("dialog dd", has_text=told["amount"])
        shown = Decimal(facts.inner_text().split("·")[1].strip().replace(",", ""))
        assert abs(shown / Decimal(told["notional"]) - 1) < Decimal("0.01")
    page.keyboard.press("Escape")
    assert len(server.rows("positions")) == 2
    page.click("text=Close all…")
    page.click("dialog .danger")
    expect(page.locator("#tab-positions .count")).to_have_text("")
    assert server.rows("positions") == {}


def test_14_a_bot_starts_pauses_stops_fails_and_starts_again_and_two_pages_agree(
    real: Desk, server: Server
) -> None:
    made = {"symbols": ["BTC/USDT"], "timeframe": "1m", "max_retries": 1, "dry_run": True}
    server.call("bot.configure", bot_id="fuse", patch={**made, "strategies": {"boom": {}}})
    page, other = real.open(), real.open()
    pages = [p.locator(".bot", has_text="fuse") for p in (page, other)]

    def press(button: str, state: str, *offers: str) -> None:
        pages[0].locator(f".bot-line button:text-is('{button}')").click()
        for bot in pages:
            expect(bot.locator(".bot-state")).to_have_text(state)
            expect(bot.locator(".bot-line button")).to_have_text(list(offers))
        assert server.rows("bots")["fuse"]["state"] == state

    press("Start", "error", "Restart", "Stop")
    for bot in pages:
        expect(bot.locator(".bot-why")).to_contain_text("the fuse is lit")
    page.click("#tab-log")
    page.select_option("[aria-label=Level]", "warnings, errors")
    expect(page.locator("#pane-log tbody tr", has_text="the fuse is lit").first).to_be_visible()
    server.call("bot.configure", bot_id="fuse", patch={"strategies": {"rsi": {}}})
    press("Restart", "running", "Pause", "Stop")
    press("Pause", "paused", "Resume", "Stop")
    press("Resume", "running", "Pause", "Stop")
    press("Stop", "stopped", "Start")
    page.select_option("[aria-label=Level]", "all levels")
    for happened in ("bot started", "bot paused", "bot stopped"):
        expect(page.locator("#pane-log tbody tr", has_text=happened).first).to_be_visible()


@pytest.mark.slow
def test_29_keyboard_alone_places_amends_and_cancels_and_focus_comes_back(
    real: Desk, server: Server
) -> None:
    page = real.open()
    body, keyboard = page.locator("body"), page.keyboard
    price = f"{last(page) * Decimal('0.99'):.2f}"
    body.press("b")
    body.press("l")
    keyboard.type(price)
    keyboard.press("Tab")
    keyboard.type("0.02")
    keyboard.press("Control+Enter")
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    page.evaluate("document.activeElement.blur()")
    body.press("2")
    page.locator("#tab-orders").focus()
    for _ in range(12):
        keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Amend":
            break
    assert page.evaluate(FOCUS) == [False, True]
    keyboard.press("Enter")
    expect(page.locator("dialog [name=price]")).to_be_focused()
    for step in ("Tab",) * 5 + ("Shift+Tab",) * 5:
        keyboard.press(step)
        # The browser's own bar is the only other place that Tab reaches from a modal dialog.
        assert page.evaluate(FOCUS)[0] or page.evaluate("document.activeElement === document.body")
    page.locator("dialog [name=price]").focus()
    new = f"{Decimal(price) - 5:.2f}"
    keyboard.press("Control+a")
    keyboard.type(new)
    keyboard.press("Enter")
    expect(page.locator("dialog")).to_have_count(0)
    assert page.evaluate("document.activeElement.textContent") == "Amend"
    (order,) = server.working()
    assert Decimal(order["price"]) == Decimal(new)
    keyboard.press("Tab")
    assert page.evaluate(FOCUS) == [False, True]
    keyboard.press("Enter")
    expect(page.locator("#tab-orders .count")).to_have_text("")
    assert server.rows("orders")[order["id"]]["status"] == "canceled"
    page.evaluate("document.activeElement.blur()")
    body.press("?")
    for key in ("b", "s", "l", "m", "t", "/", "x", "Shift+X", "Shift+H", "Ctrl+Enter"):
        expect(
            page.locator("dialog .keys kbd").filter(has_text=re.compile(f"^{re.escape(key)}$"))
        ).to_have_count(1)
    keyboard.press("Enter")
    expect(page.locator("dialog")).to_have_count(0)


def test_39_outside_the_trading_hours_a_banner_says_so_and_the_bot_says_why(
    real: Desk, server: Server
) -> None:
    page = real.open()
    expect(page.locator("#banner")).to_be_hidden()
    hour = (server.value("status")["started_ts"] // 3_600_000 + 12) % 24
    server.call("trading_window.set", patch={"start_hour": hour, "end_hour": hour + 1})
    expect(page.locator("#banner")).to_contain_text(f"Outside the trading hours {hour}:00")
    expect(page.locator("#banner")).to_contain_text("bots make no entries")
    server.call("bot.run_once", bot_id="main")
    bot = page.locator(".bot", has_text="main")
    expect(bot.locator(".bot-why")).to_have_text(re.compile("outside the trading hours|: "))
    server.call("trading_window.set", patch={"start_hour": 0, "end_hour": 24})
    expect(page.locator("#banner")).to_be_hidden()


@pytest.mark.slow
def test_40_the_log_is_exported_as_it_is_filtered(real: Desk, server: Server) -> None:
    page = real.open()
    server.call("trading_window.set", patch={"max_trades_per_day": 7})
    page.click("#tab-log")
    page.select_option("[aria-label=Show]", "events")
    expect(page.locator("#pane-log tbody")).to_contain_text("parameter changed")
    with page.expect_download() as got:
        page.click("text=Export")
    saved = json.loads(Path(got.value.path()).read_text())
    shown = page.locator("#pane-log tbody tr")
    assert got.value.suggested_filename == "realtime-log.json"
    assert len(saved) == shown.count()
    assert {line["what"] for line in saved} >= {"parameter changed", "transfer"}
    assert not any(line["from"] == "log" for line in saved)


@pytest.mark.slow
def test_columns_are_chosen_by_the_person_and_remembered(real: Desk, server: Server) -> None:
    page = real.open()
    server.call("risk.params.set", patch={"order_rate_minute": 30})
    place(page, "buy", "limit", "0.01", 0.99)
    rate = page.locator("#account .card", has_text="Order rate")
    expect(rate).to_contain_text(re.compile(r"[1-9]\d* used.*of 30/min · 1 open"))
    page.click("#tab-orders")
    head = page.locator("#pane-orders th:visible")
    expect(head.filter(has_text="Time")).to_have_count(0)
    page.click("[aria-label='Columns of orders']")
    page.check("dialog [name=Time]")
    page.uncheck("dialog [name=Type]")
    page.click("dialog .primary")
    for _ in range(2):
        expect(head.filter(has_text="Time")).to_have_count(1)
        expect(head.filter(has_text="Type")).to_have_count(0)
        cells = page.locator("#pane-orders tbody tr").first.locator("td:visible")
        assert cells.count() == head.count() + 1
        page.reload()
        page.locator("#pane-orders tbody tr").first.wait_for()
    page.click("[aria-label='Columns of orders']")
    page.click("text=As the screen has room")
    expect(head.filter(has_text="Type")).to_have_count(1)
    page.keyboard.press("Escape")
    server.call("risk.params.set", patch={"order_rate_minute": 300})
    flat(page, server)


@pytest.mark.slow
def test_a_stop_and_a_target_given_to_a_position_cancel_each_other(
    real: Desk, server: Server
) -> None:
    page = real.open()
    place(page, "buy", "market", "0.03")
    position = row(page, "positions", "BTC/USDT")
    position.locator(".cell-button").first.click()
    stop, target = (f"{last(page) * Decimal(part):.2f}" for part in ("0.98", "1.02"))
    page.fill("dialog [name=stop_loss]", stop)
    page.fill("dialog [name=take_profit]", target)
    page.click("dialog .primary")
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator("#tab-orders .count")).to_have_text("2")
    expect(position).to_contain_text(f"{Decimal(stop):,}")
    expect(position).to_contain_text(f"{Decimal(target):,}")
    legs = server.working()
    assert {leg["role"] for leg in legs} == {"stop_loss", "take_profit"}
    assert len({leg["oco_group"] for leg in legs} - {None}) == 1
    position.locator(".cell-button").nth(1).click()
    expect(page.locator("dialog [name=take_profit]")).to_be_focused()
    page.fill("dialog [name=take_profit]", f"{last(page) * Decimal('0.999'):.2f}")
    page.fill("dialog [name=stop_loss]", "")
    page.click("dialog .primary")
    # The target was moved through the market: it fills, and with it everything is gone.
    expect(page.locator("#tab-positions .count")).to_have_text("")
    expect(page.locator("#tab-orders .count")).to_have_text("")


@pytest.mark.slow
def test_several_accounts_are_chosen_in_the_header_and_never_mixed(
    real: Desk, tmp_path: Path
) -> None:
    both = Server(
        tmp_path, REALTIME_VENUES__MAIN__EXCHANGE="paper", REALTIME_VENUES__SIDE__EXCHANGE="paper"
    )
    both.start()
    expect(real.open().locator(".accounts")).to_be_hidden()
    desk = Desk(real.browser, both.address)
    page = desk.open()
    expect(page.locator(".accounts option")).to_have_text(["main", "side"])
    place(page, "buy", "limit", "0.002", 0.99)
    with page.expect_event("load"):
        page.select_option(".accounts", "side")
    page.locator(".dot.live").wait_for()
    expect(page.locator(".accounts")).to_have_value("side")
    expect(page.locator("#tab-orders .count")).to_have_text("")
    expect(page.locator(".last")).to_contain_text(".")
    place(page, "buy", "market", "0.001")
    expect(page.locator("#tab-positions .count")).to_have_text("1")
    assert [o["amount"] for o in both.rows("orders").values()] == ["0.00200"]
    assert [o["amount"] for o in both.rows("orders@side").values()] == ["0.00100"]
    page.locator("body").press("Shift+X")
    page.click("dialog .danger")
    expect(page.locator("dialog")).to_have_count(0)
    assert [o["status"] for o in both.rows("orders").values()] == ["open"]
    page.locator("body").press("Shift+H")
    page.keyboard.press("Enter")
    expect(page.locator("dialog h2")).to_have_text("Trading is halted")
    assert [o["status"] for o in both.rows("orders").values()] == ["canceled"]
    desk.close()
    both.kill()
    assert desk.watch.faults == []
