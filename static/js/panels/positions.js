// What is held: entry, mark, profit and loss as the server computes them; close at the market or by a limit, whole or part.
import { Intent, makeId, told } from "../commands.js";
import { floorTo, isDecimal, trim } from "../decimal.js";
import { dialog, facts } from "../dialog.js";
import { attr, h, hide, table, text } from "../dom.js";
import { flash } from "../flash.js";
import { arrow, direction, money, onStep, percentPoints, signed, words } from "../format.js";
import { painter } from "../pace.js";
import { marketOf, sideText, sideTone, working } from "../trade.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {import("../shapes.d.ts").Row} Row */

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const tick = (/** @type {Row} */ p) => marketOf(store, p.symbol)?.price_tick;
  /** Stops are orders: their line is edited where there is one, made where there is none. @param {"stop_loss" | "take_profit"} field */
  const guard = (field) => ({
    make: (/** @type {Row} */ first) =>
      h("button", { type: "button", class: "cell-button", onclick: () => void protect(app, first.id, field) }),
    cell: (/** @type {Row} */ p, /** @type {HTMLElement} */ cell) => {
      const set = p[field] ?? null;
      hide(cell, p.heading !== undefined);
      text(cell, set === null ? "set…" : price(set, tick(p)));
      attr(cell, "aria-label", `${words(field)} of ${p.symbol}: ${set === null ? "none, set" : `${set}, change`}`);
    },
  });
  /** @type {import("../dom.js").Column[]} */
  const columns = [
    {
      head: "Symbol",
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
      tone: (p) => direction(p.unrealized_pnl_pct),
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
              onclick: () => void close(app, p.id),
            },
            "Close…",
          ),
        ),
      cell: (p, cell) => hide(cell, p.heading !== undefined),
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
      `${rows.length} ${rows.length === 1 ? "position" : "positions"} · exposure ${money(portfolio.gross_exposure ?? store.value("risk")?.gross_exposure)} ${unit} · P/L ${signed(pnl)} ${unit}`,
    );
  }
  const held = () => store.rows("positions").filter((p) => Number(p.amount) !== 0);
  const paint = painter(root, 4, () => {
    const rows = held();
    show(grouped(rows));
    total(rows);
  });
  store.watch(["positions", "markets", "portfolio"], paint);
  const all = h(
    "button",
    { type: "button", class: "quiet danger", onclick: () => void closeAll(app, held()) },
    "Close all…",
  );
  return { count: () => String(held().length || ""), actions: [all] };
}

/** An average has more digits than the grid: cut for the eye at one more. @param {string | null | undefined} value @param {string | undefined} tick */
function price(value, tick) {
  if (!value || !tick) return onStep(value, tick);
  const digits = (tick.split(".")[1] ?? "").replace(/0+$/, "").length;
  return money(value, digits);
}

/**
 * Edits the order that protects a position, or places one: reduce only, for all of it.
 * @param {App} app @param {string} id @param {"stop_loss" | "take_profit"} field
 */
async function protect(app, id, field) {
  const position = app.store.channel("positions")?.rows?.get(id);
  if (!position) return;
  const { symbol } = position;
  const step = marketOf(app.store, symbol)?.amount_step;
  // A fee in the base leaves a rest that is off the grid.
  const whole = step ? floorTo(position.amount, step) : position.amount;
  const held = app.store.rows("orders").find((o) => o.symbol === symbol && o.role === field && working(o));
  if (held) return app.store.set("edit", held.id);
  const market = marketOf(app.store, symbol);
  const input = h("input", { name: "price", type: "text", inputmode: "decimal", autocomplete: "off" });
  const name = field === "stop_loss" ? "Stop loss" : "Take profit";
  const intent = new Intent(makeId);
  let error = "";
  for (;;) {
    const answer = await dialog({
      title: `${name} for ${position.side} ${symbol}`,
      body: [
        facts([
          ["Amount", `${onStep(whole, step)} ${market?.base ?? ""}`],
          ["Entry", price(position.entry_price, market?.price_tick)],
          ["Mark", price(position.mark_price, market?.price_tick)],
        ]),
        h("label", { class: "field" }, h("span", {}, `Trigger price, ${market?.quote ?? ""}`), input),
        h(
          "p",
          { class: "dim" },
          "A reduce-only order that sells or buys back at the market when the price gets there.",
        ),
        ...(error ? [h("p", { class: "warn", role: "alert" }, error)] : []),
      ],
      yes: "Place",
      focus: "field",
      ready: () => isDecimal(input.value.trim()),
    });
    if (!answer) return;
    const args = {
      symbol,
      side: position.side === "long" ? /** @type {const} */ ("sell") : /** @type {const} */ ("buy"),
      type: field === "stop_loss" ? /** @type {const} */ ("stop") : /** @type {const} */ ("take_profit"),
      amount: trim(whole),
      stop_price: input.value.trim(),
      reduce_only: true,
      position_type: position.position_type,
    };
    const reply = await app.commands.confirmed(
      "order.place",
      { ...args, client_order_id: intent.id(args), mode: app.store.get("welcome")?.mode },
      `${name}?`,
    );
    if (reply.ok || reply.error?.code === "confirm_required") return;
    intent.settle(reply.error?.outcome ?? "unknown");
    error = told(reply.error);
  }
}

/** @param {App} app @param {string} id */
async function close(app, id) {
  const position = app.store.channel("positions")?.rows?.get(id);
  if (!position) return;
  const market = marketOf(app.store, position.symbol);
  const intent = new Intent(makeId);
  const part = h(
    "select",
    { name: "fraction" },
    ...["1", "0.75", "0.5", "0.25"].map((f) => h("option", { value: f }, `${Number(f) * 100} %`)),
  );
  const type = h(
    "select",
    { name: "type" },
    h("option", { value: "market" }, "market"),
    h("option", { value: "limit" }, "limit"),
  );
  const limit = h("input", { name: "price", type: "text", inputmode: "decimal", autocomplete: "off" });
  let error = "";
  for (;;) {
    const answer = await dialog({
      title: `Close ${position.side} ${position.symbol}?`,
      body: [
        facts([
          ["Amount", `${onStep(position.amount, market?.amount_step)} ${market?.base ?? ""}`],
          ["Value", `${money(position.notional)} ${market?.quote ?? ""}`],
          ["P/L now", signed(position.unrealized_pnl)],
        ]),
        h("label", { class: "field" }, h("span", {}, "Part"), part),
        h("label", { class: "field" }, h("span", {}, "Type"), type),
        h("label", { class: "field" }, h("span", {}, "Price, for a limit"), limit),
        ...(error ? [h("p", { class: "warn", role: "alert" }, error)] : []),
      ],
      yes: "Close position",
      tone: "danger",
      ready: () => type.value === "market" || isDecimal(limit.value.trim()),
    });
    if (!answer) return;
    /** @type {Row} */
    const args = { position_id: id, type: type.value, fraction: Number(part.value) };
    if (type.value === "limit") args.price = limit.value.trim();
    const reply = await app.commands.confirmed(
      "position.close",
      { ...args, client_order_id: intent.id(args) },
      "Close this position?",
    );
    if (reply.ok || reply.error?.code === "confirm_required") return;
    intent.settle(reply.error?.outcome ?? "unknown");
    error = told(reply.error);
  }
}

/** @param {App} app @param {Row[]} held */
async function closeAll(app, held) {
  const answer = await dialog({
    title: "Close all positions?",
    body: [
      held.length === 0
        ? h("p", {}, "There are none.")
        : facts(
            held.map((p) => [
              `${p.side} ${p.symbol}`,
              `${onStep(p.amount, marketOf(app.store, p.symbol)?.amount_step)} · ${money(p.notional)}`,
            ]),
          ),
      h("p", {}, `${held.length} market ${held.length === 1 ? "order" : "orders"}, reduce only.`),
    ],
    yes: "Close all",
    tone: "danger",
    focus: "no",
    ready: () => held.length > 0,
  });
  if (!answer) return;
  const reply = await app.commands.confirmed("position.close_all", {}, "Close all positions?");
  const failed = reply.result?.failed ?? [];
  if ((reply.ok && failed.length === 0) || reply.error?.code === "confirm_required") return;
  await dialog({
    title: "Not everything was closed",
    body: [
      h(
        "p",
        { class: "warn", role: "alert" },
        reply.ok ? `${failed.length} positions could not be closed.` : told(reply.error),
      ),
    ],
    yes: "Close",
    no: null,
  });
}
