"""What the page must be for everybody: accessible, within the screen, light, remembered."""

from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Desk, drawn, until
from tests.web.fake import Fake, Row


pytestmark = pytest.mark.browser

SIZES = (
    (375, 812), (768, 1024), (900, 700), (1180, 700), (1280, 800), (1291, 800), (1440, 900), (1920, 1080), (2560, 1440),
)  # fmt: skip
WIDER = """
[...document.querySelectorAll('.panel, .header, .header > *, .banner, #strip, .phone')]
  .filter((e) => e.checkVisibility())
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5)
  .map((e) => e.id || e.className)
"""
SMALL = """
[...document.querySelectorAll('button, select, input:not([type=checkbox]), .check')]
  .filter((e) => e.checkVisibility() && !e.closest('[hidden]'))
  .map((e) => [e.textContent || e.id, e.getBoundingClientRect().height])
  .filter(([, height]) => height > 0 && height < 43.5)
"""


def fits(page: Page) -> None:
    """Nothing is wider than the screen, once it is laid out anew."""
    drawn(page)
    assert page.evaluate(WIDER) == [], page.viewport_size
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.viewport_size


def both_sides(page: Page, least: int) -> bool:
    """Whether the book shows as much of both sides, and at least so much."""
    asks, bids = (page.locator(f".{s} .book-row:visible").count() for s in ("asks", "bids"))
    return asks == bids >= least


RUN_TOGETHER = """
[...document.querySelectorAll('.book-side .book-row[data-price]:not([hidden])')].flatMap((row) => {
  const ends = [...row.querySelectorAll('[data-cell]')].map((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getBoundingClientRect();
  });
  const edge = row.getBoundingClientRect().right;
  return ends.some((r, i) => r.right > (ends[i + 1]?.left ?? edge) - 2) ? [row.textContent] : [];
})
"""
CUT = """[...document.querySelectorAll('.card .figure, .card .side')]
  .filter((e) => e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > e.parentElement.getBoundingClientRect().right)
  .map((e) => e.textContent)"""

OPEN = """
(() => {
  const [list, tab] = [".tabs", ".tab[aria-selected=true]"].map((css) => document.querySelector(css).getBoundingClientRect());
  return tab.left >= list.left - 1 && tab.right <= list.right + 1;
})()
"""


@pytest.mark.parametrize(
    "sizes", [((375, 812), (768, 1024)), ((1440, 900), (1180, 800), (1024, 768))]
)
def test_prices_and_sums_in_billions_cut_nothing_and_halt_stays_in_view(
    desk: Desk, fake: Fake, monkeypatch: pytest.MonkeyPatch, sizes: tuple[tuple[int, int], ...]
) -> None:
    width, height = sizes[0]
    page = desk.open(width=width, height=height, touch=width < 800)
    row = fake.streams["markets"].rows["BTC/USDT"]
    book = {
        side: [[f"{1234567890 + sign * i}.50", f"1.1234567{i}"] for i in range(1, 9)]
        for side, sign in (("bids", -1), ("asks", 1))
    }
    monkeypatch.setattr(fake, "book", lambda symbol: book)

    def grow() -> None:
        fake.row("markets", row | {"amount_step": "0.00000001", "price_tick": "0.50"})
        fake.price["BTC/USDT"] = Decimal("1234567890.50")
        fake.quote("BTC/USDT")
        risk = fake.streams["risk"].value
        money = {"equity": "1234567890123.45", "daily_pnl": "-1234567890.12"}
        fake.set_value("risk", risk | money | {"total_exposure": "1234567890123.45"})

    fake.do(grow)
    expect(page.locator(".last")).to_have_text("1,234,567,890.5")
    expect(page.locator("#account")).to_contain_text("1,234,567,890,123.45")
    for width, height in sizes:
        page.set_viewport_size({"width": width, "height": height})
        fits(page)
        assert page.evaluate(CUT) == [], width
        if width < 720:
            page.click("[data-view=book].phone-tab")
        expect(page.locator(".bids .book-row").first).to_contain_text("1,234,567,889.5")
        until(page, lambda: page.evaluate(RUN_TOGETHER) == [])


def trade(page: Page, fake: Fake) -> None:
    """Something in every table."""
    page.fill("#ticket-price", "63900")
    page.fill("#ticket-amount", "0.01")
    page.click("button.submit")
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    order = {
        "symbol": "BTC/USDT",
        "side": "buy",
        "type": "market",
        "amount": "0.1",
        "client_order_id": "x",
    }
    fake.do(lambda: fake.place(order, "test"))
    alert = {"id": "a1", "ts": fake.now, "level": "warning", "code": "concentrated", "text": "60 %"}
    fake.do(lambda: fake.append("alerts", alert | {"acked_by": None}))
    page.fill("#ticket-amount", "0.5")
    expect(page.locator(".rules li")).to_have_count(1)


def findings(page: Page, axe: str, part: str = "html") -> list[str]:
    """What axe finds on the page, or in a part of it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    found = page.evaluate("(part) => axe.run(part, {resultTypes: ['violations']})", part)
    return [
        f"{v['id']}: {n['target']} {n.get('failureSummary', '')}"
        for v in found["violations"]
        for n in v["nodes"]
    ]


def test_axe_finds_nothing_on_any_tab_in_both_themes(desk: Desk, fake: Fake, axe: str) -> None:
    page = desk.open(calm=True)
    trade(page, fake)
    for theme, tabs in {
        "dark": ("positions", "orders", "log"),
        "light": ("orders", "balances"),
    }.items():
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        for tab in tabs:
            page.click(f"#tab-{tab}")
            page.locator(f"#pane-{tab} tbody tr").first.wait_for()
            # The rest of the page is the same on every tab: it is judged with the first one.
            found = findings(page, axe, "html" if tab == tabs[0] else "#tables")
            assert found == [], (theme, tab)
        page.locator("body").press("Shift+H")
        page.locator("dialog").wait_for()
        assert findings(page, axe, "dialog") == [], theme
        page.keyboard.press("Escape")


def test_axe_finds_nothing_on_the_phone_nor_with_the_banner(
    desk: Desk, fake: Fake, axe: str
) -> None:
    fake.state = "halted"
    fake.doubted = fake.now
    page = desk.open(width=375, height=812, touch=True, calm=True)
    expect(page.locator("#account")).to_have_attribute("data-age", "stale")
    for view in ("chart", "book", "trade", "account"):
        page.click(f"[data-view={view}].phone-tab")
        drawn(page)
        assert findings(page, axe) == [], view


def test_no_card_is_wider_than_the_screen_and_both_sides_of_the_book_are_shown(desk: Desk) -> None:
    page = desk.open(width=375, height=812)
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for view in ("chart", "trade", "account", "book") if width <= 720 else ("",):
            if view:
                page.click(f"[data-view={view}].phone-tab")
            fits(page)
        until(page, lambda: both_sides(page, 8))


def test_targets_under_a_thumb_are_large_enough(desk: Desk, fake: Fake) -> None:
    page = desk.open(width=375, height=812, touch=True)
    order = {
        "symbol": "BTC/USDT",
        "side": "buy",
        "type": "limit",
        "amount": "0.1",
        "price": "63000",
        "client_order_id": "x",
    }
    fake.do(lambda: fake.place(order, "test"))
    for view in ("chart", "book", "trade", "bots", "account", "tablet"):
        if view == "tablet":
            page.set_viewport_size({"width": 768, "height": 1024})
        else:
            page.click(f"[data-view={view}].phone-tab")
        if view in {"account", "tablet"}:
            page.click("#tab-orders")
            expect(page.locator("#pane-orders tbody tr")).to_have_count(1)
            expect(page.locator(".more")).to_be_visible()
            tabs, more = (page.locator(s).bounding_box() for s in ("#tab-orders", ".more"))
            assert tabs
            assert more
            assert abs(tabs["y"] - more["y"]) < 4
        drawn(page)
        assert page.evaluate(SMALL) == [], view


def test_the_open_tab_is_in_view_and_so_are_the_gauges(desk: Desk) -> None:
    page = desk.open()
    page.evaluate("document.querySelector('#tab-risk').click()")
    expect(page.locator(".more")).to_be_hidden()
    page.evaluate("document.querySelector('#tab-monitoring').click()")
    # With its button "More" comes, which takes room from the tabs.
    expect(page.locator(".actions >> text=Ask again")).to_be_visible()
    expect(page.locator(".more")).to_be_visible()
    drawn(page)
    assert page.evaluate(OPEN)
    assert page.locator("#account .meter").first.evaluate("(meter) => meter.offsetHeight") >= 4


def test_every_tab_is_at_hand_and_a_large_view_leaves_the_first_in_sight(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    trade(page, fake)
    page.evaluate("document.querySelector('#tab-risk').click()")
    expect(page.locator("#tab-log .count")).to_have_text("1")
    expect(page.locator(".more")).to_be_hidden()
    assert page.evaluate("document.querySelector('.tabs').scrollLeft") == 0

    page.set_viewport_size({"width": 1200, "height": 800})
    expect(page.locator(".more")).to_be_visible()
    page.select_option(".more", "positions")
    expect(page.locator("#tab-positions")).to_have_attribute("aria-selected", "true")


UNBROKEN = """
[...document.querySelectorAll('.pane:not([hidden]) td.num > span')].flatMap((span) => {
  const card = span.closest('tr').getBoundingClientRect();
  const lines = span.getClientRects();
  return lines.length > 1 || lines[0]?.right > card.right ? [span.textContent] : [];
})
"""


def test_a_long_number_in_a_card_is_not_broken_into_another(desk: Desk, fake: Fake) -> None:
    page = desk.open(width=375, height=812, touch=True)
    fake.do(lambda: fake.balance("USDT", Decimal("999999999916940.12345678")))
    page.click("[data-view=account].phone-tab")
    page.click("#tab-balances")
    cell = page.locator("#pane-balances td[data-head=Total]")
    expect(cell.first).to_contain_text("999,999,999,916,940.12345678")
    drawn(page)
    assert page.evaluate(UNBROKEN) == []
    # Cards show all columns, without headings to tell by.
    page.click("[aria-label='Columns of balances']")
    expect(page.locator("dialog [type=checkbox]:not(:checked)")).to_have_count(0)


def test_stop_and_target_of_a_position_are_in_sight(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    row = {
        "id": "ETH/USDT:USDT|short",
        "symbol": "ETH/USDT:USDT",
        "side": "short",
        "amount": "0.1234",
        "entry_price": "63441.3",
        "unrealized_pnl": "-2.34",
        "unrealized_pnl_pct": -2.34,
        "stop_loss": "62114.00",
        "take_profit": "62114.00",
        "position_type": "swap",
    }
    fake.do(lambda: fake.row("positions", row))
    spot = {"symbol": "BTC/USDT", "side": "long", "amount": "0.00999", "take_profit": None}
    spot |= {"id": "BTC/USDT|long", "position_type": "spot"}
    fake.do(lambda: fake.row("positions", row | spot))
    target = page.locator("#pane-positions tr:not(.heading) td[data-head=Target]")
    expect(target).to_contain_text(["set…", "62,114"])
    drawn(page)
    assert page.evaluate(
        "(pane => pane.scrollWidth <= pane.clientWidth)(document.querySelector('#pane-positions'))"
    )


def test_a_long_name_of_a_currency_leaves_the_amount_in_sight(desk: Desk, fake: Fake) -> None:
    market = fake.streams["markets"].rows["BTC/USDT"]
    fake.do(lambda: fake.row("markets", market | {"base": "1000000LONGNAME"}))
    page = desk.open(width=375, height=812, touch=True)
    page.click("[data-view=trade].phone-tab")
    field = page.locator(".field", has=page.locator("#ticket-amount"))
    expect(field.locator(".unit-choice")).to_contain_text("1000000LONGNAME")
    assert field.evaluate(
        "(f) => f.querySelector('.unit-choice').offsetWidth"
        " <= parseFloat(getComputedStyle(f.querySelector('input')).paddingRight)"
    )


SIDEWAYS = """[...document.querySelectorAll('.pane')]
  .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1).map((e) => `${e.id} ${e.scrollWidth}`)"""
AT_THE_EDGE = """(pane) => {
  const edge = pane.getBoundingClientRect().left + pane.clientWidth;
  return [...pane.querySelectorAll("tbody td")].filter((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const { width, right } = range.getBoundingClientRect();
    return width > 0 && right > edge - 8;
  }).map((cell) => cell.textContent);
}"""


def test_tables_need_no_scrolling_sideways_and_their_last_number_stands_off_the_edge(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    args: Row = {"symbol": "BTC/USDT", "side": "sell", "amount": "0.12345", "price": "62345.60"}
    args |= {"type": "stop_limit", "stop_price": "62456.70", "post_only": True}
    fake.do(lambda: fake.place(args | {"client_order_id": "p-0123456789abcdef"}, "test"))
    market = {"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.12345"}
    fake.do(lambda: fake.place(market | {"client_order_id": "p-fedcba9876543210"}, "test"))
    for width, height in (
        (1180, 700),
        (1366, 640),
        (1440, 900),
        (1501, 864),
        (1536, 864),
        (1799, 900),
        (1920, 1080),
    ):
        page.set_viewport_size({"width": width, "height": height})
        for tab in ("positions", "orders", "fills", "balances"):
            page.click(f"#tab-{tab}")
            pane = page.locator(f"#pane-{tab}")
            expect(pane.locator("tbody tr").first).to_be_visible()
            drawn(page)
            assert page.evaluate(SIDEWAYS) == [], (width, tab)
            # Cards are for those who have no room for a row.
            assert pane.locator("thead").is_visible() == (width > 1350), (width, tab)
            if tab in {"fills", "balances"}:
                assert pane.evaluate(AT_THE_EDGE) == [], (width, tab)


def test_on_a_low_screen_the_button_of_the_order_stays_in_sight_and_so_does_a_warning(
    desk: Desk,
) -> None:
    page = desk.open(width=1366, height=625)
    page.fill("#ticket-price", "64000")
    page.fill("#ticket-amount", "0.5")
    page.click(".bracket summary")
    expect(page.locator(".preview")).to_have_attribute("data-valid", "no")
    submit, ticket = page.locator("button.submit"), page.locator("#ticket")
    expect(submit).to_be_enabled()
    for top in (0, 9999):
        page.locator(".ticket").evaluate("(form, top) => { form.scrollTop = top; }", top)
        drawn(page)
        button, panel = submit.bounding_box(), ticket.bounding_box()
        assert button is not None
        assert panel is not None
        assert panel["y"] < button["y"]
        assert button["y"] + button["height"] <= panel["y"] + panel["height"]
        middle = [button["x"] + button["width"] / 2, button["y"] + button["height"] / 2]
        assert (
            page.evaluate("(at) => document.elementFromPoint(...at).className", middle)
            == "submit buy"
        )
    assert "inset" in submit.evaluate("(e) => getComputedStyle(e).boxShadow")
    # What the keyboard comes to is not under it.
    page.locator("#ticket-type").focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "submit buy":
            break
        drawn(page)
        box = page.evaluate(
            "(({ bottom }) => bottom)(document.activeElement.getBoundingClientRect())"
        )
        now = submit.bounding_box()
        assert now is not None
        assert box <= now["y"] + 1
    else:
        raise AssertionError("the button was not reached")


OVERLAP = """[...document.querySelectorAll('#orderbook .panel-head > *')].flatMap((one, i, all) => {
  const a = one.getBoundingClientRect();
  return all.slice(i + 1).filter((other) => {
    const b = other.getBoundingClientRect();
    return a.width > 0 && b.width > 0 && a.left < b.right - 0.5 && b.left < a.right - 0.5;
  }).map((other) => `${one.textContent} / ${other.textContent}`);
})"""
SEEN = """(age) => {
  const room = age.getBoundingClientRect();
  const time = age.lastElementChild.getBoundingClientRect();
  return time.width > 20 && time.left > room.left - 0.5 && time.bottom < room.bottom + 2;
}"""


def test_step_and_age_of_a_book_are_whole_numbers_however_long(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    page.select_option("#symbol", "PEPE/USDT")
    step = page.locator("#orderbook .panel-head select")
    expect(step).to_have_value("")
    width = step.evaluate("(s) => s.offsetWidth")
    assert width > 80

    def late() -> None:
        data = {"stale": True, "cause": "silent", "venue": "paper", "asof": fake.now - 118 * 60_000}
        notice: Row = {"type": "notice", "event": "stale", "ts": fake.now, "data": data}
        for connection in fake.connections:
            names = [name for name in connection.names if ":" in name]
            connection.pending.append(notice | {"channels": names})

    fake.do(late)
    age = page.locator("#orderbook .age")
    expect(age).to_contain_text(" min")
    for size in ((1440, 900), (1180, 700), (1536, 864), (2560, 1440), (1024, 768)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        drawn(page)
        assert page.evaluate(OVERLAP) == [], size
        assert age.evaluate(SEEN), size
        assert step.evaluate("(s) => s.offsetWidth") >= width, size
        assert page.locator("#orderbook h2").evaluate("(e) => e.offsetHeight") < 25, size


def test_a_long_line_of_the_log_stands_off_its_borders(desk: Desk, fake: Fake) -> None:
    page = desk.open()
    entry = {
        "id": "l-1",
        "ts": fake.now,
        "level": "error",
        "component": "x",
        "message": "so long " * 60,
    }
    fake.do(lambda: fake.append("logs", entry))
    page.click("#tab-log")
    cell = page.locator("#pane-log td.long")
    expect(cell).to_contain_text("so long")
    until(
        page,
        lambda: cell.evaluate(
            "(c) => c.offsetHeight - c.firstElementChild.getBoundingClientRect().height >= 6"
        ),
    )


TOLD = """
window.told = new Set();
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  window.told.add(text);
  return write.call(this, text, ...place);
};
"""
"""What is written on canvases."""


def test_marks_of_a_short_course_differ(desk: Desk, fake: Fake) -> None:
    page = desk.open(script=TOLD)
    points = [[fake.now + n * 1000, str(100_000 + n), "0"] for n in range(30)]
    fake.others["portfolio.equity_history"] = lambda p: {"equity": points}
    page.click("#tab-equity")
    until(
        page,
        lambda: page.evaluate(
            "[...window.told].filter((t) => /^\\d\\d:\\d\\d:\\d\\d$/.test(t)).length > 2"
        ),
    )


def test_the_page_is_light(desk: Desk) -> None:
    sizes: dict[str, int] = {}
    page = desk.open(wait=False)
    page.on("response", lambda r: sizes.update({r.url: len(r.body())}) if r.ok else None)
    page.reload()
    page.locator(".dot.live").wait_for()
    page.locator(".chart-canvas canvas").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert sum(sizes.values()) < 450_000
    assert len(sizes) <= 45


def test_theme_zone_and_symbol_survive_a_reload_and_broken_storage_breaks_nothing(
    desk: Desk,
) -> None:
    page = desk.open()
    page.locator("body").press("t")
    page.click(".zone")
    page.select_option("#symbol", "ETH/USDT")
    page.click("#tab-fills")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(page.locator("#symbol")).to_have_value("ETH/USDT")
    expect(page.locator("#tab-fills")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".zone")).to_have_text("UTC")
    page.evaluate("localStorage.setItem('realtime.page.1', '{\"theme\": 7, broken')")
    page.reload()
    expect(page.locator(".dot.live")).to_be_visible()
    expect(page.locator("#symbol")).to_have_value("BTC/USDT")


def test_reduced_motion_has_no_motion(desk: Desk) -> None:
    page = desk.open(calm=True)
    moving = page.evaluate(
        "[...document.querySelectorAll('*')]"
        ".filter((e) => parseFloat(getComputedStyle(e).transitionDuration) > 0).length"
    )
    assert moving == 0
