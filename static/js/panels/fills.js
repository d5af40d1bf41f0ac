// Executions, newest first.
import { table } from "../dom.js";
import { direction, grouped, money, onStep, signed, when } from "../format.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { marketOf, sideText, sideTone, unsure } from "../trade.js";

/** The server's first: where there are fewer, they are all. */
const FIRST = 50;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const show = table(
    root,
    "Fills",
    [
      { head: "Time", kind: "num left", text: (f) => when(f.ts, settings.utc, app.serverNow()) },
      { head: "Symbol", text: (f) => f.symbol },
      { head: "Side", text: (f) => sideText(f.side), tone: (f) => sideTone(f.side) },
      { head: "Price", kind: "num", text: (f) => onStep(f.price, marketOf(store, f.symbol)?.price_tick) },
      { head: "Amount", kind: "num", text: (f) => onStep(f.amount, marketOf(store, f.symbol)?.amount_step) },
      { head: "Cost", kind: "num", text: (f) => money(f.cost) },
      { head: "Fee", kind: "num", text: (f) => (f.fee ? `${grouped(f.fee.cost)} ${f.fee.currency}` : "–") },
      { head: "Realised", kind: "num", text: (f) => signed(f.realized_pnl), tone: (f) => direction(f.realized_pnl) },
      { head: "Role", kind: "wide", text: (f) => f.taker_or_maker ?? "–" },
      { head: "Order", kind: "wide", text: (f) => f.client_order_id ?? "–", tone: () => "dim" },
    ],
    (f) => String(f.id),
    "No fills yet.",
  );
  const paint = painter(root, 10, () => {
    const rows = store.list("fills").slice(-100).reverse();
    const cut = `The newest ${rows.length}. More: realtime call fill.list limit=500${app.link.account && ` venue=${app.link.account}`}`;
    show(rows, unsure(store, rows) || (rows.length < FIRST ? "" : cut));
  });
  store.watch(["fills", "markets", "settings"], paint);
  return { columns: show.choice };
}
