// What is held: entry, mark, profit and loss as the server computes them; close at the market or by a limit, whole or part.
import { told } from "../commands.js";
import { isDecimal } from "../decimal.js";
import { dialog, facts } from "../dialog.js";
import { h, table } from "../dom.js";
import { arrow, direction, money, onStep, percentPoints, signed } from "../format.js";
import { Intent, makeId } from "../intent.js";
import { painter } from "../pace.js";
import { marketOf, sideText, sideTone } from "../trade.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {import("../shapes.d.ts").Row} Row */

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const tick = (/** @type {Row} */ p) => marketOf(store, p.symbol)?.price_tick;
  const show = table(
    root,
    "Positions",
    [
      { head: "Symbol", text: (p) => p.symbol },
      { head: "Side", text: (p) => sideText(p.side), tone: (p) => sideTone(p.side) },
      { head: "Amount", kind: "num", text: (p) => onStep(p.amount, marketOf(store, p.symbol)?.amount_step) },
      { head: "Entry", kind: "num", text: (p) => price(p.entry_price, tick(p)) },
      { head: "Mark", kind: "num", text: (p) => price(p.mark_price, tick(p)) },
      { head: "Value", kind: "num wide", text: (p) => money(p.notional) },
      { head: "P/L", kind: "num", text: (p) => signed(p.unrealized_pnl), tone: (p) => direction(p.unrealized_pnl) },
      {
        head: "P/L %",
        kind: "num",
        text: (p) => `${arrow(p.unrealized_pnl_pct)} ${percentPoints(p.unrealized_pnl_pct, { plus: true })}`.trim(),
        tone: (p) => direction(p.unrealized_pnl_pct),
      },
      {
        head: "Realised",
        kind: "num wide",
        text: (p) => signed(p.realized_pnl),
        tone: (p) => direction(p.realized_pnl),
      },
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
      },
    ],
    (p) => String(p.id),
    "No positions. A fill makes one.",
  );
  const held = () => store.rows("positions").filter((p) => Number(p.amount) !== 0);
  const paint = painter(root, 4, () => show(held()));
  store.watch(["positions", "markets"], paint);
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
