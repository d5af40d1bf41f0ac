"""Stories of panels that no numbered story is about, against the real server: markets, bots, book, log, equity, risk."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import Desk, until
from tests.web.serving import FREE, Server, rich
from tests.web.test_real import place
from tests.web.test_stories import signed


pytestmark = [pytest.mark.browser, pytest.mark.slow]

INK = """
(canvas) => { const { width, height } = canvas;
  return width > 0 && canvas.getContext("2d").getImageData(0, 0, width, height).data.some((v) => v > 0); }
"""
"""Whether anything is drawn on a canvas."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A rich account, a calm market, and a strategy that always buys."""
    settings = FREE | {"REALTIME_PAPER__FLOW_PER_S": "15"}
    with rich(tmp_path_factory.mktemp("panels"), "bull", "return 1.0", **settings) as made:
        yield made


def bot(page: Page, name: str) -> Locator:
    """The card of a bot."""
    return page.locator(".bot").filter(has=page.locator(f".bot-name:text-is('{name}')"))


def configure(server: Server, name: str, **patch: Any) -> None:
    """A bot that always buys."""
    made = {"symbols": ["BTC/USDT"], "timeframe": "1m", "strategies": {"bull": {}}}
    server.call("bot.configure", bot_id=name, patch=made | patch)


def test_markets_are_found_kept_on_top_and_shown(real: Desk, server: Server) -> None:
    page = real.open()
    rows = page.locator(".market-row")
    expect(rows.first).to_contain_text("BTC/USDT")
    # Cut, a name could be another market's.
    for row in rows.all():
        expect(row.locator(".market-last")).to_contain_text(".")
        expect(row.locator(".market-change")).to_contain_text("%")
    cut = "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
    assert page.locator(".market-name").evaluate_all(cut) == []
    page.locator("body").press("/")
    page.keyboard.type("eth")
    expect(rows).to_have_text([re.compile("ETH/USDT"), re.compile("ETH/USDT:USDT")])
    page.keyboard.press("Enter")
    expect(page.locator("#symbol")).to_have_value("ETH/USDT")
    expect(page.locator(".book[data-symbol='ETH/USDT']")).to_be_visible()
    page.click("[aria-label='Keep DOGE/USDT on top']")
    expect(rows.first).to_contain_text("DOGE/USDT")
    page.reload()
    expect(rows.first).to_contain_text("DOGE/USDT")
    expect(page.locator("#symbol")).to_have_value("ETH/USDT")
    page.locator("body").press("/")
    page.keyboard.type("nothing has this name")
    expect(page.locator("#markets .empty")).to_be_visible()


def test_a_grouped_book_is_the_hubs_on_the_grid_with_as_many_rows(
    real: Desk, server: Server
) -> None:
    page = real.open()
    shown = page.locator(".bids .book-row[data-price]:visible, .asks .book-row[data-price]:visible")
    rows = page.locator(".bids .book-row:visible, .asks .book-row:visible").count()
    group = page.locator("[aria-label='Group prices by'] option").nth(2).get_attribute("value")
    assert group
    page.select_option("[aria-label='Group prices by']", group)
    on_the_grid = f"""(rows) => rows.length > 6 &&
      rows.every((r) => Math.abs(r.dataset.price / {group} - Math.round(r.dataset.price / {group})) < 1e-6)"""
    until(page, lambda: shown.evaluate_all(on_the_grid))
    assert page.locator(".bids .book-row:visible, .asks .book-row:visible").count() == rows
    channel = f"orderbook:BTC/USDT?depth=25&group={group}&rate=100"

    def same() -> bool:
        told = httpx.get(f"{server.address}api/snapshot", params={"channel": channel}).json()
        seen = page.eval_on_selector_all(
            ".bids .book-row[data-price]:not([hidden])",
            "all => all.map(r => [r.dataset.price, r.querySelector('[data-cell=amount]').dataset.raw])",
        )
        return bool(seen and seen == told["data"]["bids"][: len(seen)])

    until(page, same)
    totals = page.eval_on_selector_all(
        ".bids .book-row[data-price]:not([hidden])",
        "all => all.map(r => ['amount', 'total'].map((c) => r.querySelector(`[data-cell=${c}]`).dataset.raw))",
    )
    assert Decimal(totals[-1][1]) == sum(Decimal(amount) for amount, _ in totals)
    assert page.locator("canvas.depth").evaluate(INK)
    page.reload()
    expect(page.locator("[aria-label='Group prices by']")).to_have_value(group)


def test_a_bot_trades_says_why_draws_its_course_and_is_stopped_in_an_emergency(
    real: Desk, server: Server
) -> None:
    configure(server, "hand", dry_run=False)
    page = real.open()
    card = bot(page, "hand")
    card.locator("summary").click()
    card.locator("text=Run once").click()
    expect(card.locator(".bot-why")).to_contain_text(re.compile("buy"))
    expect(card.locator(".bot-more")).to_contain_text("bull")
    expect(page.locator("#tab-positions .count")).to_have_text("1")
    expect(
        page.locator("[role=status]").filter(has_text=re.compile(r"^\d+ fills?, 0\.\d+ BTC$"))
    ).to_have_count(1)
    told = server.rows("bots")["hand"]
    expect(card.locator(".bot-profit")).to_have_text(signed(told["realized_pnl"]))
    assert card.locator("canvas.spark").evaluate(INK)
    page.click("#tab-positions")
    expect(page.locator("#pane-positions tbody tr")).to_contain_text("hand")
    card.locator("text=Emergency stop…").click()
    expect(page.locator("dialog")).to_contain_text("Emergency stop of hand?")
    expect(page.locator("dialog .facts")).to_contain_text("BTC/USDT")
    page.check("dialog [name=flatten]")
    page.click("dialog .danger")
    expect(card.locator(".bot-state")).to_have_text("halted")
    until(page, lambda: server.rows("positions") == {})
    expect(page.locator("#tab-positions .count")).to_have_text("")
    card.locator("button:text-is('Rearm')").click()
    expect(card.locator(".bot-state")).to_have_text("stopped")


def test_all_bots_start_and_stop_after_they_are_named(real: Desk, server: Server) -> None:
    for name in ("one", "two"):
        configure(server, name, dry_run=True)
    page = real.open()
    expect(bot(page, "two")).to_be_visible()
    idle = [row["id"] for row in server.rows("bots").values() if row["state"] == "stopped"]
    page.click("text=Start all…")
    expect(page.locator("dialog h2")).to_have_text(f"Start {len(idle)} bots?")
    for name in idle:
        expect(page.locator("dialog dt", has_text=name).first).to_be_visible()
    page.keyboard.press("Escape")
    assert all(server.rows("bots")[name]["state"] == "stopped" for name in idle)
    page.click("text=Start all…")
    page.click("dialog .primary")
    for name in idle:
        expect(bot(page, name).locator(".bot-state")).to_have_text("running")
    page.click("text=Stop all…")
    expect(page.locator("dialog h2")).to_have_text(f"Stop {len(idle)} bots?")
    page.click("dialog .danger")
    for name in idle:
        expect(bot(page, name).locator(".bot-state")).to_have_text("stopped")


def test_an_alert_is_shown_counted_and_acknowledged(real: Desk, server: Server) -> None:
    page = real.open()
    server.call("trading.halt", reason="a look at the alerts")
    server.call("trading.resume", reason="seen")
    expect(page.locator(".strip-alert")).not_to_have_text("No open alerts")
    expect(page.locator("#tab-log .count")).not_to_have_text("")
    page.click("#tab-log")
    page.select_option("[aria-label=Show]", "alerts")
    buttons = page.locator("#pane-log button:has-text('Acknowledge'):visible")
    while buttons.count() > 0:
        left = buttons.count()
        buttons.first.click()
        expect(buttons).to_have_count(left - 1)
    expect(page.locator("#tab-log .count")).to_have_text("")
    expect(page.locator(".strip-alert")).to_have_text("No open alerts")


def test_equity_and_risk_are_the_servers(real: Desk, server: Server) -> None:
    page = real.open()
    place(page, "buy", "market", "0.05")
    page.click("#tab-equity")
    figures = page.locator("#pane-equity .facts")
    told = {
        row["name"]: row
        for row in server.call("portfolio.performance", timeframe="24h")["performance"]
    }
    assert {"return", "volatility", "sharpe", "max_drawdown"} <= told.keys()
    for name in ("Equity", "Return", "Volatility a year", "Sharpe", "Largest drawdown"):
        expect(figures).to_contain_text(name)

    shown = figures.locator("dd").first
    first = shown.inner_text()
    expect(shown).not_to_have_text(first)  # it goes with the market
    gap = Decimal(shown.inner_text().replace(",", "")) - Decimal(server.value("risk")["equity"])
    assert abs(gap) < 20
    expect(page.locator("#pane-equity canvas").first).to_be_visible()
    page.click("#pane-equity .chip:has-text('7d')")
    expect(page.locator("#pane-equity .chip:has-text('7d')")).to_have_attribute(
        "aria-pressed", "true"
    )

    page.click("#tab-risk")
    pane = page.locator("#pane-risk")
    for name in (
        "VaR 95 %, one day",
        "VaR 99 %, one day",
        "Expected shortfall 95 %",
        "Gross exposure",
    ):
        expect(pane.locator(".facts")).to_contain_text(name)
    rules = {rule["rule"] for rule in server.value("risk")["rules"]}
    seen = pane.locator("table", has_text="Headroom").or_(pane.locator(".risk-rules table"))
    for rule in rules:
        expect(seen.first).to_contain_text(rule.replace("_", " "))
    limit = pane.locator(".risk-rules tr", has_text="max leverage").first
    expect(limit).to_contain_text(re.compile(r"\b3 \S"))
    server.call("risk.params.set", patch={"max_leverage": "2"})
    expect(limit).to_contain_text(re.compile(r"\b2 \S"))
    server.call("risk.params.set", patch={"max_leverage": "3"})
    server.call("position.close_all")


def test_the_ticket_takes_every_type_and_the_server_every_order(real: Desk, server: Server) -> None:
    page = real.open()
    page.click("#tab-orders")
    price = Decimal(page.locator(".last").inner_text().replace(",", ""))

    def near(part: str) -> str:
        return f"{price * Decimal(part):.2f}"

    wanted: dict[str, dict[str, str]] = {
        "limit": {"price": near("0.98"), "stop_loss": near("0.96"), "take_profit": near("1.03")},
        "stop": {"stop_price": near("1.02")},
        "stop_limit": {"stop_price": near("1.02"), "price": near("1.021")},
        "take_profit": {"stop_price": near("0.98")},
        "take_profit_limit": {"stop_price": near("0.98"), "price": near("0.979")},
        "trailing_stop": {"trailing_amount": near("0.01")},
    }
    before = set(server.rows("orders"))
    for kind, fields in wanted.items():
        page.select_option("#ticket-type", kind)
        if "stop_loss" in fields:
            page.click(".bracket summary")
        for name, value in fields.items():
            page.fill(f"#ticket-{name}", value)
        page.fill("#ticket-amount", "0.002")
        expect(page.locator(".preview")).to_have_attribute("data-valid", "yes")
        expect(page.locator(".preview")).to_contain_text("USDT")
        page.click("button.submit")
        expect(page.locator("#ticket-amount")).to_have_value("")
        made = {
            row["type"]: row for name, row in server.rows("orders").items() if name not in before
        }
        assert kind in made, kind
        for name, value in fields.items():
            assert Decimal(made[kind][name]) == Decimal(value), (kind, name)
        for name in fields:
            page.fill(f"#ticket-{name}", "")
    page.click("#tab-orders")  # out of the field: keys are inert while somebody types
    page.locator("body").press("Shift+X")
    page.click("dialog .danger")
    expect(page.locator("#tab-orders .count")).to_have_text("")
