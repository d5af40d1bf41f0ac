// What is held: entry, mark, profit and loss as the server computes them; close at the market or by a limit, whole or part.
import { later } from "../dialog.js";
import { attr, h, hide, table, text } from "../dom.js";
import { flash } from "../flash.js";
import { arrow, direction, money, onStep, percentPoints, signed, words } from "../format.js";
import { painter } from "../pace.js";
import { lock, marketOf, sideText, sideTone, unsure, viewOnly, working } from "../trade.js";

/** @typedef {"stop_loss" | "take_profit"} Guard */

/** What is done to positions. */
const doing = later(() => import("./position-acts.js"));

/** A stop or target that is an order of its own. @param {Store} store @param {Row} position @param {Guard} field */
export const guardOf = (store, position, field) =>
  store
    .rows("orders")
    .find(
      (o) =>
        o.symbol === position.symbol &&
        o.type === (field === "stop_loss" ? "stop" : "take_profit") &&
        o.role === "exit" &&
        o.side === (position.side === "long" ? "sell" : "buy") &&
        working(o),
    );

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const tick = (/** @type {Row} */ p) => marketOf(store, p.symbol)?.price_tick;
  /** @param {Guard} field */
  const guard = (field) => ({
    make: (/** @type {Row} */ first) =>
      h("button", {
        type: "button",
        class: "cell-button",
        onclick: () => doing((acts) => acts.protect(app, first.id, field)),
      }),
    cell: (/** @type {Row} */ p, /** @type {HTMLElement} */ cell) => {
      const set = p[field] ?? guardOf(store, p, field)?.stop_price ?? null;
      hide(cell, p.heading !== undefined);
      const shown = set === null ? "set…" : price(set, tick(p));
      text(cell, shown);
      // The name holds the words that are seen, for who speaks them.
      attr(cell, "aria-label", `${words(field)} of ${p.symbol}: ${shown}`);
      lock(/** @type {HTMLButtonElement} */ (cell), viewOnly(store));
    },
  });
  /** @type {import("../dom.js").Column[]} */
  const columns = [
    {
      head: "Symbol",
      cell: (p, cell) => attr(/** @type {Element} */ (cell.closest("tr")), "class", p.heading ? "heading" : null),
      text: (p) => [p.symbol, ...(p.bot_ids ?? [])].join(" · "),
      tone: (p) => (p.heading === undefined ? "" : "dim"),
    },
    { head: "Side", text: (p) => sideText(p.side), tone: (p) => sideTone(p.side) },
    { head: "Amount", kind: "num", text: (p) => onStep(p.amount, marketOf(store, p.symbol)?.amount_step) },
    { head: "Entry", kind: "num", text: (p) => price(p.entry_price, tick(p)) },
    { head: "Mark", kind: "num wide", text: (p) => price(p.mark_price, tick(p)) },
    { head: "Value", kind: "num wide", text: (p) => money(p.notional) },
    {
      head: "P/L",
      kind: "num",
      text: (p) => signed(p.unrealized_pnl),
      tone: (p) => direction(p.unrealized_pnl),
      cell: (p, cell) => flash(cell, p.unrealized_pnl, p.id),
    },
    {
      head: "P/L %",
      kind: "num",
      text: (p) => `${arrow(p.unrealized_pnl_pct)} ${percentPoints(p.unrealized_pnl_pct, { plus: true })}`.trim(),
      tone: (p) => direction(p.unrealized_pnl_pct, 2),
    },
    { head: "Stop", kind: "num", ...guard("stop_loss") },
    { head: "Target", kind: "num", ...guard("take_profit") },
    { head: "Realised", kind: "num wide", text: (p) => signed(p.realized_pnl), tone: (p) => direction(p.realized_pnl) },
    { head: "Liquidation", kind: "num wide", text: (p) => price(p.liquidation_price, tick(p)) },
    {
      head: "",
      kind: "act",
      make: (p) =>
        h(
          "span",
          { class: "row-acts" },
          h(
            "button",
            {
              type: "button",
              class: "small-button",
              "aria-label": `Close ${p.side} ${p.symbol}`,
              onclick: () => doing((acts) => acts.close(app, p.id)),
            },
            "Close…",
          ),
        ),
      cell: (p, cell) => {
        hide(cell, p.heading !== undefined);
        for (const button of cell.querySelectorAll("button")) lock(button, viewOnly(store));
      },
    },
  ];
  const show = table(
    root,
    "Positions",
    columns.map(({ text: say, tone, ...more }, i) => ({
      ...more,
      ...(say ? { text: (/** @type {Row} */ p) => (p.heading === undefined ? say(p) : i === 0 ? p.heading : "") } : {}),
      ...(tone ? { tone: (/** @type {Row} */ p) => (p.heading === undefined || i === 0 ? tone(p) : "") } : {}),
    })),
    (p) => String(p.id),
    "No positions. A fill makes one.",
  );
  const sums = h("p", { class: "totals" });
  root.append(sums);
  /** Spot first, then what is held on margin; headings where there are both. @param {Row[]} rows */
  function grouped(rows) {
    const spot = rows.filter((p) => p.position_type === "spot");
    const margin = rows.filter((p) => p.position_type !== "spot");
    if (spot.length === 0 || margin.length === 0) return rows;
    const heading = (/** @type {string} */ name) => ({ id: `heading-${name}`, heading: name });
    return [heading("Spot"), ...spot, heading("Margin and swaps"), ...margin];
  }
  /** Over all rows, by the server. @param {Row[]} rows */
  function total(rows) {
    const portfolio = store.value("portfolio");
    hide(sums, rows.length === 0 || !portfolio);
    if (!portfolio) return;
    const unit = portfolio.valuation_currency ?? "";
    const pnl = portfolio.total_unrealized_pnl;
    text(
      sums,
      `${rows.length} ${rows.length === 1 ? "position" : "positions"} · value ${money(portfolio.gross_exposure ?? store.value("risk")?.gross_exposure)} ${unit} · P/L ${signed(pnl)} ${unit}`,
    );
  }
  const held = () => store.rows("positions").filter((p) => Number(p.amount) !== 0);
  const paint = painter(root, 4, () => {
    const rows = held();
    show(grouped(rows), unsure(store, rows));
    total(rows);
    lock(all, viewOnly(store));
  });
  const all = h(
    "button",
    { type: "button", class: "quiet danger", onclick: () => doing((acts) => acts.closeAll(app, held())) },
    "Close all…",
  );
  store.watch(["positions", "orders", "markets", "portfolio", "settings", "welcome"], paint);
  return { count: () => String(held().length || ""), actions: [all], columns: show.choice };
}

/** An average has more digits than the grid: cut for the eye at one more. @param {string | null | undefined} value @param {string | undefined} tick */
export function price(value, tick) {
  if (!value || !tick) return onStep(value, tick);
  const digits = (tick.split(".")[1] ?? "").replace(/0+$/, "").length;
  return money(value, digits);
}
