// What panels say about orders: names of kinds, sides and states.
import { attr } from "./dom.js";
import { NONE, onStep, short, words } from "./format.js";

export const ENDED = new Set(["filled", "canceled", "rejected", "expired"]);

/** @param {Row} order */
export const working = (order) => !ENDED.has(order.status);

/** @param {string} side */
export const sideText = (side) => ({ buy: "▲ buy", sell: "▼ sell", long: "▲ long", short: "▼ short" })[side] ?? side;

/** @param {string} side */
export const sideTone = (side) => (side === "buy" || side === "long" ? "up" : "down");

/** @param {Row} order */
export const kind = (order) =>
  order.role && order.role !== "entry" ? `${words(order.type)}, ${words(order.role)}` : words(order.type);

/** The market of a symbol from the channel `markets`. @param {Store} store @param {string} symbol */
export const marketOf = (store, symbol) =>
  /** @type {Market | undefined} */ (store.channel("markets")?.rows?.get(symbol));

/** Whether its contracts stand for another amount than one of the base: an inverse one is an amount of the quote. @param {Market} [m] */
const counted = (m) => Number(m?.contract_size ?? 1) !== 1 || (m?.settle ?? m?.quote) !== m?.quote;

/** What its amounts count. @param {Market} [m] */
export const unitOf = (m) => `${m?.base ?? ""}${counted(m) ? " contracts" : ""}`;

/**
 * What was traded in a day. Of such contracts exchanges tell their number or the base's amount and do not say which: then the
 * quote currency's, and where that may be another as well, a number alone.
 * @param {Row | undefined} ticker @param {Market} [m]
 */
export function traded(ticker, m) {
  const guess = counted(m) && /^(ws|poll)$/.test(ticker?.source);
  const cost = guess && (m?.settle ?? m?.quote) === m?.quote && ticker?.quote_volume;
  const volume = cost || ticker?.volume;
  if (!volume) return NONE;
  return `${short(String(volume).split(".", 1)[0])} ${cost ? m?.quote : guess ? "" : unitOf(m)}`.trim();
}

/** Channels of the account: late together, with its venue and while it was not compared with what that has. */
export const ACCOUNT = ["orders", "fills", "positions", "balances", "risk", "portfolio"];

/** The first of them that is late. @param {Store} store */
export const doubt = (store) => ACCOUNT.map((name) => store.channel(name)).find((entry) => entry?.stale);

/** What a table of the account says while it may be old, or "". @param {Store} store @param {Row[]} rows */
export const unsure = (store, rows) =>
  doubt(store) ? `${rows.length > 0 ? "As last known" : "Not known"}: the venue has not confirmed it.` : "";

/**
 * Why this token may not do something, or "".
 * @param {Store} store @param {string} [act] @param {string[]} [scopes] any of which allows it
 */
export function viewOnly(store, act = "trade", scopes = ["trade"]) {
  /** @type {string[] | null | undefined} */
  const held = store.get("welcome")?.scopes;
  const barred = held && !["admin", ...scopes].some((scope) => held.includes(scope));
  return barred ? `View only: your role may not ${act}.` : "";
}

/** Disables a button with its reason; touches it only when the reason changes. @param {HTMLButtonElement} button @param {string} why */
export function lock(button, why) {
  if ((button.dataset.why ?? "") === why) return;
  button.dataset.why = why;
  button.disabled = why !== "";
  attr(button, "title", why || null);
}

/** The price that matters for an order: limit, trigger, or how far it trails. @param {Row} order @param {Market} [market] */
export function priceText(order, market) {
  const tick = market?.price_tick;
  const trigger = order.stop_price ? `at ${onStep(order.stop_price, tick)}` : "";
  const trail = order.trailing_amount
    ? `trails ${onStep(order.trailing_amount, tick)}`
    : order.trailing_rate
      ? `trails ${(Number(order.trailing_rate) * 100).toFixed(2)} %`
      : "";
  const limit = order.price ? onStep(order.price, tick) : "";
  if (trail) return order.stop_price ? `${onStep(order.stop_price, tick)}, ${trail}` : trail;
  if (trigger && limit) return `${limit} ${trigger}`;
  return limit || trigger || "market";
}
