// Working orders first, then those that ended in the last minutes. Amend, cancel, cancel all.
import { told } from "../commands.js";
import { cmp } from "../decimal.js";
import { later } from "../dialog.js";
import { h, hide, table, text } from "../dom.js";
import { onStep, when, words } from "../format.js";
import { onKey } from "../keys.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { kind, lock, marketOf, priceText, sideText, sideTone, unsure, viewOnly, working } from "../trade.js";

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const tick = (/** @type {Row} */ o) => marketOf(store, o.symbol)?.price_tick;
  const step = (/** @type {Row} */ o) => marketOf(store, o.symbol)?.amount_step;
  const show = table(
    root,
    "Orders",
    [
      { head: "Symbol", text: (o) => o.symbol },
      { head: "Side", text: (o) => sideText(o.side), tone: (o) => sideTone(o.side) },
      { head: "Type", text: kind },
      { head: "Price", kind: "num", text: (o) => priceText(o, marketOf(store, o.symbol)) },
      {
        head: "Amount",
        kind: "num",
        text: (o) => `${partly(o) ? `${onStep(o.filled, step(o))} of ` : ""}${onStep(o.amount, step(o))}`,
      },
      {
        head: "Filled",
        kind: "num wide",
        text: (o) => (o.filled && cmp(o.filled, "0") > 0 ? onStep(o.filled, step(o)) : "–"),
      },
      { head: "Average", kind: "num wide", text: (o) => onStep(o.average, tick(o)) },
      {
        head: "Status",
        text: statusText,
        tone: (o) => (o.status === "unknown" || o.status === "rejected" ? "warn" : working(o) ? "" : "dim"),
      },
      {
        head: "In force",
        kind: "wide",
        text: (o) =>
          [o.time_in_force !== "PO" && o.time_in_force, o.post_only && "post only", o.reduce_only && "reduce only"]
            .filter(Boolean)
            .join(", "),
      },
      { head: "Time", kind: "num wide", text: (o) => when(o.created_ts, settings.utc, app.serverNow()) },
      {
        head: "",
        kind: "act",
        make: (o) => acts(o, app),
        cell: (o, cell) => {
          hide(cell, !working(o));
          for (const button of cell.querySelectorAll("button")) lock(button, viewOnly(store));
        },
      },
    ],
    (o) => String(o.id),
    "No orders. What you place from the ticket stands here.",
  );
  const paint = painter(root, 10, () => {
    const rows = store.rows("orders");
    rows.sort((a, b) => Number(working(b)) - Number(working(a)) || b.created_ts - a.created_ts);
    const ended = "Ended orders stay five minutes, the newest of many. More: realtime call order.history limit=500";
    const cut = rows.every(working) ? "" : `${ended}${app.link.account && ` venue=${app.link.account}`}`;
    show(rows, unsure(store, rows) || cut);
    lock(all, viewOnly(store));
  });
  const all = h(
    "button",
    { type: "button", class: "quiet", "aria-keyshortcuts": "Shift+X", onclick: () => cancelAll(app) },
    "Cancel all…",
  );
  store.watch(["orders", "markets", "settings", "welcome"], paint);
  store.watch(["edit"], () => {
    const order = store.channel("orders")?.rows?.get(store.get("edit"));
    if (order && working(order) && !viewOnly(store)) amendDialog(app, order);
  });
  // The selected row is the one with the focus: a click or an arrow key gives it, and it is never the one under the mouse.
  let place = 0;
  /** @param {number} index @param {HTMLElement[]} rows */
  const select = (index, rows) => {
    place = Math.max(0, Math.min(index, rows.length - 1));
    const row = rows[place];
    if (!row) return;
    row.tabIndex = -1;
    row.focus();
  };
  const rowsNow = () => /** @type {HTMLElement[]} */ ([...root.querySelectorAll("tbody tr")]);
  root.addEventListener("click", ({ target }) => {
    if (!(target instanceof Element) || target.closest("button")) return;
    const rows = rowsNow();
    const index = rows.findIndex((row) => row.contains(target));
    if (index >= 0) select(index, rows);
  });
  root.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const rows = rowsNow();
    const now = rows.findIndex((row) => row.matches(":focus-within"));
    select(now < 0 ? place : now + step, rows);
  });
  const chosen = ":focus-within > .act > .row-acts:not([hidden]) > button:last-child";
  onKey("x", "cancel the order of the selected row (click it, or ↑ ↓)", () => {
    const cancel = /** @type {HTMLButtonElement | null} */ (root.querySelector(chosen));
    if (!cancel || cancel.disabled) return;
    place = rowsNow().findIndex((row) => row.contains(cancel));
    // Nothing is selected any more: the next press must not cancel what has come into this place.
    root.focus({ preventScroll: true });
    cancel.click();
  });
  onKey("X", "cancel all orders (asks)", () => viewOnly(store) || cancelAll(app), "Shift+X");
  return {
    count: () => String(store.rows("orders").filter(working).length || ""),
    actions: [all],
    watch: ["orders"],
    columns: show.choice,
  };
}

/** @param {Row} o */
const partly = (o) => o.amount && cmp(o.filled ?? "0", "0") > 0 && cmp(o.filled, o.amount) < 0;

/** @param {Row} o */
function statusText(o) {
  const asked =
    o.cancel_state && o.cancel_state !== "none"
      ? `, cancel ${o.cancel_state}`
      : o.amend_state && o.amend_state !== "none"
        ? `, amend ${o.amend_state}`
        : "";
  const why = o.status === "rejected" && (o.reason || o.code) ? `: ${o.reason || o.code}` : "";
  return o.status === "unknown" ? `unknown, being looked up${asked}` : `${words(o.status)}${asked}${why}`;
}

/** @param {Row} first @param {App} app */
function acts(first, app) {
  const id = first.id;
  const name = `${first.side} ${first.symbol}, order ${first.client_order_id}`;
  const row = () => app.store.channel("orders")?.rows?.get(id) ?? first;
  const said = h("span", { class: "row-error", role: "alert" });
  const cancel = h(
    "button",
    { type: "button", class: "small-button", "aria-keyshortcuts": "x", "aria-label": `Cancel ${name}` },
    "Cancel",
  );
  cancel.addEventListener("click", async () => {
    cancel.disabled = true;
    text(said, "");
    const reply = await app.commands.call("order.cancel", { order_id: id });
    cancel.disabled = false;
    if (!reply.ok) text(said, told(reply.error));
  });
  const amend = h(
    "button",
    {
      type: "button",
      class: "small-button",
      "aria-label": `Amend ${name}`,
      onclick: () => amendDialog(app, row()),
    },
    "Amend",
  );
  return h("span", { class: "row-acts" }, said, amend, cancel);
}

/** What is done to orders by a dialog. */
const doing = later(() => import("./order-acts.js"));

/** @param {App} app @param {Row} order */
const amendDialog = (app, order) => doing((acts) => acts.amend(app, order));

/** @param {App} app */
const cancelAll = (app) => doing((acts) => acts.cancelAll(app));
