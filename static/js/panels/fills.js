// Executions, newest first; new ones are said once, joined.
import { add } from "../decimal.js";
import { h, table, text } from "../dom.js";
import { clock, direction, money, onStep, signed } from "../format.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { marketOf, sideText, sideTone } from "../trade.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {import("../shapes.d.ts").Row} Row */

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const show = table(
    root,
    "Fills",
    [
      { head: "Time", kind: "num left", text: (f) => clock(f.ts, settings.utc) },
      { head: "Symbol", text: (f) => f.symbol },
      { head: "Side", text: (f) => sideText(f.side), tone: (f) => sideTone(f.side) },
      { head: "Price", kind: "num", text: (f) => onStep(f.price, marketOf(store, f.symbol)?.price_tick) },
      { head: "Amount", kind: "num", text: (f) => onStep(f.amount, marketOf(store, f.symbol)?.amount_step) },
      { head: "Cost", kind: "num", text: (f) => money(f.cost) },
      { head: "Fee", kind: "num", text: (f) => (f.fee ? `${f.fee.cost} ${f.fee.currency}` : "–") },
      { head: "Realised", kind: "num", text: (f) => signed(f.realized_pnl), tone: (f) => direction(f.realized_pnl) },
      { head: "Role", kind: "wide", text: (f) => f.taker_or_maker ?? "–" },
      { head: "Order", kind: "wide", text: (f) => f.client_order_id ?? "–", tone: () => "dim" },
    ],
    (f) => String(f.id),
    "No fills yet.",
  );
  const paint = painter(root, 10, () => show([...store.list("fills")].reverse().slice(0, 100)));
  store.watch(["fills", "markets", "settings"], paint);

  const spoken = h("p", { class: "hidden", role: "status" });
  document.body.append(spoken);
  let last = "";
  store.watch(["fills"], () => {
    const all = store.list("fills");
    const newest = String(all.at(-1)?.id ?? "");
    const from = all.findIndex((f) => String(f.id) === last);
    const fresh = last === "" ? [] : all.slice(from + 1);
    if (last !== "" && from >= 0 && fresh.length > 0) {
      const sum = fresh.reduce((n, f) => add(n, f.amount), "0");
      text(
        spoken,
        `${fresh.length} ${fresh.length === 1 ? "fill" : "fills"}, ${sum} ${marketOf(store, fresh[0]?.symbol)?.base ?? ""}`,
      );
    }
    last = newest || last || "none";
  });
  return { columns: show.choice };
}
