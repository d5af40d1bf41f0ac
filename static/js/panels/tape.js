// The newest trades that fit, in a fixed pool of rows.
import { cls, h, rowHeight, text } from "../dom.js";
import { clock, onStep, short } from "../format.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { marketOf } from "../trade.js";
import { panelHead } from "./head.js";

const MOST = 60;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  panelHead(root, "Trades", app, "view:trades");
  const body = h("tbody");
  const grid = h(
    "table",
    { class: "tape" },
    h("caption", { class: "hidden" }, "Latest trades"),
    h("thead", {}, h("tr", {}, ...["Price", "Amount", "Time"].map((n) => h("th", { scope: "col" }, n)))),
    body,
  );
  const nothing = h("p", { class: "empty" }, "No trades yet.");
  root.append(grid, nothing);
  const rows = Array.from({ length: MOST }, () => {
    /** @type {[HTMLElement, HTMLElement, HTMLElement]} */
    const cells = [h("td"), h("td"), h("td")];
    const row = h("tr", {}, ...cells);
    body.append(row);
    return { row, cells };
  });
  let count = 10;
  const paint = painter(root, 10, () => {
    const market = marketOf(store, store.get("symbol"));
    const trades = store.list(store.get("view:trades"));
    grid.hidden = trades.length === 0;
    nothing.hidden = trades.length > 0;
    rows.forEach(({ row, cells }, i) => {
      const trade = i < count ? trades[trades.length - 1 - i] : undefined;
      row.hidden = !trade;
      if (!trade) return;
      cls(cells[0], trade.side === "buy" ? "up" : "down");
      text(cells[0], `${trade.side === "buy" ? "▲" : "▼"} ${onStep(trade.price, market?.price_tick)}`);
      text(cells[1], short(trade.amount, market?.amount_step));
      text(cells[2], clock(trade.ts, settings.utc));
    });
  });
  new ResizeObserver(() => {
    const head = /** @type {HTMLElement} */ (root.firstElementChild).offsetHeight;
    count = Math.max(3, Math.min(MOST, Math.floor((root.clientHeight - head - 24) / rowHeight(root))));
    paint();
  }).observe(root);
  store.watch(["trades:", "view:trades", "markets", "symbol", "settings"], paint);
  store.watch(["symbol"], () => paint(true));
}
