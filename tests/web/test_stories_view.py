"""Stories of what is drawn and how it is reached: time zones, overlays, lines, a hidden tab, accessibility."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Desk, drawn, until
from tests.web.fake import Fake
from tests.web.serving import Server, rich
from tests.web.test_chart_view import hourly
from tests.web.test_link import show_hidden
from tests.web.test_look import WIDER, findings
from tests.web.test_real import place


pytestmark = pytest.mark.browser

STOCKHOLM = ZoneInfo("Europe/Stockholm")
DRAWN = """
window.drawn = [];
for (const name of ["strokeRect", "arc", "fillText"]) {
  const draw = CanvasRenderingContext2D.prototype[name];
  CanvasRenderingContext2D.prototype[name] = function (...args) {
    const { a, e } = this.getTransform();
    const at = typeof args[0] === "string" ? args[1] : args[0];
    const { height } = this.canvas;
    window.drawn.push({ name, text: args[0], x: a * at + e, height, style: this.strokeStyle, ts: performance.now() });
    if (window.drawn.length > 4000) window.drawn.splice(0, 2000);
    return draw.apply(this, args);
  };
}
"""
NEWEST = """
(name) => { const all = window.drawn.filter((d) => d.name === name); const last = all.at(-1)?.ts ?? 0;
  return all.filter((d) => last - d.ts < 4 && performance.now() - d.ts < 1500); }
"""
LABEL = """
async (cross) => {
  for (let i = 0; i < 2; i++) await new Promise((drawn) => requestAnimationFrame(drawn));
  return window.drawn.findLast((d) => d.name === "fillText" && RegExp(cross).test(d.text))?.text ?? "";
}
"""
CROSS = r"^\d{4}-\d\d-\d\d \d\d:\d\d$"
AXIS = """
(cross) => { const all = window.drawn.filter((d) => d.name === "fillText" && d.height < 40 && !RegExp(cross).test(d.text));
  const last = all.at(-1)?.ts ?? 0; return all.filter((d) => last - d.ts < 4); }
"""
"""Ticks of the time axis, the last time they were drawn: prices and the crosshair's label are drawn more often."""
TABS = (
    "positions", "orders", "fills", "balances", "log", "equity", "risk", "signals", "portfolio", "backtest",
    "config", "monitoring",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A rich account, and a strategy that always buys."""
    with rich(tmp_path_factory.mktemp("views"), "bull", "return 1.0") as made:
        yield made


def newest(page: Page, name: str) -> list[dict[str, Any]]:
    """What the chart drew with this call of the canvas, the last time it was drawn."""
    found: list[dict[str, Any]] = page.evaluate(NEWEST, name)
    return found


def label(page: Page) -> str:
    """What the crosshair says of the time, once the chart has drawn where the mouse is now."""
    found: str = page.evaluate(LABEL, CROSS)
    return found


def change_of_clocks() -> datetime:
    """The last one in Stockholm that days have followed on, UTC, to the hour."""
    hour = timedelta(hours=1)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 72 * hour
    while now.astimezone(STOCKHOLM).utcoffset() == (now - hour).astimezone(STOCKHOLM).utcoffset():
        now -= hour
    return now


@pytest.mark.slow
def test_23_history_comes_on_pan_and_axis_and_crosshair_tell_one_time_over_a_change_of_clocks(
    real: Desk, server: Server
) -> None:
    page = real.open(script=DRAWN)
    page.evaluate(
        """async () => { const { app } = await import("/js/app.js"); window.asked = [];
        const call = app.commands.call.bind(app.commands);
        app.commands.call = (op, a) => { if (op === "market.ohlcv") window.asked.push(a); return call(op, a); }; }"""
    )
    page.click("[data-frame='4h']")
    # Said once the bars are on the chart: a pan before would move an empty one.
    expect(page.locator("#price .hidden p")).to_contain_text("4h bars")
    box = page.locator(".chart-canvas").bounding_box()
    assert box
    left, middle = box["x"] + 20, box["y"] + box["height"] / 2
    page.mouse.move(left + 200, middle)
    for _ in range(6):
        page.mouse.wheel(0, 400)
        page.wait_for_timeout(60)  # zooms in steps, and tells nobody
    right = box["x"] + box["width"] - 110

    def pan(by: float) -> None:
        start = left if by > 0 else right
        page.mouse.move(start, middle)
        page.mouse.down()
        page.mouse.move(start + by, middle, steps=3)
        page.mouse.up()
        page.wait_for_timeout(120)  # the library glides to where it ends, and tells nobody

    def at(x: float) -> datetime:
        page.mouse.move(x, middle)
        return datetime.fromisoformat(label(page))

    changed = change_of_clocks().replace(tzinfo=None)
    for _ in range(20):
        pan(440)
        if page.evaluate("window.asked.length") > 1:
            break
    for _ in range(90):  # half a year at most, most of which is asked for on the way
        if (far := at(left) - changed) > -timedelta(days=1):
            pan(440 if far > timedelta(days=40) else 220)
        elif at(right) < changed + timedelta(days=1):
            pan(-220)
        else:
            break
    asked = page.evaluate("window.asked.map((one) => one.until ?? 0)")
    assert asked[0] == 0 < asked[1]
    assert asked[1:] == sorted(asked[1:], reverse=True)
    axis = page.evaluate(AXIS, CROSS)
    assert len(axis) >= 3
    for tick in axis:
        page.mouse.move(box["x"] + tick["x"], middle)
        assert tick["text"] in label(page)
    offsets = set()
    for x in range(0, int(box["width"]) - 90, 5):
        page.mouse.move(box["x"] + 10 + x, middle)
        local = datetime.fromisoformat(label(page)).replace(tzinfo=STOCKHOLM)
        fits = {
            (at.utcoffset(), at.astimezone(UTC).hour)
            for at in (local, local.replace(fold=1))
            if at.astimezone(UTC).hour % 4 == 0
        }
        assert fits, local
        offsets |= {offset for offset, _ in fits}
    assert len(offsets) == 2


@pytest.mark.slow
def test_24_gaps_are_drawn_as_the_server_has_them_and_switch_off(
    real: Desk, server: Server
) -> None:
    page = real.open(script=DRAWN)
    page.click("[data-frame='5m']")
    page.click("[data-overlay=fvg]")

    def told() -> int:
        zones = server.call("indicator.fvg", symbol="BTC/USDT", timeframe="5m", limit=500)["zones"]
        return sum(zone["status"] != "filled" for zone in zones)

    until(page, lambda: len(newest(page, "strokeRect")) == told() > 0)
    page.click("[data-overlay=fvg]")
    until(page, lambda: not newest(page, "strokeRect"))


@pytest.mark.slow
def test_signals_of_bots_are_dots_on_the_chart_while_switched_on(
    real: Desk, server: Server
) -> None:
    page = real.open(script=DRAWN)
    server.call(
        "bot.configure",
        bot_id="bull",
        patch={
            "symbols": ["BTC/USDT"],
            "timeframe": "1m",
            "dry_run": True,
            "strategies": {"bull": {}},
        },
    )
    page.click("[data-overlay=signals]")
    page.wait_for_timeout(400)  # there is none yet
    assert newest(page, "arc") == []
    server.call("bot.run_once", bot_id="bull")
    until(page, lambda: newest(page, "arc"))
    page.click("#tab-signals")
    expect(page.locator("#pane-signals tbody tr").first).to_contain_text(
        re.compile(r"BTC/USDT\s*bull\s*bull\s*buy\s*9\d\.\d %\s*dry run")
    )
    page.click("#tab-positions")
    page.click("[data-overlay=signals]")
    until(page, lambda: not newest(page, "arc"))


@pytest.mark.slow
def test_an_order_line_that_the_server_refuses_to_move_goes_back(
    real: Desk, server: Server
) -> None:
    page = hourly(real.open())
    last = Decimal(page.locator(".last").inner_text().replace(",", ""))
    price = (last * Decimal("0.9975")).quantize(Decimal("0.01"))
    page.check("#ticket-post")
    page.fill("#ticket-price", str(price))
    page.fill("#ticket-amount", "0.01")
    page.click("button.submit")
    grip = page.locator(".grip")
    expect(grip).to_have_count(1)
    (order,) = server.working()
    server.call("risk.params.set", patch={"max_order_notional": "100"})
    before = grip.bounding_box()
    assert before
    x, y = before["x"] + 12, before["y"] + before["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 10)
    page.mouse.move(x, y - 20)
    expect(grip).to_have_class(re.compile("pending"))
    page.mouse.up()
    page.keyboard.press("Enter")
    expect(page.locator(".chart-said")).to_contain_text(
        re.compile("Not amended: risk_rejected.*100 USDT")
    )
    expect(grip).not_to_have_class(re.compile("pending"))
    after = grip.bounding_box()
    assert after
    assert abs(after["y"] - before["y"]) < 9
    now = server.rows("orders")[order["id"]]
    assert (now["price"], now["status"]) == (order["price"], "open")
    server.call("order.cancel_all")
    server.call("risk.params.set", patch={"max_order_notional": "10000"})


@pytest.mark.slow
def test_the_risk_view_tells_the_days_what_was_refused_and_which_limits_changed(
    real: Desk, server: Server
) -> None:
    server.call("risk.params.set", patch={"max_order_notional": "9000"})
    order = {"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.5"}
    refused = httpx.post(f"{server.address}api/order.place", json=order).json()["error"]
    page = real.open()
    page.click("#tab-risk")
    happened = page.locator(".risk-happened tbody tr")
    expect(happened.nth(0)).to_contain_text(f"place buy 0.5 BTC/USDT: {refused['message']}")
    expect(happened.nth(1)).to_contain_text("max order notional 10000 → 9000")
    today = server.call("risk.daily_pnl")
    day = page.locator("[aria-label='Trading days'] tbody tr")
    rolled = server.call("event.list", type="day_rolled")["events"]
    expect(day).to_have_count(
        len({event["data"]["day"] for event in rolled})
    )  # more than one where it lived over midnight
    expect(day.first).to_contain_text(today["day"])
    expect(day.first).to_contain_text(f"{Decimal(today['equity_start']):,.2f}")
    server.call("trading.halt", reason="a look at the market")
    expect(happened.nth(0)).to_contain_text("Trading of all: a look at the market")
    server.call("trading.resume", reason="seen")
    expect(happened.nth(0)).to_contain_text("active")
    server.call("risk.params.set", patch={"max_order_notional": "10000"})


@pytest.mark.slow
def test_25_ten_minutes_hidden_leave_book_and_tape_and_cost_nothing(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    fake.moving = True
    show_hidden(page, hidden=True)
    page.clock.fast_forward(31_000)
    gone = {n for p in until(page, lambda: fake.ops("unsubscribe")) for n in p["channels"]}
    assert {"trades:BTC/USDT", "orderbook:BTC/USDT?depth=25&rate=100"} <= gone
    assert not {"orders", "positions", "fills"} & gone
    page.evaluate(
        """() => { window.paints = 0; const look = new MutationObserver((all) => { window.paints += all.length; });
        look.observe(document.querySelector("#orderbook .book"), { subtree: true, childList: true, characterData: true }); }"""
    )
    page.clock.fast_forward(570_000)
    page.wait_for_timeout(300)  # nothing is painted
    assert page.evaluate("window.paints") == 0
    fake.moving = False
    show_hidden(page, hidden=False)
    book = fake.do(lambda: fake.streams["orderbook:BTC/USDT?depth=25&rate=100"].value)
    expect(page.locator(".bids .book-row").first).to_have_attribute(
        "data-price", book["bids"][0][0]
    )
    expect(page.locator(".dot.live")).to_be_visible()
    held = page.evaluate(
        """async () => { const { app } = await import("/js/app.js");
        return [app.store.list("trades:BTC/USDT").length, app.store.list("logs").length]; }"""
    )
    assert held[0] <= 200
    assert held[1] <= 1000


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1440, 390])
def test_30_axe_finds_nothing_on_any_tab(
    real: Desk, server: Server, axe: str, theme: str, width: int
) -> None:
    phone = width < 800
    height = 844 if phone else 900
    page = real.open(width=width, height=height, touch=phone, calm=True, dark=theme == "dark")
    if not phone:
        place(page, "buy", "market", "0.002")
        place(page, "buy", "limit", "0.002", 0.99)
    for view in ("book", "trade", "chart", "bots", "account") if phone else ():
        page.click(f"[data-view={view}].phone-tab")
        drawn(page)
        assert findings(page, axe) == [], view
    for tab in TABS:
        page.evaluate(f"document.querySelector('#tab-{tab}').click()")
        page.locator(f"#pane-{tab} > :not(.empty)").first.wait_for(state="attached")
        page.wait_for_timeout(250)  # each asks for something else: what has come is judged
        # The rest of the page is the same on every tab: it is judged with the first one.
        found = findings(page, axe, "html" if tab == TABS[0] else f"#pane-{tab}")
        assert found == [], tab
        assert page.evaluate(WIDER) == [], tab
    if not phone:
        server.call("order.cancel_all")
        server.call("position.close_all")
