// Levels with depth bars, the same number of rows on each side, mid and spread, own orders, grouping.
import { cumulated, middle } from "../book.js";
import { cmp, decimals, ratio, trim } from "../decimal.js";
import { attr, cls, h, text } from "../dom.js";
import { grouped, money, onStep } from "../format.js";
import { painter } from "../pace.js";
import { remember, settings } from "../settings.js";
import { marketOf, working } from "../trade.js";
import { panelHead } from "./head.js";

/** @typedef {import("../app.js").App} App */

const ROW = 20;
const MOST = 25;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const grouping = h("select", { class: "small", "aria-label": "Group prices by" });
  grouping.addEventListener("change", () => {
    const symbol = store.get("symbol");
    remember({ group: { ...settings.group, [symbol]: grouping.value } });
    app.select(symbol);
  });
  panelHead(root, "Order book", app, "view:book", grouping);
  const names = h(
    "div",
    { role: "row", class: "book-row names" },
    ...["Price", "Amount", "Total"].map((n) => h("span", { role: "columnheader" }, n)),
  );
  const asks = h("div", { class: "book-side asks", role: "rowgroup" });
  const mid = h("span", { class: "mid", role: "cell" });
  const spread = h("span", { class: "spread", role: "cell" });
  const bids = h("div", { class: "book-side bids", role: "rowgroup" });
  const middleRow = h(
    "div",
    { class: "book-middle", role: "rowgroup" },
    h("div", { role: "row", class: "book-middle-row" }, mid, spread),
  );
  const grid = h(
    "div",
    { class: "book", role: "table", "aria-label": "Order book" },
    h("div", { role: "rowgroup" }, names),
    asks,
    middleRow,
    bids,
  );
  const nothing = h("p", { class: "empty" }, "Waiting for the book…");
  root.append(grid, nothing);
  const rows = { asks: pool(asks), bids: pool(bids) };
  let count = 10;

  grid.addEventListener("click", (event) => {
    const cell = event.target instanceof Element ? event.target.closest("[data-cell]") : null;
    const row = cell?.closest(".book-row");
    if (!(cell instanceof HTMLElement) || !(row instanceof HTMLElement) || !row.dataset.price) return;
    const amount = cell.dataset.cell === "price" ? undefined : cell.dataset.raw;
    store.set("fill", { price: row.dataset.price, amount });
  });

  const paint = painter(root, 10, () => {
    const symbol = store.get("symbol");
    const market = marketOf(store, symbol);
    const groups = market?.groups ?? [];
    const choices = ["", ...groups];
    if (choices.join() !== [...grouping.options].map((o) => o.value).join()) {
      const tick = market?.price_tick ?? "";
      grouping.replaceChildren(...choices.map((g) => h("option", { value: g }, trim(g || tick || "tick"))));
    }
    grouping.value = settings.group[symbol] ?? "";
    grouping.hidden = groups.length === 0;
    const book = store.channel(store.get("view:book"))?.book;
    grid.hidden = !book;
    nothing.hidden = Boolean(book);
    if (!book) return;
    attr(grid, "data-symbol", symbol);
    const own = new Set(
      store
        .rows("orders")
        .filter((o) => o.symbol === symbol && working(o) && o.price)
        .map((o) => o.price),
    );
    const tick = market?.price_tick;
    const step = market?.amount_step;
    const up = cumulated(book.asks, count);
    const down = cumulated(book.bids, count);
    const top = [up.at(-1)?.[2] ?? "0", down.at(-1)?.[2] ?? "0"].sort(cmp)[1] ?? "0";
    fill(rows.asks, up, count, top, own, tick, step);
    fill(rows.bids, down, count, top, own, tick, step);
    const between = middle(book.bids, book.asks);
    text(mid, between ? money(between.mid, decimals(tick ?? between.ask)) : "–");
    text(
      spread,
      between ? `spread ${onStep(between.spread, tick)} · ${between.bp.toFixed(2)} bp` : "one side is empty",
    );
  });
  new ResizeObserver(() => {
    const head = /** @type {HTMLElement} */ (root.firstElementChild).offsetHeight;
    const room = root.clientHeight - head - 24 - 34;
    count = Math.max(3, Math.min(MOST, Math.floor(room / 2 / ROW)));
    paint();
  }).observe(root);
  store.watch(["orderbook:", "view:book", "markets", "orders", "symbol"], paint);
  store.watch(["symbol"], () => paint(true));
}

/** @param {HTMLElement} side */
function pool(side) {
  return Array.from({ length: MOST }, () => {
    const bar = h("span", { class: "book-bar", role: "presentation" });
    const cells = ["price", "amount", "total"].map((name) => h("span", { "data-cell": name, role: "cell" }));
    const row = h("div", { class: "book-row", role: "row" }, ...cells, bar);
    side.append(row);
    return { row, bar, cells: /** @type {[HTMLElement, HTMLElement, HTMLElement]} */ (cells) };
  });
}

/**
 * @param {ReturnType<typeof pool>} rows @param {[string, string, string][]} levels @param {number} count
 * @param {string} top @param {Set<string>} own @param {string | undefined} tick @param {string | undefined} step
 */
function fill(rows, levels, count, top, own, tick, step) {
  rows.forEach(({ row, bar, cells }, i) => {
    row.hidden = i >= count;
    if (i >= count) return;
    const level = levels[i];
    attr(row, "data-price", level?.[0] ?? null);
    text(cells[0], level ? onStep(level[0], tick) : "");
    text(cells[1], level ? onStep(level[1], step) : "");
    text(cells[2], level ? onStep(level[2], step) : "");
    attr(cells[1], "data-raw", level?.[1] ?? null);
    attr(cells[2], "data-raw", level?.[2] ?? null);
    cls(row, level && own.has(level[0]) ? "book-row own" : "book-row");
    attr(row, "title", level && own.has(level[0]) ? `you have an order at ${grouped(level[0])}` : null);
    bar.style.transform = `scaleX(${level ? ratio(level[2], top).toFixed(4) : 0})`;
  });
}
