// Levels with depth bars, the same number of rows on each side, mid and spread, own orders, grouping; under them the depth.
import { cumulated, middle } from "../book.js";
import { add, cmp, decimals, floorTo, ratio, trim } from "../decimal.js";
import { attr, cls, colour, h, rowHeight, text } from "../dom.js";
import { flash } from "../flash.js";
import { grouped, money, onStep, short } from "../format.js";
import { painter } from "../pace.js";
import { remember, settings } from "../settings.js";
import { marketOf, working } from "../trade.js";
import { panelHead } from "./head.js";

const MOST = 25;
/** Height of the depth under the book, and of a book that has room for it, px. */
const DEPTH = 74;
const ROOMY = 520;

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
  const depth = h("canvas", { class: "depth", "aria-hidden": "true" });
  root.append(grid, depth, nothing);
  const rows = { asks: pool(asks), bids: pool(bids) };
  let count = 10;

  grid.addEventListener("click", (event) => {
    const cell = event.target instanceof Element ? event.target.closest("[data-cell]") : null;
    const row = cell?.closest(".book-row");
    if (!(cell instanceof HTMLElement) || !(row instanceof HTMLElement) || !row.dataset.price) return;
    // Until the next frame these are rows of the market before.
    if (grid.dataset.symbol !== store.get("symbol")) return;
    // An own order at this price: its row opens for editing. A grouped level may hold several, and other prices.
    const mine =
      row.classList.contains("own") && cell.dataset.cell === "price" ? own().get(trim(row.dataset.price)) : undefined;
    if (mine) return store.set("edit", mine);
    const amount = cell.dataset.cell === "price" ? undefined : cell.dataset.raw;
    store.set("fill", { price: row.dataset.price, amount });
  });

  /** Own working orders by the level that holds them. @returns {Map<string, string>} */
  function own() {
    const symbol = store.get("symbol");
    const group = settings.group[symbol];
    /** @type {Map<string, string>} */
    const found = new Map();
    for (const o of store.rows("orders")) {
      if (o.symbol !== symbol || !working(o) || !o.price) continue;
      found.set(group ? level(o.price, group, o.side) : trim(o.price), o.id);
    }
    return found;
  }

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
    const mine = own();
    const tick = market?.price_tick;
    const step = market?.amount_step;
    const up = cumulated(book.asks, count);
    const down = cumulated(book.bids, count);
    const top = [up.at(-1)?.[2] ?? "0", down.at(-1)?.[2] ?? "0"].sort(cmp)[1] ?? "0";
    fill(rows.asks, up, count, top, mine, tick, step);
    fill(rows.bids, down, count, top, mine, tick, step);
    // Smaller where digits would run together into another number.
    const all = [...rows.asks.slice(0, count), ...rows.bids.slice(0, count)];
    const longest = [0, 1, 2].map((i) => Math.max(...all.map(({ cells }) => cells[i]?.textContent?.length ?? 0)));
    const sum = longest.join(" + ");
    if (grid.style.getPropertyValue("--letters") !== sum) grid.style.setProperty("--letters", sum);
    const between = middle(book.bids, book.asks);
    text(mid, between ? money(between.mid, decimals(tick ?? between.ask)) : "–");
    text(
      spread,
      between ? `spread ${narrow(onStep(between.spread, tick))}${between.bp.toFixed(2)} bp` : "one side is empty",
    );
  });
  /** Of the depth, px: asking while painting makes the browser lay everything out. */
  let area = { width: 0, height: 0 };
  new ResizeObserver(([entry]) => {
    area = entry?.contentRect ?? area;
    draw();
  }).observe(depth);
  /** Both sides' running totals over the price, the mid in the middle. */
  const draw = painter(depth, 4, () => {
    const book = store.channel(store.get("view:book"))?.book;
    const pen = depth.getContext("2d");
    const { width: wide, height: high } = area;
    if (!pen || !wide) return;
    const dense = devicePixelRatio || 1;
    const size = { width: Math.round(wide * dense), height: Math.round(high * dense) };
    if (depth.width !== size.width || depth.height !== size.height) Object.assign(depth, size);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, wide, high);
    if (!book) return;
    const sides = /** @type {const} */ ([
      [cumulated(book.bids, MOST), "--up"],
      [cumulated(book.asks, MOST), "--down"],
    ]);
    const bid = Number(book.bids[0]?.[0]);
    const ask = Number(book.asks[0]?.[0]);
    const mid = (bid + ask) / 2;
    if (!Number.isFinite(mid)) return;
    const reach = Math.max(...sides.map(([levels]) => Math.abs(Number(levels.at(-1)?.[0]) - mid)), 0) || 1;
    const most = Math.max(...sides.map(([levels]) => Number(levels.at(-1)?.[2] ?? 0))) || 1;
    for (const [levels, tone] of sides) {
      pen.beginPath();
      let y = high;
      const x = (/** @type {string} */ price) => wide / 2 + ((Number(price) - mid) / reach) * (wide / 2);
      pen.moveTo(x(levels[0]?.[0] ?? "0"), high);
      for (const [price, , total] of levels) {
        pen.lineTo(x(price), y);
        y = high - (Number(total) / most) * (high - 4);
        pen.lineTo(x(price), y);
      }
      const edge = tone === "--up" ? 0 : wide;
      pen.lineTo(edge, y);
      pen.strokeStyle = colour(depth, tone);
      pen.stroke();
      pen.lineTo(edge, high);
      pen.closePath();
      pen.globalAlpha = 0.16;
      pen.fillStyle = colour(depth, tone);
      pen.fill();
      pen.globalAlpha = 1;
    }
  });
  new ResizeObserver(() => {
    const head = /** @type {HTMLElement} */ (root.firstElementChild).offsetHeight;
    depth.hidden = root.clientHeight < ROOMY;
    const room = root.clientHeight - head - 24 - 34 - (depth.hidden ? 0 : DEPTH);
    draw();
    count = Math.max(3, Math.min(MOST, Math.floor(room / 2 / rowHeight(root))));
    paint();
  }).observe(root);
  store.watch(["orderbook:", "view:book", "markets", "orders", "symbol", "settings"], paint);
  store.watch(["orderbook:", "view:book", "symbol", "settings"], () => draw());
  store.watch(["symbol"], () => paint(true));
}

/** A spread of many digits is told in basis points alone. @param {string} spread */
const narrow = (spread) => (spread.length > 8 ? "" : `${spread} · `);

/** The grouped level that holds a price: bids down, asks up. @param {string} price @param {string} group @param {string} side */
function level(price, group, side) {
  const down = floorTo(price, group);
  return trim(side === "buy" || cmp(down, price) === 0 ? down : add(down, group));
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
 * @param {string} top @param {Map<string, string>} own @param {string | undefined} tick @param {string | undefined} step
 */
function fill(rows, levels, count, top, own, tick, step) {
  rows.forEach(({ row, bar, cells }, i) => {
    row.hidden = i >= count;
    if (i >= count) return;
    const level = levels[i];
    attr(row, "data-price", level?.[0] ?? null);
    text(cells[0], level ? onStep(level[0], tick) : "");
    text(cells[1], level ? short(level[1], step) : "");
    text(cells[2], level ? short(level[2], step) : "");
    attr(cells[1], "data-raw", level?.[1] ?? null);
    attr(cells[2], "data-raw", level?.[2] ?? null);
    const mine = level !== undefined && own.has(trim(level[0]));
    cls(row, mine ? "book-row own" : "book-row");
    attr(row, "title", mine ? `you have an order at ${grouped(level[0])}: click the price to amend it` : null);
    if (mine) flash(row, level[1], level[0]);
    bar.style.transform = `scaleX(${level ? ratio(level[2], top).toFixed(4) : 0})`;
  });
}
