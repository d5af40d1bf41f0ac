// Orders and positions on the chart, a grip per order's line. Dragging it amends: dashed until the answer, back where it is refused.
import { told } from "../commands.js";
import { cmp, decimals, div, mul, round } from "../decimal.js";
import { dialog, facts } from "../dialog.js";
import { cls, h, keyed, text } from "../dom.js";
import { onStep, words } from "../format.js";
import { doubt, marketOf, viewOnly, working } from "../trade.js";

/** @typedef {"price" | "stop_price" | "stop_loss" | "take_profit"} Field */
/** @typedef {{ id: string, order: Row, field: Field, price: string, tone: string, label: string }} Grip */

const FIELDS = /** @type {const} */ (["price", "stop_price", "stop_loss", "take_profit"]);
const NAMES = { price: "price", stop_price: "trigger", stop_loss: "stop loss", take_profit: "take profit" };

/** The price of a field: attached stops may have a limit, too. @param {any} value @returns {string | null} */
const priceOf = (value) => (value && typeof value === "object" ? value.price : (value ?? null));

/** A price at a height of the chart, on the grid. @param {number} price @param {string} tick */
function snapped(price, tick) {
  const digits = decimals(tick);
  const near = round(div(price.toFixed(Math.min(digits + 2, 18)), tick, 2), 0);
  return round(mul(near, tick), digits);
}

/**
 * @param {HTMLElement} box over the chart @param {App} app @param {Chart} chart
 * @param {(what: string) => void} say a line of text for people, "" for none
 * @param {() => void} changed lines must be drawn again
 */
export function orderLines(box, app, chart, say, changed) {
  const { store } = app;
  const layer = h("div", { class: "grips", "aria-hidden": "true" });
  box.append(layer);
  /** Prices that differ from the server's: being dragged, or asked for. @type {Map<string, string>} */
  const drafts = new Map();
  /** @type {Grip[]} */
  let grips = [];
  /** @type {{ grip: Grip, start: number, moved: boolean, stop: AbortController } | null} */
  let drag = null;

  /** Lines of the shown symbol's orders, and their grips; of what is held. @returns {Line[]} */
  function lines() {
    const symbol = store.get("symbol");
    const market = marketOf(store, symbol);
    const old = doubt(store) ? "last known: " : "";
    grips = store
      .rows("orders")
      .filter((o) => o.symbol === symbol && working(o))
      .flatMap((o) =>
        FIELDS.filter((field) => priceOf(o[field])).map((field) => ({
          id: `${o.id}|${field}`,
          order: o,
          field,
          price: /** @type {string} */ (priceOf(o[field])),
          tone: field === "stop_loss" || field === "take_profit" ? other(o.side) : o.side === "buy" ? "up" : "down",
          label: `${what(o, field)} ${onStep(o.amount, market?.amount_step)}`,
        })),
      );
    // Ended under the pointer: its grip goes, and no release reaches it any more.
    if (drag && !grips.some((g) => g.id === drag?.grip.id)) leave();
    show();
    /** @type {Line[]} */
    const all = grips.map(({ id, price, tone }) => ({
      id,
      price: Number(drafts.get(id) ?? price),
      title: "",
      tone,
      look: drafts.has(id) ? "dashed" : old ? "dotted" : "solid",
    }));
    for (const p of store.rows("positions")) {
      if (p.symbol !== symbol || !p.entry_price || Number(p.amount) === 0) continue;
      all.push({
        id: p.id,
        price: Number(p.entry_price),
        title: `${old}${p.side} ${onStep(p.amount, market?.amount_step)}`,
        tone: "accent",
        look: "dotted",
      });
      // Its stops are orders, with lines already, unless the venue keeps them out of sight.
      for (const [field, tone] of /** @type {const} */ ([
        ["stop_loss", "down"],
        ["take_profit", "up"],
      ])) {
        if (p[field] && !all.some((l) => l.price === Number(p[field])))
          all.push({ id: `${p.id}|${field}`, price: Number(p[field]), title: words(field), tone, look: "dotted" });
      }
    }
    return all;
  }

  function show() {
    keyed(
      layer,
      grips,
      (g) => g.id,
      (g) => {
        const element = h("div", { class: "grip" });
        element.addEventListener("pointerdown", (event) => down(event, g.id));
        return element;
      },
      (element, g) => {
        text(element, g.label);
        cls(element, `grip ${g.tone}${drafts.has(g.id) ? " pending" : ""}`);
      },
    );
    place();
  }

  /** Grips stand on their lines. */
  function place() {
    const right = chart.axis() + 6;
    // Asked once: between two changes the browser would lay out anew for each grip.
    const bottom = box.clientHeight - 30;
    layer.style.right = `${right}px`;
    grips.forEach((g, i) => {
      const element = /** @type {HTMLElement | undefined} */ (layer.children[i]);
      const y = chart.yOf(Number(drafts.get(g.id) ?? g.price));
      if (!element) return;
      const away = y === null || y < 8 || y > bottom;
      element.hidden = away;
      if (!away) element.style.transform = `translateY(${Math.round(y)}px) translateY(-50%)`;
    });
  }

  /** @param {PointerEvent} event @param {string} id */
  function down(event, id) {
    const grip = grips.find((g) => g.id === id);
    if (!grip || drafts.has(id) || event.button !== 0) return;
    const barred = reason();
    if (barred) return say(barred);
    event.preventDefault();
    const element = /** @type {HTMLElement} */ (event.currentTarget);
    element.setPointerCapture(event.pointerId);
    const stop = new AbortController();
    const { signal } = stop;
    drag = { grip, start: event.clientY, moved: false, stop };
    element.addEventListener("pointermove", (e) => move(e), { signal });
    element.addEventListener(
      "pointerup",
      () => {
        stop.abort();
        void drop();
      },
      { signal },
    );
    element.addEventListener("pointercancel", back, { signal });
    addEventListener("keydown", (e) => e.key === "Escape" && back(), { signal });
  }

  /** Why nothing may be amended now, or "". */
  function reason() {
    const { state } = app.link.state;
    if (state !== "live" && state !== "late") return "Not connected: orders cannot be amended.";
    return viewOnly(store);
  }

  /** @param {PointerEvent} event */
  function move(event) {
    if (!drag) return;
    if (!drag.moved && Math.abs(event.clientY - drag.start) < 3) return;
    drag.moved = true;
    const tick = marketOf(store, drag.grip.order.symbol)?.price_tick;
    const price = chart.priceAt(event.clientY - box.getBoundingClientRect().top);
    if (!tick || price === null || price <= 0) return;
    const next = snapped(price, tick);
    if (cmp(next, "0") <= 0) return;
    drafts.set(drag.grip.id, next);
    say(`${drag.grip.label}: ${NAMES[drag.grip.field]} ${onStep(next, tick)}. Esc leaves it.`);
    changed();
  }

  function leave() {
    drag?.stop.abort();
    if (drag) drafts.delete(drag.grip.id);
    drag = null;
    say("");
  }

  function back() {
    leave();
    changed();
  }

  async function drop() {
    const mine = drag;
    drag = null;
    const next = mine && drafts.get(mine.grip.id);
    if (!mine || !next || cmp(next, mine.grip.price) === 0) {
      if (mine) drafts.delete(mine.grip.id);
      say("");
      return changed();
    }
    const { id, order, field, price, label } = mine.grip;
    const tick = marketOf(store, order.symbol)?.price_tick;
    const answer = await dialog({
      title: `Amend ${order.side} ${order.symbol}?`,
      body: [
        facts([
          ["Order", label],
          [`${NAMES[field].charAt(0).toUpperCase()}${NAMES[field].slice(1)} now`, onStep(price, tick)],
          ["New", onStep(next, tick)],
        ]),
      ],
      yes: "Amend",
    });
    let refusal = "";
    if (answer) {
      say("Amending…");
      const reply = await app.commands.call("order.amend", { order_id: order.id, [field]: next });
      if (!reply.ok) refusal = `Not amended: ${told(reply.error)}`;
    }
    drafts.delete(id);
    say(refusal);
    changed();
  }

  chart.onDraw(place);
  return { lines };
}

/** @param {Row} order @param {Field} field */
function what(order, field) {
  if (field === "stop_loss" || field === "take_profit") return `${NAMES[field]}`;
  const role = order.role && order.role !== "entry" ? words(order.role) : order.side;
  return field === "stop_price" && order.price ? `${role} trigger` : role;
}

/** Protection is on the other side of its order. @param {string} side */
const other = (side) => (side === "buy" ? "down" : "up");
