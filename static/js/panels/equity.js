// Equity and drawdown over time, and what the period brought. The curve is asked for once and then follows the channel.
import { told } from "../commands.js";
import { curves, periods } from "../curves.js";
import { h, hide, text } from "../dom.js";
import { direction, money, percent, signed, words } from "../format.js";
import { whenLive } from "../live.js";
import { painter } from "../pace.js";
import { doubt } from "../trade.js";
import { say } from "./risk.js";

/** @typedef {"1h" | "24h" | "7d" | "30d"} Period */

const PERIODS = /** @type {[Period, number][]} */ ([
  ["1h", 3_600_000],
  ["24h", 86_400_000],
  ["7d", 7 * 86_400_000],
  ["30d", 30 * 86_400_000],
]);
/** Points of the curve that are kept. */
const KEPT = 2000;
/** A point of our own between the server's samples, so that the end of the line is now [ms]. */
const GAP = 10_000;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store, commands } = app;
  /** @type {Period} */
  let period = "24h";
  /** Time [ms], equity, drawdown 0..1. @type {[number, number, number][]} */
  let points = [];
  /** What the server said of the period. @type {Row[]} */
  let brought = [];
  const said = h("p", { class: "warn", role: "status" });
  const box = h("div", { class: "curve-box" });
  const figures = h("dl", { class: "facts" });
  const chips = periods(
    PERIODS.map(([name]) => name),
    load,
  );
  const empty = h("p", { class: "empty" }, "No samples yet: the server notes equity once a minute.");
  root.append(chips.root, said, h("div", { class: "curve-row" }, box, figures), empty);
  const chart = curves(box, store, [
    { name: "Equity", tone: "--accent", area: true },
    { name: "Drawdown", tone: "--down", area: true, pane: 1, fraction: true },
  ]);

  /** @param {Period} name */
  async function load(name) {
    if (name !== period) {
      // What is shown is of the other one.
      points = [];
      brought = [];
      draw();
      hide(empty, true);
      figure(brought);
    }
    period = name;
    chips.press(name);
    const length = PERIODS.find(([p]) => p === name)?.[1] ?? 0;
    const since = Math.round(app.serverNow() - length);
    const [history, performance] = await Promise.all([
      commands.call("portfolio.equity_history", { from: since }),
      commands.call("portfolio.performance", { timeframe: name }),
    ]);
    if (period !== name) return;
    const wrong = [history, performance].find((r) => !r.ok);
    text(said, wrong ? told(wrong.error) : "");
    points = (history.result?.equity ?? []).map((/** @type {any[]} */ p) => [p[0], Number(p[1]), Number(p[2])]);
    draw();
    brought = performance.result?.performance ?? [];
    figure(brought);
  }

  function draw() {
    hide(empty, points.length > 0);
    chart.show([points.map(([t, v]) => [t, v]), points.map(([t, , d]) => [t, -d])]);
  }

  /** @param {Row[]} rows */
  function figure(rows) {
    const value = (/** @type {string} */ name) => rows.find((r) => r.name === name);
    const value_ = (/** @type {Row | undefined} */ row) =>
      !row || row.value === null
        ? words(row?.reason ?? null).replace("insufficient", "too few")
        : row.unit === "fraction"
          ? percent(row.value, { plus: row.name === "return" })
          : Number(row.value).toFixed(2);
    const portfolio = store.value("portfolio") ?? {};
    say(figures, [
      ["Equity", money(portfolio.total_value ?? portfolio.equity)],
      ["Return", value_(value("return")), direction(value("return")?.value)],
      ["Volatility a year", value_(value("volatility"))],
      ["Sharpe", value_(value("sharpe"))],
      ["Largest drawdown", value_(value("max_drawdown"))],
      ["Unrealised", signed(portfolio.total_unrealized_pnl)],
    ]);
  }

  const follow = painter(root, 1, () => {
    const risk = store.value("risk");
    const now = app.serverNow();
    figure(brought);
    // An old figure is no point of now.
    if (!risk?.equity || doubt(store)) return;
    if (points.length === 0 || now - (points.at(-1)?.[0] ?? 0) > GAP) {
      points.push([now, Number(risk.equity), Number(risk.drawdown ?? 0)]);
      if (points.length > KEPT) points.splice(0, points.length - KEPT);
      draw();
    }
  });
  store.watch(["risk", "portfolio"], follow);
  whenLive(app, () => void load(period));
  return {};
}
