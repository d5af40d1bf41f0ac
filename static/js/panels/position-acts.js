// What is done to a position: protect it with a stop and a target, close it whole or in part, close all. Loaded on the first use.
import { Intent, makeId, told } from "../commands.js";
import { add, cmp, floorTo, isDecimal, trim } from "../decimal.js";
import { dialog, facts, failure } from "../dialog.js";
import { h } from "../dom.js";
import { money, onStep, signed } from "../format.js";
import { number } from "../number-field.js";
import { marketOf, unitOf } from "../trade.js";
import { guardOf, price } from "./positions.js";

/** @typedef {import("./positions.js").Guard} Guard */

const GUARDS = /** @type {const} */ (["stop_loss", "take_profit"]);
const TITLES = { stop_loss: "Stop loss", take_profit: "Take profit" };
/** Entries of a position that are looked through. */
const MOST = 200;

/**
 * Sets, moves or takes away the stop and the target of a position.
 * @param {App} app @param {string} id @param {Guard} field the one that is looked at first
 */
export async function protect(app, id, field) {
  const position = app.store.channel("positions")?.rows?.get(id);
  if (!position) return;
  const market = marketOf(app.store, position.symbol);
  const before = Object.fromEntries(
    GUARDS.map((name) => [name, position[name] ?? guardOf(app.store, position, name)?.stop_price ?? ""]),
  );
  const fields = GUARDS.map((name) => number(`${TITLES[name]}, ${market?.quote ?? ""}`, { name, value: before[name] }));
  /** What differs from what is. */
  const changed = () =>
    Object.fromEntries(fields.flatMap(({ input: { name }, value }) => (value === before[name] ? [] : [[name, value]])));
  /** @type {Set<string>} */
  const tried = new Set();
  const answered = dialog({
    title: `Stop and target for ${position.side} ${position.symbol}`,
    body: [
      facts([
        ["Amount", `${onStep(position.amount, market?.amount_step)} ${unitOf(market)}`],
        ["Entry", price(position.entry_price, market?.price_tick)],
        ["Mark", price(position.mark_price, market?.price_tick)],
      ]),
      ...fields.map(({ root }) => root),
      h(
        "p",
        { class: "dim" },
        "Leave a field empty for none. A stop and a target cancel each other: one fills, the other goes.",
      ),
    ],
    yes: "Set",
    focus: "field",
    ready: () => Object.keys(changed()).length > 0 && fields.every(({ value }) => value === "" || isDecimal(value)),
    act: () => guard(app, position, changed(), tried),
  });
  fields.find(({ input }) => input.name === field)?.input.focus();
  await answered;
}

/**
 * @param {App} app @param {Row} position @param {Record<string, string>} wanted changed prices, "" for none
 * @param {Set<string>} tried ids sent from this dialog @returns {Promise<string>} what went wrong, or ""
 */
async function guard(app, position, wanted, tried) {
  const { store, commands } = app;
  const step = marketOf(store, position.symbol)?.amount_step;
  // A fee in the base leaves a rest that is off the grid.
  const whole = step ? floorTo(position.amount, step) : position.amount;
  /** @type {Record<string, string>} */
  const fresh = {};
  for (const name of GUARDS) {
    const target = wanted[name];
    if (target === undefined) continue;
    const legs = guardsOf(app, position, name);
    if (legs.length === 0) fresh[name] = target;
    for (const leg of legs) {
      const reply = target
        ? await commands.call("order.amend", { order_id: leg.id, [leg.stop_price ? "stop_price" : "price"]: target })
        : await commands.call("order.cancel", { order_id: leg.id });
      if (!reply.ok) return told(reply.error);
    }
  }
  const names = Object.keys(fresh);
  if (names.length === 0) return "";
  // The engine holds both as one group where they belong to the orders that opened the position.
  const entries = await entriesOf(app, position, whole);
  if (entries) {
    for (const entry of entries) {
      const reply = await commands.call("order.amend", { order_id: entry.id, ...fresh });
      if (!reply.ok) return told(reply.error);
    }
    return "";
  }
  const other = GUARDS.find((name) => !(name in fresh) && guardsOf(app, position, name).length > 0);
  if (names.length > 1 || other)
    return "A stop and a target that cancel each other belong to the orders that opened the position, and those are not known any more. Give one of them; it becomes an order of its own.";
  const name = /** @type {Guard} */ (names[0]);
  const args = {
    symbol: position.symbol,
    side: position.side === "long" ? /** @type {const} */ ("sell") : /** @type {const} */ ("buy"),
    type: name === "stop_loss" ? /** @type {const} */ ("stop") : /** @type {const} */ ("take_profit"),
    amount: trim(whole),
    stop_price: fresh[name],
    reduce_only: true,
    position_type: position.position_type,
  };
  return once(position.id, args, tried, (client_order_id) =>
    commands.confirmed(
      "order.place",
      { ...args, client_order_id, mode: store.get("welcome")?.mode },
      `${TITLES[name]}?`,
    ),
  );
}

/** By position. The dialog may be left before the answer: opened again, it must not make a second order. */
const sent = /** @type {Map<string, { intent: Intent, unsure: Set<string>, busy: boolean }>} */ (new Map());

/**
 * Sends one order for a position, under the same id until its outcome is known.
 * @param {string} position @param {Row} args @param {Set<string>} tried ids sent from this dialog
 * @param {(id: string) => Promise<Reply>} send @returns {Promise<string>} what went wrong, or ""
 */
async function once(position, args, tried, send) {
  const mine = sent.get(position) ?? { intent: new Intent(makeId), unsure: new Set(), busy: false };
  sent.set(position, mine);
  if (mine.busy) return "What was sent for this position before is not answered yet. Nothing was sent now.";
  const id = mine.intent.id(args);
  mine.busy = true;
  const reply = await send(id).finally(() => {
    mine.busy = false;
  });
  const again = tried.has(id);
  tried.add(id);
  if (reply.ok) {
    mine.intent.settle("done", id);
    mine.unsure.delete(id);
    // Of another dialog, perhaps long ago: what this one asked for was not done.
    return reply.result?.duplicate && !again ? "It was sent before and had arrived. Nothing was sent now." : "";
  }
  if (reply.error?.outcome === "unknown") mine.unsure.add(id);
  // Refused this time; what was sent under the id before may still arrive.
  else if (!mine.unsure.has(id)) mine.intent.settle("not_done", id);
  return reply.error?.code === "confirm_required" ? "" : told(reply.error);
}

/** All legs of a position, or the order of its own. @param {App} app @param {Row} position @param {Guard} name */
function guardsOf(app, position, name) {
  const legs = app.store
    .rows("orders")
    .filter((o) => o.symbol === position.symbol && o.role === name && o.status === "open");
  const own = guardOf(app.store, position, name);
  return legs.length > 0 ? legs : own ? [own] : [];
}

/**
 * The newest orders that together brought in what is held; null where they are not known any more.
 * @param {App} app @param {Row} position @param {string} whole @returns {Promise<Row[] | null>}
 */
async function entriesOf(app, position, whole) {
  const { symbol } = position;
  const reply = await app.commands.call("order.list", { symbol, status: "all", limit: MOST });
  const side = position.side === "long" ? "buy" : "sell";
  /** @type {Row[]} */
  const entries = (reply.result?.orders ?? [])
    .filter((/** @type {Row} */ o) => o.role === "entry" && !o.reduce_only && o.side === side && cmp(o.filled, "0") > 0)
    .sort((/** @type {Row} */ a, /** @type {Row} */ b) => b.created_ts - a.created_ts);
  let sum = "0";
  /** @type {Row[]} */
  const found = [];
  for (const entry of entries) {
    found.push(entry);
    sum = add(sum, entry.filled);
    if (cmp(sum, whole) >= 0) return found;
  }
  return null;
}

/** @param {App} app @param {string} id */
export async function close(app, id) {
  const position = app.store.channel("positions")?.rows?.get(id);
  if (!position) return;
  const market = marketOf(app.store, position.symbol);
  /** @type {Set<string>} */
  const tried = new Set();
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
  const limit = number("Price, for a limit", { name: "price" });
  await dialog({
    title: `Close ${position.side} ${position.symbol}?`,
    body: [
      facts([
        ["Amount", `${onStep(position.amount, market?.amount_step)} ${unitOf(market)}`],
        ["Value", `${money(position.notional)} ${market?.quote ?? ""}`],
        ["P/L now", signed(position.unrealized_pnl)],
      ]),
      h("label", { class: "field" }, h("span", {}, "Part"), part),
      h("label", { class: "field" }, h("span", {}, "Type"), type),
      limit.root,
    ],
    yes: "Close position",
    tone: "danger",
    ready: () => type.value === "market" || isDecimal(limit.value),
    act: () => {
      /** @type {Row} */
      const args = { position_id: id, type: type.value, fraction: Number(part.value) };
      if (type.value === "limit") args.price = limit.value;
      return once(id, args, tried, (client_order_id) =>
        app.commands.confirmed("position.close", { ...args, client_order_id }, "Close this position?"),
      );
    },
  });
}

/** @param {App} app @param {Row[]} held */
export async function closeAll(app, held) {
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
    ready: () => held.length > 0,
  });
  if (!answer) return;
  const reply = await app.commands.confirmed("position.close_all", {}, "Close all positions?");
  const failed = reply.result?.failed ?? [];
  if ((reply.ok && failed.length === 0) || reply.error?.code === "confirm_required") return;
  const why = reply.ok ? `${failed.length} positions could not be closed.` : told(reply.error);
  await failure("Not everything was closed", why);
}
