"""What comes late, a module or a reply, belongs to what it was asked for, not to what is chosen by then.

Nothing here waits for a speed: files and replies are held until the test lets them go.
"""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.web.conftest import Desk, drawn, stopped, until
from tests.web.fake import Fake, Refusal, Row, Stream


pytestmark = pytest.mark.browser

REVIEWED = """localStorage.setItem("realtime.page.1", JSON.stringify({reviewPaper: "above", reviewAbove: "1000"}))"""
ONE_TASK = """(then) => {
  const select = document.querySelector("#symbol");
  select.value = "ETH/USDT";
  select.dispatchEvent(new Event("change"));
  if (then === "send") document.querySelector("form.ticket").requestSubmit();
  else document.querySelector(".asks .book-row[data-price] [data-cell=price]").click();
}"""
"""Another market, and an act in the same task: before a frame shows it."""


SOFT = """() => {
  const probe = document.body.appendChild(document.createElement("span"));
  probe.style.color = "var(--line-soft)";
  const [, ...rgb] = getComputedStyle(probe).color.match(/(\\d+), (\\d+), (\\d+)/);
  probe.remove();
  return rgb.map(Number);
}"""
"""The colour of a chart's grid."""
INK = """([red, green, blue]) => [...document.querySelectorAll("#pane-equity canvas")].some((canvas) => {
  const { width, height } = canvas;
  if (!width || !height) return false;
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  const { data } = pen.getImageData(0, 0, width, height);
  for (let i = 0; i < data.length; i += 4)
    if (data[i] === red && data[i + 1] === green && data[i + 2] === blue && data[i + 3] === 255) return true;
  return false;
})"""
"""Whether anything of the curve has this colour."""


def held(page: Page, path: str) -> list[Route]:
    """Requests for a file, which are on their way until `come`."""
    routes: list[Route] = []

    def hold(route: Route) -> None:
        routes.append(route)

    page.route(f"**/{path}", hold)
    return routes


def come(page: Page, routes: list[Route]) -> None:
    """They are answered."""
    until(page, lambda: routes)
    for route in routes:
        route.continue_()


def settled(page: Page) -> None:
    """What was answered until now has been taken, and drawn: this answer comes after it."""
    ask = "import('/js/app.js').then(({ app }) => app.commands.call('ping').then(() => 0))"
    page.evaluate(ask)
    drawn(page)


def let_go(page: Page, fake: Fake, number: int = 1) -> None:
    """So many commands that were withheld are answered, and that is drawn."""
    until(page, lambda: len(fake.waiting) >= number)
    fake.let_go()
    settled(page)


def ticket(page: Page, amount: str, price: str) -> None:
    page.fill("#ticket-price", price)
    page.fill("#ticket-amount", amount)


def test_a_tab_chosen_while_another_is_on_its_way_stays_and_each_is_made_once(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    fills = held(page, "js/panels/fills.js")
    for _ in range(2):
        page.click("#tab-fills")
    expect(page.locator("#pane-fills")).to_have_text("Loading…")
    expect(page.locator("#tables .actions button")).to_have_count(0)  # "Close all…" was another's
    page.click("#tab-balances")
    expect(page.locator("#pane-balances tbody tr")).to_have_count(1)
    come(page, fills)
    page.locator("#pane-fills table").wait_for(state="attached")
    drawn(page)
    expect(page.locator("#pane-balances")).to_be_visible()
    expect(page.locator("#tables [aria-label='Columns of fills']")).to_have_count(0)
    page.click("#tab-fills")
    expect(page.locator("#pane-fills .empty")).to_have_text(["No fills yet."])
    expect(page.locator("#pane-balances")).to_be_hidden()


def test_a_curve_goes_with_the_theme_and_the_figures_of_a_period_with_another_choice(
    desk: Desk, fake: Fake
) -> None:
    rows = [{"name": "return", "value": "0.25", "unit": "fraction"}]
    fake.others = {
        "portfolio.equity_history": lambda _: {"equity": [[fake.now, "1", 0], [fake.now, "2", 0]]},
        "portfolio.performance": lambda _: {"performance": rows},
    }
    page = desk.open()
    page.click("#tab-equity")
    facts = page.locator("#pane-equity .facts")
    expect(facts).to_contain_text("+25.00 %")
    fake.withheld = {"portfolio.performance"}
    page.click("#pane-equity .chip:has-text('7d')")
    expect(facts).not_to_contain_text("25.00 %")
    let_go(page, fake)
    expect(facts).to_contain_text("+25.00 %")

    lines = page.evaluate(SOFT)
    until(page, lambda: page.evaluate(INK, lines))
    page.locator("body").press("t")
    until(page, lambda: page.evaluate(SOFT) != lines)
    until(page, lambda: page.evaluate(INK, page.evaluate(SOFT)))
    assert not page.evaluate(INK, lines)


def test_a_preview_is_of_the_ticket_that_asked_and_an_act_of_the_market_on_the_screen(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    preview = page.locator(".preview")
    fake.withheld = {"order.preview"}
    ticket(page, "0.5", "63900")
    until(page, lambda: fake.waiting)
    page.fill("#ticket-amount", "")
    let_go(page, fake)
    expect(page.locator(".card[data-refused]")).to_have_count(0)
    assert preview.get_attribute("data-valid") is None

    page.evaluate(ONE_TASK, "fill")
    expect(page.locator(".book[data-symbol='ETH/USDT']")).to_be_visible()
    drawn(page)
    expect(page.locator("#ticket-price")).to_have_value("")
    page.select_option("#symbol", "BTC/USDT")
    expect(page.locator("button.submit")).to_contain_text("BTC")
    ticket(page, "0.01", "63900")
    expect(page.locator("button.submit")).to_have_text("Buy 0.01000 BTC at 63,900.0")
    page.evaluate(ONE_TASK, "send")
    (sent,) = until(page, lambda: fake.ops("order.place"))
    assert (sent["symbol"], sent["price"]) == ("BTC/USDT", "63900")


def test_what_comes_of_an_order_is_said_of_it_where_the_ticket_is_another_by_then(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    said = page.locator(".outcome[role=alert]")
    fake.withheld = {"order.place"}
    details = {"fields": [{"field": "price", "message": "off the grid of 0.10"}]}
    fake.refusals.append(Refusal("invalid", "price 63900.05 is off the grid", details))
    ticket(page, "0.01", "63900.05")
    page.click("button.submit")
    until(page, lambda: fake.waiting)
    page.select_option("#symbol", "ETH/USDT")
    expect(page.locator("#ticket-price")).to_have_value("")
    ticket(page, "0.3", "3400")
    let_go(page, fake)
    expect(said).to_have_text("Refused: buy 0.01000 BTC. invalid: price 63900.05 is off the grid")
    assert page.locator("#ticket [aria-invalid]").count() == 0

    page.fill("#ticket-amount", "0.2")
    expect(page.locator("button.submit")).to_be_enabled()
    fake.withheld = {"order.place"}
    page.click("button.submit")
    until(page, lambda: fake.waiting)
    page.fill("#ticket-amount", "0.4")
    let_go(page, fake)
    expect(page.locator(".outcome[role=status]")).to_have_text("Open: buy 0.2000 ETH")
    expect(page.locator("#ticket-amount")).to_have_value("0.4")

    expect(page.locator("button.submit")).to_be_enabled()
    fake.hold_next = True
    fake.withheld = {"order.place", "order.get"}
    page.click("button.submit")
    until(page, lambda: fake.waiting)
    page.fill("#ticket-amount", "0.7")
    fake.let_go()
    expect(said).to_contain_text("Outcome unknown, being looked up: buy 0.4000 ETH.")


def test_a_ticket_that_was_sent_asks_for_no_preview_any_more(desk: Desk, fake: Fake) -> None:
    page = desk.open(clock=True)
    ticket(page, "0.01", "63900")
    expect(page.locator(".preview")).to_have_attribute("data-valid", "yes")
    fake.withheld = {"order.place"}
    page.click("button.submit")
    until(page, lambda: fake.waiting)
    asked = len(fake.ops("order.preview"))
    stopped(page)
    page.fill("#ticket-amount", "0.01")  # the same again: it would be asked in a moment
    fake.let_go()
    expect(page.locator("#ticket-amount")).to_have_value("")
    page.clock.run_for(1000)
    page.clock.resume()
    settled(page)
    assert len(fake.ops("order.preview")) == asked
    assert page.locator(".preview").get_attribute("data-valid") is None


@pytest.mark.parametrize("refusals", [[], [Refusal("invalid", "no")]])
def test_a_ticket_changed_while_another_is_sent_is_judged_after_it(
    desk: Desk, fake: Fake, refusals: list[Refusal]
) -> None:
    page = desk.open(clock=True)
    preview = page.locator(".preview")
    ticket(page, "0.01", "63900")
    expect(preview).to_contain_text("639.00")
    fake.withheld = {"order.place"}
    fake.refusals += refusals
    page.click("button.submit")
    until(page, lambda: fake.waiting)
    stopped(page)
    page.fill("#ticket-amount", "0.5")
    page.clock.run_for(1000)  # its question comes due while the other is on its way
    page.clock.resume()
    let_go(page, fake)
    expect(preview).to_contain_text("31,950.00")
    assert preview.get_attribute("data-valid") != "yes"


def test_an_amount_of_contracts_is_named_so_and_reviewed_by_what_they_are_worth(
    desk: Desk, fake: Fake
) -> None:
    market = fake.streams["markets"].rows["BTC/USDT"]
    swap = {"type": "swap", "contract_size": "100", "settle": "USDT", "amount_step": "1"}
    fake.do(lambda: fake.row("markets", market | swap))
    page = desk.open(script=REVIEWED)
    ticket(page, "1", "500")
    expect(page.locator("button.submit")).to_have_text("Buy 1 BTC contracts at 500.0")
    page.click("button.submit")
    expect(page.locator("dialog h2")).to_have_text("Buy 1 BTC contracts?")
    expect(page.locator("dialog .facts")).to_contain_text("About50,000.00 USDT")
    page.click("dialog .primary")
    expect(page.locator(".outcome[role=status]")).to_contain_text("Open: buy 1 BTC contracts")


def test_an_analysis_is_of_the_market_that_is_shown(desk: Desk, fake: Fake) -> None:
    def analysis(p: Row) -> Row:
        signal = {"action": "buy", "combined_confidence": 0.5, "risk_score": 0.1}
        return {**p, "combined_signal": {**signal, "risk_level": "low", "probabilities": {}}}

    fake.others = {"strategy.analyze": analysis}
    fake.withheld = {"strategy.analyze"}
    page = desk.open()
    page.click("#tab-signals")
    until(page, lambda: len(fake.waiting) == 1)
    page.select_option("#symbol", "ETH/USDT")
    until(page, lambda: len(fake.waiting) == 2)
    second = fake.waiting.pop()
    let_go(page, fake)
    expect(page.locator(".signal-decision")).to_be_hidden()
    fake.waiting = [second]
    let_go(page, fake)
    expect(page.locator(".signal-decision")).to_contain_text("buy ETH/USDT 1m")


def test_an_order_that_was_pressed_is_reviewed_by_the_price_of_its_own_market(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open(script=REVIEWED)
    review = held(page, "js/review.js")
    page.select_option("#ticket-type", "market")
    page.fill("#ticket-amount", "1")
    page.click("button.submit")
    page.select_option("#symbol", "PEPE/USDT")
    expect(page.locator(".last")).to_contain_text("0.00001")
    come(page, review)
    expect(page.locator("dialog h2")).to_have_text("Buy 1.00000 BTC?")
    expect(page.locator("dialog .facts")).to_contain_text("BTC/USDT")
    expect(page.locator("dialog .facts")).to_contain_text("Aboutunknown")
    assert fake.ops("order.place") == []


def test_older_bars_that_come_late_leave_no_gap_and_join_only_what_they_were_asked_for(
    desk: Desk, fake: Fake
) -> None:
    page = desk.open()
    legend = page.locator(".legend")
    expect(legend).to_contain_text(re.compile("C.64,012.1"))

    def asked() -> bool:
        page.mouse.wheel(-600, 0)
        return len(fake.waiting) > 0

    def to_the_left() -> None:
        fake.withheld = {"market.ohlcv"}
        page.locator(".chart-canvas").hover()
        until(page, asked)
        assert "until" in fake.waiting[0][1]
        page.mouse.move(1, 1)  # the legend is of the bar under the pointer

    def whole() -> bool:
        """Whether the newest bars are there without a gap, the newest of all among them."""
        cells = page.locator("#price .hidden tbody td:first-child").all_inner_texts()
        last = fake.now // 60_000
        return [int(cell[-2:]) for cell in cells] == [(last - n) % 60 for n in range(20)]

    to_the_left()
    fake.now += 180_000  # as after a while without frames
    fake.do(lambda: fake.quote("BTC/USDT"))
    bar = "import('/js/app.js').then(({ app }) => app.store.value(app.store.get('view:bars')).ohlcv[1][0])"
    until(page, lambda: page.evaluate(bar) == fake.now // 60_000 * 60_000)
    page.evaluate(
        "import('/js/app.js').then(({ app }) => app.store.touch('symbol'))"
    )  # drawn at once
    drawn(page)
    let_go(page, fake)
    until(page, whole)

    to_the_left()
    page.select_option("#symbol", "ETH/USDT")
    expect(legend).to_have_text("")
    page.select_option("#symbol", "BTC/USDT")
    expect(page.locator(".last")).to_contain_text("64,012.1")
    let_go(page, fake)
    expect(legend).to_contain_text(re.compile("C.64,012.1"))


def refused(_: Row) -> Row:
    raise Refusal("not_found", "it is gone")


def plan(status: str, name: str) -> Row:
    """A plan to rebalance that trades nothing."""
    return {
        "status": status,
        "plan_id": name,
        "actions": [],
        "progress": {"orders": 0, "ended": 0, "filled": 0},
        "portfolio_value": "100000",
        "ended_ts": 9e12,
    }


def test_a_plan_is_of_the_targets_that_stand_there(desk: Desk, fake: Fake) -> None:
    fake.others = {
        "portfolio.diversification": refused,
        "portfolio.rebalance": lambda p: (
            plan("planned", "p-new") if p.get("dry_run") else plan("done", "p-old")
        ),
        "portfolio.allocate": lambda _: {
            "allocations": [{"symbol": "BTC/USDT", "weight": 0.5}],
            "convention": "Equal parts",
            "cash_weight": 0.5,
            "left_out": [],
        },
    }
    page = desk.open(script="localStorage.setItem('realtime.page.1', '{\"plan\": \"p-old\"}')")
    page.click("#tab-portfolio")
    shown = page.locator(".pf-plan")
    expect(shown).to_contain_text("done: 0 of 0 orders")
    page.select_option(".pf-add select", "BTC/USDT")
    weight = page.locator(".pf-targets input")
    weight.fill("10")
    fake.withheld = {"portfolio.rebalance"}
    page.click("form[aria-label=Plan] button")
    until(page, lambda: fake.waiting)
    weight.fill("20")
    let_go(page, fake)
    expect(shown).to_contain_text("done: 0 of 0 orders")
    page.click("form[aria-label=Plan] button")
    expect(shown).to_contain_text("every target is within")

    asked = len(fake.ops("portfolio.rebalance"))
    fake.cut()  # the plan of before is asked for again
    until(page, lambda: len(fake.ops("portfolio.rebalance")) > asked)
    settled(page)
    expect(shown).to_contain_text("every target is within")
    expect(shown).to_be_visible()

    def too_much(_: Row) -> Row:
        fields = [{"field": "targets.0.weight", "message": "too much"}]
        raise Refusal("invalid", "weights", {"fields": fields})

    said = page.locator("form[aria-label=Allocation] + p")
    fake.others["portfolio.rebalance"] = too_much
    page.click("form[aria-label=Plan] button")
    expect(page.locator(".pf-targets")).to_contain_text("too much")
    page.click("form[aria-label=Allocation] button")  # nobody has edited anything
    expect(said).to_have_text("Equal parts. Cash 50.00 %.")
    expect(weight).to_have_value("50")

    fake.withheld = {"portfolio.allocate"}
    page.click("form[aria-label=Allocation] button")
    until(page, lambda: fake.waiting)
    weight.fill("30")
    let_go(page, fake)
    expect(said).to_contain_text("edited meanwhile")
    expect(weight).to_have_value("30")


def run(fake: Fake, n: int) -> Row:
    """A backtest that is done."""
    return {
        "id": f"b-{n}",
        "kind": "run",
        "status": "done",
        "strategy": f"strategy_{n}",
        "symbol": "BTC/USDT",
        "symbols": ["BTC/USDT"],
        "timeframe": "5m",
        "created_ts": fake.now,
        "start_ts": fake.now,
        "end_ts": fake.now,
        "parameters": {},
        "results": {"metrics": {"total_return": n / 100}},
    }


def trade(fake: Fake, n: int) -> Row:
    """One of its trades."""
    return {
        "id": n,
        "entry_ts": fake.now,
        "exit_ts": fake.now,
        "side": "long",
        "amount": float(n),
        "entry_price": 1.0,
        "exit_price": 1.0,
        "pnl": 0.0,
        "return": 0.0,
        "commission": 0.0,
        "bars_held": 1,
        "exit_reason": "end",
    }


def test_what_was_asked_for_a_backtest_that_was_left_is_not_said_after_it(
    desk: Desk, fake: Fake
) -> None:
    runs = [run(fake, 1), run(fake, 2), run(fake, 3) | {"status": "failed"}]
    runs[2]["error"] = {"code": "boom", "message": "own words"}

    def trades(p: Row) -> Row:
        at = int(p.get("cursor") or 0)
        return {"trades": [trade(fake, at + 1)], "next_cursor": None if at else "1"}

    equity = {"equity": [[fake.now, 1, 0], [fake.now + 1000, 2, 0]]}
    fake.others = {
        "backtest.strategies": lambda _: {"strategies": [], "failed": []},
        "backtest.list": lambda _: {"backtests": runs, "next_cursor": None},
        "backtest.equity": lambda _: equity,
        "backtest.trades": trades,
    }
    page = desk.open()
    page.click("#tab-backtest")
    first, second, third = (
        page.locator(f".bt-runs button.link:has-text('strategy {n}')") for n in (1, 2, 3)
    )
    body = page.locator(".bt-trades tbody tr")
    first.click()
    expect(body).to_have_count(1)
    fake.withheld = {"backtest.trades", "backtest.equity"}
    page.click("text=More trades")
    until(page, lambda: len(fake.waiting) == 1)
    second.click()
    until(page, lambda: len(fake.waiting) == 2)
    first.click()
    until(page, lambda: len(fake.waiting) == 3)
    let_go(page, fake)  # its second page comes before its first
    expect(body).to_have_count(1)
    expect(body).to_contain_text("1.00")
    expect(page.locator("text=More trades")).to_be_visible()

    second.click()
    settled(page)
    fake.others["backtest.equity"] = refused
    fake.withheld = {"backtest.equity"}
    first.click()
    until(page, lambda: fake.waiting)
    third.click()
    said = page.locator(".bt-result > [role=status]")
    expect(said).to_contain_text("own words")
    let_go(page, fake)
    expect(said).to_contain_text("own words")


def test_a_comparison_of_backtests_is_the_newer_one_and_what_is_chosen_after_it_stays(
    desk: Desk, fake: Fake
) -> None:
    runs = [run(fake, n) for n in (1, 2, 3)]
    fake.others = {
        "backtest.strategies": lambda _: {"strategies": [], "failed": []},
        "backtest.list": lambda _: {"backtests": runs, "next_cursor": None},
        "backtest.compare": lambda p: {
            "backtests": [run for run in runs if run["id"] in p["ids"]],
            "metrics": {"total_return": dict.fromkeys(p["ids"], 0.01)},
        },
        "backtest.equity": lambda p: {"equity": [[fake.now, 1, 0], [fake.now + 1000, 2, 0]]},
        "backtest.trades": lambda _: {"trades": [trade(fake, 1)], "next_cursor": None},
    }
    page = desk.open()
    page.click("#tab-backtest")
    boxes = page.locator(".bt-runs input[type=checkbox]")
    expect(boxes).to_have_count(3)
    title = page.locator(".bt-result h3").first
    said = page.locator(".bt-result > [role=status]")
    for box in (0, 1):
        boxes.nth(box).check()
    fake.withheld = {"backtest.equity"}
    page.click("text=Compare 2")
    until(page, lambda: len(fake.waiting) == 2)
    boxes.nth(2).check()
    page.click("text=Compare 3")
    until(page, lambda: len(fake.waiting) == 5)
    # The older ones come last, and fail: nothing of that is said under the newer.
    older, fake.waiting = fake.waiting[:2], fake.waiting[2:]
    let_go(page, fake)
    equity, fake.others["backtest.equity"] = fake.others["backtest.equity"], refused
    fake.waiting = older
    let_go(page, fake, 2)
    expect(page.locator(".bt-compare thead th")).to_have_count(4)
    expect(said).to_have_text("")

    fake.others["backtest.equity"] = equity
    fake.withheld = {"backtest.compare", "backtest.equity"}
    page.click("text=Compare 3")
    page.click(".bt-runs button.link:has-text('strategy 2')")
    until(page, lambda: len(fake.waiting) == 2)
    expect(title).to_contain_text("strategy 2")
    expect(page.locator("text=More trades")).to_be_hidden()  # of which none is known yet
    let_go(page, fake, 2)
    expect(page.locator(".bt-trades tbody tr")).to_have_count(1)
    expect(title).to_contain_text("strategy 2")


def test_of_two_questions_by_one_name_the_one_that_was_asked_for_last_is_shown(
    desk: Desk, fake: Fake
) -> None:
    order = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "price": "60000"}
    for amount in ("0.1", "0.2"):
        named = order | {"amount": amount, "client_order_id": f"x-{amount}"}
        fake.place(named, "another")
    page = desk.open()
    page.click("#tab-orders")
    acts = held(page, "js/panels/order-acts.js")
    for amount in ("0.1", "0.2", "0.2"):
        page.click(f"[aria-label='Amend buy BTC/USDT, order x-{amount}']")
    come(page, acts)
    expect(page.locator("dialog")).to_have_count(1)
    expect(page.locator("dialog .facts")).to_contain_text("0.20000")
    page.fill("dialog [name=price]", "60001")
    page.click("dialog .primary")
    expect(page.locator("dialog")).to_have_count(0)
    (sent,) = fake.ops("order.amend")
    assert sent["order_id"] == fake.find({"client_order_id": "x-0.2"})["id"]


def test_a_key_pressed_as_a_question_comes_says_yes_to_nothing_dangerous(
    desk: Desk, fake: Fake
) -> None:
    order = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "price": "60000", "amount": "1"}
    fake.place(order | {"client_order_id": "x-1"}, "another")
    page = desk.open()
    acts = held(page, "js/panels/order-acts.js")
    page.locator("body").press("Shift+X")
    page.focus("#ticket-amount")
    come(page, acts)
    expect(page.locator("dialog h2")).to_have_text("Cancel all orders?")
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator("#tab-orders .count")).to_have_text("1")
    assert [p.get("dry_run") for p in fake.ops("order.cancel_all")] == [True]


def test_the_cards_of_bots_come_later_where_they_did_not_come_at_first(
    desk: Desk, fake: Fake
) -> None:
    desk.watch.forgiven = ("net::ERR_FAILED",)
    fake.streams["bots"] = Stream("bots", "table", "id")
    page = desk.open()
    expect(page.locator("#bots .empty")).to_be_visible()
    page.route("**/js/panels/bot-card.js", lambda route: route.abort(), times=1)
    bot = {"id": "one", "state": "running", "symbols": ["BTC/USDT"], "timeframe": "1h"}
    fake.do(lambda: fake.row("bots", bot))
    expect(page.locator(".bot-name")).to_have_text("one")
    expect(page.locator(".bot .small-button").first).to_have_text("Pause")
    expect(page.locator("#bots .empty")).to_be_hidden()
