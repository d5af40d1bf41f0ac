"""The views of the configuration and of the server itself, on a page of the real server."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import Desk
from tests.web.serving import Server
from tests.web.test_look import SMALL, WIDER, findings


pytestmark = pytest.mark.browser

VIEWER = """
async () => {
  const { app } = await import("/js/app.js");
  app.store.set("welcome", { ...app.store.get("welcome"), scopes: ["read"], role: "viewer" });
}
"""


def config(page: Page, section: str) -> None:
    """Opens a section of the view."""
    page.click("#tab-config")
    page.click(f"[data-section={section}]")


def field(page: Page, path: str) -> Locator:
    """The field of a path."""
    return page.locator(f"[data-path='{path}']")


@pytest.mark.slow
def test_edits_are_judged_shown_as_old_and_new_saved_once_and_rolled_back(
    real: Desk, server: Server
) -> None:
    page = real.open()
    before = server.call("config.get")
    config(page, "risk")
    leverage = field(page, "risk.max_leverage")
    leverage.locator("input").fill("0.5")
    expect(leverage.locator(".field-error")).to_contain_text("must be at least 1")
    leverage.locator("input").fill("2.5")
    expect(leverage.locator(".field-error")).to_have_text("")
    expect(leverage.locator(".sf-note")).to_contain_text("was 3")
    field(page, "risk.max_order_notional").locator("input").fill("")
    field(page, "risk.profiles.aggressive").locator("select").select_option("max_leverage")
    field(page, "risk.profiles.aggressive.max_leverage").locator("input").fill("4")
    config(page, "strategies")
    field(page, "strategies.rsi.oversold").locator("input").fill("25")
    config(page, "trading_window")
    page.click("text=Add blackout")
    field(page, "trading_window.blackouts.0.from_ts").locator("input").fill("2027-01-01T00:00Z")
    field(page, "trading_window.blackouts.0.to_ts").locator("input").fill("2026-01-01T00:00Z")
    expect(field(page, "trading_window.blackouts.0.to_ts").locator(".field-error")).to_contain_text(
        "must be after"
    )
    field(page, "trading_window.blackouts.0.to_ts").locator("input").fill("2027-01-02T00:00Z")
    expect(page.locator(".sf-row .field-error", has_text="must")).to_have_count(0)
    page.click("text=Review and save 5…")
    shown = page.locator("dialog tbody tr")
    expect(shown).to_have_count(5)
    expect(shown.filter(has_text="risk.max_leverage")).to_contain_text("32.5")
    expect(shown.filter(has_text="max_order_notional")).to_contain_text("10000off")
    page.click("dialog button.primary")
    expect(page.locator(".config-said")).to_contain_text("Saved as version 2")
    expect(page.locator(".config-nav .count:not(:empty)")).to_have_count(0)
    saved = server.call("config.get")
    assert saved["version"] == before["version"] + 1
    assert saved["config"]["risk"]["max_leverage"] == "2.5"
    assert saved["config"]["risk"]["max_order_notional"] is None
    assert saved["config"]["risk"]["profiles"] == {"aggressive": {"max_leverage": "4"}}
    assert saved["config"]["strategies"]["rsi"]["oversold"] == 25
    assert saved["config"]["trading_window"]["blackouts"][0]["to_ts"] == 1_798_848_000_000

    config(page, "history")
    newest = page.locator(".config-section tbody tr").first
    expect(newest).to_contain_text("risk.max_leverage: 3 → 2.5")
    page.click("[aria-label='Roll back to version 1']")
    expect(page.locator("dialog tbody tr").filter(has_text="risk.max_leverage")).to_contain_text(
        "2.53"
    )
    page.click("dialog .danger")
    expect(newest).to_contain_text("rollback to 1")
    assert server.call("config.get")["config"] == before["config"]


@pytest.mark.slow
def test_what_others_change_is_shown_and_takes_no_edit_away(real: Desk, server: Server) -> None:
    page = real.open()
    config(page, "alerts")
    field(page, "alerts.max_drawdown").locator("input").fill("0.2")
    field(page, "alerts.max_reconnects").locator("input").fill("7")
    server.call("config.update", patch={"alerts": {"min_win_rate": 0.3, "max_drawdown": 0.25}})
    expect(page.locator(".config-said")).to_contain_text("alerts.min_win_rate")
    expect(field(page, "alerts.min_win_rate").locator("input")).to_have_value("0.3")
    mine = field(page, "alerts.max_drawdown")
    expect(mine.locator("input")).to_have_value("0.2")
    expect(mine.locator(".sf-note.conflict")).to_contain_text("set 0.25 meanwhile")
    page.click("text=Review and save 2…")
    expect(page.locator("dialog h2")).to_have_text("Changed meanwhile")
    page.click("dialog [value=reload]")
    page.click("dialog button.primary")
    expect(page.locator("dialog tbody tr")).to_have_count(1)
    page.click("dialog button.primary")
    expect(page.locator(".config-said")).to_contain_text("Saved as version")
    now = server.call("config.get")["config"]["alerts"]
    assert (now["max_drawdown"], now["max_reconnects"]) == (0.25, 7)

    mine.locator("input").fill("0.2")
    server.call("config.update", patch={"alerts": {"max_drawdown": 0.3}})
    expect(mine.locator(".sf-note.conflict")).to_contain_text("set 0.3 meanwhile")
    page.click("text=Review and save 1…")
    page.click("dialog [value=overwrite]")
    page.click("dialog button.primary")
    expect(page.locator("dialog tbody tr")).to_contain_text("0.30.2")
    page.click("dialog button.primary")
    expect(page.locator(".config-said")).to_contain_text("Saved as version")
    assert server.call("config.get")["config"]["alerts"]["max_drawdown"] == 0.2


@pytest.mark.slow
def test_a_bot_is_made_changed_and_deleted_under_config(real: Desk, server: Server) -> None:
    page = real.open()
    config(page, "bots")
    page.click("text=New bot…")
    page.fill("dialog [name=id]", "second")
    page.click("dialog button.primary")
    card = page.locator(".config-bot[data-key=second]")
    card.locator("summary").click()
    expect(card.locator("[data-path=dry_run] input")).to_be_checked()
    card.locator("[data-path=symbols] input").fill("ETH/USDT, BTC/USDT")
    card.locator("[data-path=strategies] select").first.select_option("rsi")
    card.locator("text=Review and save…").click()
    expect(page.locator("dialog tbody tr")).to_have_count(2)
    page.click("dialog button.primary")
    expect(card.locator("summary")).to_contain_text("ETH/USDT, BTC/USDT")
    bots = {bot["id"]: bot for bot in server.call("config.get")["config"]["bots"]}
    assert bots["second"]["symbols"] == ["ETH/USDT", "BTC/USDT"]
    assert list(bots["second"]["strategies"]) == ["rsi"]

    card.locator("[data-path=symbols] input").fill("BTC/USDT")
    card.locator("text=Review and save…").click()
    server.call("bot.configure", bot_id="second", patch={"symbols": ["SOL/USDT"]})
    expect(card.locator("summary")).to_contain_text("SOL/USDT")
    page.click("dialog button.primary")  # of a change to what it was before
    expect(card.locator(".row-error")).to_contain_text("Somebody changed this bot meanwhile")
    assert server.rows("bots")["second"]["symbols"] == ["SOL/USDT"]
    card.locator("text=Review and save…").click()
    expect(page.locator("dialog tbody tr")).to_contain_text("SOL/USDT")
    page.click("dialog button.primary")
    expect(card.locator("summary")).to_contain_text("BTC/USDT")
    card.locator("text=Delete…").click()
    page.click("dialog .danger")
    expect(card).to_have_count(0)


@pytest.mark.slow
def test_a_viewer_reads_and_is_told_why_nothing_more(real: Desk) -> None:
    page = real.open()
    page.evaluate(VIEWER)
    config(page, "risk")
    expect(page.locator(".config-rights").first).to_contain_text("needs scope admin")
    expect(field(page, "risk.max_leverage").locator("input")).to_be_disabled()
    expect(page.locator("text=Review and save…").first).to_be_disabled()
    page.click("#tab-monitoring")
    expect(page.locator("[aria-label='Venues'] tbody")).to_contain_text("paper")
    expect(page.locator(".mon .config-rights")).to_contain_text("need scope admin")
    expect(page.locator("[aria-label='Connections']")).to_be_hidden()


@pytest.mark.slow
def test_monitoring_shows_the_server_and_both_views_are_for_everybody(
    real: Desk, server: Server, axe: str
) -> None:
    page = real.open(calm=True)
    page.click("#tab-monitoring")
    parts = server.call("system.status")["components"]
    rows = page.locator("[aria-label='Parts of the server'] tbody tr")
    expect(rows).to_have_count(len(parts))
    expect(page.locator("[aria-label='Latency'] tbody")).to_contain_text("Venue to hub")
    expect(page.locator("[aria-label='Connections'] tbody")).to_contain_text("page-")
    expect(page.locator("[aria-label='Counters']")).to_contain_text("encodings")
    expect(page.locator("[aria-label='Keys of exchanges']")).to_contain_text("0 numbers issued")
    assert findings(page, axe) == []
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    config(page, "trading_window")
    page.click("text=Add blackout")
    expect(field(page, "trading_window.blackouts.0.from_ts")).to_be_visible()
    assert findings(page, axe) == []
    page.set_viewport_size({"width": 375, "height": 812})
    page.click("[data-view=account].phone-tab")
    for section in ("bots", "strategies", "history"):
        page.click(f"[data-section={section}]")
        assert page.evaluate(WIDER) == [], section
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, section
        small = [text for text, _ in page.evaluate(SMALL)]
        assert small == [], section
