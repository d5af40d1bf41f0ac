// The order ticket: one submit path, one client order id per intention, the server's preview before, its words after.
import { Intent, makeId, told } from "../commands.js";
import { add, cmp, decimals, div, floorTo, isDecimal, mul, NUMBER, reading, round, sub, trim } from "../decimal.js";
import { attr, cls, h, text } from "../dom.js";
import { grouped, money, onStep, percent, stamp, words } from "../format.js";
import { onKey } from "../keys.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { marketOf, unitOf, viewOnly, working } from "../trade.js";
import { panelHead } from "./head.js";
import { explain, field, preview as previewBox } from "./ticket-parts.js";

const TYPES = ["limit", "market", "stop", "stop_limit", "take_profit", "take_profit_limit", "trailing_stop"];
const PRICED = new Set(["limit", "stop_limit", "take_profit_limit"]);
const TRIGGERED = new Set(["stop", "stop_limit", "take_profit", "take_profit_limit"]);
/** After an answer the same gesture may still be under way (a double click): no new order so soon. */
const REST = 400;
/** The server refuses an order that reaches it so late [ms]. */
const LIFE = 10_000;
/** What clocks may differ in; and how often is asked for an order, at most and at least [ms]. */
const SECOND = 1000;
const SELDOM = 30_000;
/** Nothing came of an order that ended so. */
const NOTHING = new Set(["rejected", "canceled", "expired"]);

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store, commands } = app;
  const intent = new Intent(makeId);
  let side = "buy";
  /** The id of the order that is being sent. */
  let busy = "";
  let rested = 0;
  /** The market that the fields are of, on the screen: another choice is one frame ahead of it. */
  let symbol = "";
  /** @typedef {{ id: string, args: Row, until: number, next: number, pause: number, command?: string }} Doubt */
  /** By id, orders whose outcome is not known, and until when they may arrive. @type {Map<string, Doubt>} */
  const doubts = new Map();
  /** The order that the refusal tells of. */
  let about = "";
  /** The order that the outcome line tells of, until it has ended; `as` is said. @type {{ id: string, args: Row, as?: string, seen?: boolean } | null} */
  let followed = null;

  panelHead(root, "Order", app, "view:ticker");
  const buy = h(
    "button",
    { type: "button", class: "side-button buy", "aria-keyshortcuts": "b", onclick: () => turn("buy") },
    "Buy",
    h("kbd", { "aria-hidden": "true" }, "b"),
  );
  const sell = h(
    "button",
    { type: "button", class: "side-button sell", "aria-keyshortcuts": "s", onclick: () => turn("sell") },
    "Sell",
    h("kbd", { "aria-hidden": "true" }, "s"),
  );
  const type = h("select", { id: "ticket-type" }, ...TYPES.map((t) => h("option", { value: t }, words(t))));
  const tif = h(
    "select",
    { id: "ticket-tif" },
    ...["GTC", "IOC", "FOK", "GTD"].map((t) => h("option", { value: t }, t)),
  );
  const price = field("price", "Price");
  const stop = field("stop_price", "Trigger price");
  const trailBy = h(
    "select",
    { class: "unit-choice", "aria-label": "Trails by an amount or a share" },
    h("option", { value: "amount" }, ""),
    h("option", { value: "rate" }, "%"),
  );
  const trail = field("trailing_amount", "Trails by", "text", trailBy);
  const until = field("good_till_ts", "Good till", "datetime-local");
  const amountBy = h(
    "select",
    { class: "unit-choice", "aria-label": "Amount or cost" },
    h("option", { value: "amount" }, ""),
    h("option", { value: "cost" }, ""),
  );
  const amount = field("amount", "Amount", "text", amountBy);
  const leverage = field("leverage", "Leverage");
  const loss = field("stop_loss", "Stop loss");
  const profit = field("take_profit", "Take profit");
  const fields = [price, stop, trail, until, amount, leverage, loss, profit];
  const post = h("input", { type: "checkbox", id: "ticket-post" });
  const reduce = h("input", { type: "checkbox", id: "ticket-reduce" });
  const parts = ["10", "25", "50", "100"].map((p) =>
    h("button", { type: "button", class: "chip", onclick: () => void portion(p) }, p === "100" ? "Max" : `${p} %`),
  );
  const shown = previewBox();
  const submit = h("button", { type: "submit", class: "submit buy" }, "Buy");
  const outcome = h("p", { class: "outcome", role: "status" });
  const refusal = h("p", { class: "outcome bad", role: "alert" });
  const reason = h("p", { class: "outcome dim" });
  const bracket = h(
    "details",
    { class: "bracket" },
    h("summary", {}, "Stop loss and take profit"),
    h("div", { class: "pair" }, loss.root, profit.root),
  );
  const form = h(
    "form",
    { class: "ticket", novalidate: true, autocomplete: "off" },
    h("div", { class: "sides", role: "group", "aria-label": "Side" }, buy, sell),
    h(
      "div",
      { class: "pair" },
      h("label", { class: "field" }, h("span", {}, "Type"), type),
      h("label", { class: "field" }, h("span", {}, "Time in force"), tif),
    ),
    until.root,
    stop.root,
    trail.root,
    price.root,
    amount.root,
    h("div", { class: "chips fill", role: "group", "aria-label": "Part of the largest amount allowed" }, ...parts),
    leverage.root,
    h(
      "div",
      { class: "checks" },
      h("label", { class: "check" }, post, "Post only"),
      h("label", { class: "check" }, reduce, "Reduce only"),
    ),
    bracket,
    shown.root,
    submit,
    shown.rules,
    reason,
    outcome,
    refusal,
  );
  root.append(form);

  const market = () => marketOf(store, symbol);

  /** @param {string} to */
  function turn(to) {
    side = to;
    changed();
  }

  /** The ticket's content as arguments; null with a marked field when something is missing. @param {boolean} mark */
  function content(mark) {
    /** @type {Row} */
    const args = { symbol, side, type: type.value };
    /** @type {[ReturnType<typeof field>, string][]} */
    const needed = [[amount, byCost() ? "cost" : "amount"]];
    if (PRICED.has(type.value)) needed.push([price, "price"]);
    if (TRIGGERED.has(type.value)) needed.push([stop, "stop_price"]);
    if (type.value === "trailing_stop") needed.push([trail, `trailing_${trailBy.value}`]);
    const kind = market()?.type;
    const contract = kind && kind !== "spot";
    const optional = /** @type {[ReturnType<typeof field>, string][]} */ ([
      [loss, "stop_loss"],
      [profit, "take_profit"],
      ...(contract ? [[leverage, "leverage"]] : []),
    ]);
    let good = Boolean(symbol);
    for (const [from, name] of [...needed, ...optional]) {
      const value = from.value;
      if (value === "" && optional.some(([f]) => f === from)) continue;
      const why =
        value === "" ? "needed" : isDecimal(value) && cmp(value, "0") > 0 ? "" : (reading(value).why ?? NUMBER);
      if (mark) from.error(why);
      if (why) good = false;
      else args[name] = value;
    }
    if (args.trailing_rate) args.trailing_rate = trim(div(args.trailing_rate, "100", 18));
    if (args.cost && type.value !== "market" && good) {
      // Only market buys are by cost at the server: others buy what the cost makes at their price.
      const m = market();
      const each = mul(args.price, m?.contract_size ?? "1");
      const bought = m ? floorTo(div(args.cost, each, 18), m.amount_step) : "0";
      delete args.cost;
      args.amount = trim(bought);
      if (cmp(bought, "0") <= 0) good = false;
      if (mark && !good) amount.error("less than the smallest step at this price");
    }
    if (type.value === "market" ? /IOC|FOK/.test(tif.value) : tif.value !== "GTC") args.time_in_force = tif.value;
    if (args.time_in_force === "GTD") {
      const till = Date.parse(until.value + (settings.utc ? "Z" : ""));
      if (mark) until.error(Number.isFinite(till) ? "" : "needed");
      if (Number.isFinite(till)) args.good_till_ts = till;
      else good = false;
    }
    if (post.checked && PRICED.has(type.value)) args.post_only = true;
    if (reduce.checked) args.reduce_only = true;
    if (contract) args.position_type = kind;
    return good ? args : null;
  }

  /** Whether the amount is a cost: where the server takes one, or a price makes one. */
  const byCost = () => amountBy.value === "cost" && costs();
  const costs = () => PRICED.has(type.value) || (type.value === "market" && side === "buy");

  /** Why nothing may be sent now, or "". */
  function barred() {
    const { state } = app.link.state;
    if (state !== "live" && state !== "late") return "Order entry is off: no connection.";
    const rights = viewOnly(store);
    if (rights) return rights;
    if (app.tradingState() === "halted") return "Trading is halted.";
    /** @type {Row | undefined} */
    const venue = store
      .value("status")
      ?.venues?.find((/** @type {Row} */ v) => v.status !== "ok" && v.id === app.venue());
    if (venue?.status === "maintenance")
      return `${venue.id} is under maintenance${venue.eta ? ` until about ${stamp(venue.eta, settings.utc)}` : ""}.`;
    if (venue?.status === "down") return `${venue.id} does not answer.`;
    if (app.feed().stale && type.value === "market") return "The feed is late: no market orders.";
    return "";
  }

  // --- what the server says before ---
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let asked = 0;
  let askedAt = 0;
  /** @param {number} [wait] */
  function ask(wait = 200) {
    clearTimeout(timer);
    timer = undefined;
    // What is still to be answered was another content.
    const mine = ++asked;
    const args = content(false);
    if (!args) {
      store.set("failed", []);
      return shown.clear();
    }
    timer = setTimeout(async () => {
      timer = undefined;
      askedAt = Date.now();
      if (app.link.state.state !== "live" || busy) return;
      const reply = await commands.call("order.preview", args);
      if (mine !== asked || busy) return;
      // What an order was refused for stands until the ticket is changed; a forecast does not take it back.
      if (!refusal.textContent) for (const f of fields) f.error("");
      store.set("failed", reply.result?.failed ?? []);
      if (reply.ok) shown.show(reply.result, market());
      else {
        shown.refused(told(reply.error));
        mark(reply);
      }
    }, wait);
  }

  /** The account moved under a preview that is shown: ask again, but never more often than each 3 s, nor instead. */
  function again() {
    if (timer === undefined && Date.now() - askedAt > 3000 && content(false)) ask(0);
  }

  let edits = 0;
  function changed() {
    edits++;
    for (const f of fields) f.error((f !== until && reading(f.value).why) || "");
    text(refusal, "");
    paint();
    ask();
  }

  /** @param {string} share percent of the largest amount that would pass */
  async function portion(share) {
    const now = market();
    if (!now) return;
    const least = now.min_amount ?? now.amount_step;
    const { cost, ...asked } = content(false) ?? {};
    const args = {
      ...(asked.symbol
        ? asked
        : {
            symbol,
            side,
            type: type.value,
            ...(PRICED.has(type.value) ? { price: price.value } : {}),
            ...(TRIGGERED.has(type.value) ? { stop_price: stop.value } : {}),
            ...(type.value === "trailing_stop" ? { [`trailing_${trailBy.value}`]: trail.value } : {}),
          }),
      amount: least,
    };
    if (PRICED.has(type.value) && !isDecimal(price.value)) return price.error("needed for this");
    const mine = ++edits;
    const reply = await commands.call("order.preview", args);
    // Another market, side or price: another amount.
    if (mine !== edits || symbol !== store.get("symbol")) return;
    const most = reply.result?.max_allowed_amount;
    if (!reply.ok || most === undefined || most === null)
      return shown.refused(told(reply.error) || "the server gave no largest amount");
    const part = floorTo(div(mul(most, share), "100", 18), now.amount_step);
    amountBy.value = "amount";
    amount.set(round(part, decimals(now.amount_step)));
    changed();
  }

  // --- sending ---
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void place();
  });
  form.addEventListener("keydown", (event) => {
    if (
      event.key !== "Enter" ||
      event.target instanceof HTMLButtonElement ||
      (event.target instanceof HTMLElement && event.target.tagName === "SUMMARY")
    ) {
      if (event.key === "Enter" && event.repeat) event.preventDefault();
      return;
    }
    event.preventDefault();
    if (!event.repeat) void place();
  });

  /** The look at an order before it is sent; loaded where it is wanted. What does not come must not send. @param {Row} args */
  async function reviewed(args) {
    if ((store.get("welcome")?.mode === "live" ? settings.reviewLive : settings.reviewPaper) === "never") return true;
    try {
      const late = await import("../review.js");
      return await late.reviewed(args, app);
    } catch {
      text(refusal, "The review could not be loaded. Nothing was sent; try again.");
      return false;
    }
  }

  let reviewing = false;
  async function place() {
    if (busy || reviewing || Date.now() < rested) return;
    const args = content(true);
    if (!args || barred()) return void paint();
    // Before the review: what is resolved meanwhile is this order.
    const id = intent.id(args);
    const { mode } = store.get("welcome") ?? {};
    reviewing = true;
    const sure = await reviewed(args);
    reviewing = false;
    if (!sure || busy || barred()) return void paint();
    busy = id;
    followed = null;
    asked++;
    text(refusal, "");
    text(outcome, "Sending…");
    paint();
    const expires = app.link.state.offset === undefined ? {} : { expires_at: Math.round(app.serverNow()) + LIFE };
    const reply = await commands.call("order.place", {
      ...args,
      client_order_id: id,
      mode,
      ...expires,
    });
    busy = "";
    answered(args, id, reply, expires.expires_at);
    ask(); // not done while it was sent
    rest();
    // On a low screen the ticket scrolls: what came of it must be seen.
    (refusal.textContent ? refusal : outcome).scrollIntoView({ block: "nearest" });
  }

  function rest() {
    rested = Date.now() + REST;
    setTimeout(paint, REST);
    paint(true); // looking ready, it would swallow a press
  }

  /** @param {Row} args @param {string} id @param {Reply} reply @param {number} [expires] */
  function answered(args, id, reply, expires = Number.POSITIVE_INFINITY) {
    text(outcome, "");
    about = id;
    // What was typed since stays; what is said is not of it.
    const same = unchanged(args);
    if (reply.ok) {
      intent.settle("done", id);
      doubts.delete(id);
      followed = { id, args };
      text(outcome, sentence(args, reply.result));
      follow();
      if (same) amount.set("");
      return;
    }
    if (reply.error?.outcome === "unknown") {
      const { command } = reply.error.details ?? {};
      const known = doubts.get(id)?.until ?? 0;
      doubts.set(id, { id, args, until: Math.max(expires + SECOND, known), next: 0, pause: SECOND, command });
      text(
        refusal,
        `Outcome unknown, being looked up: ${nameOf(args)}. Sending the same ticket again is safe: it has the same id. (${told(reply.error)})`,
      );
      return;
    }
    // Refused this time; what was sent under the id before may still arrive.
    if (!doubts.has(id)) intent.settle("not_done", id);
    store.set("refusal", reply.error);
    if (!same) return text(refusal, `Refused: ${nameOf(args)}. ${told(reply.error)}`);
    explain(refusal, reply.error);
    mark(reply);
  }

  /** The venue accepts first and fills later: the outcome line goes on with the order's row. */
  function follow() {
    if (!followed) return;
    const row = rowOf(followed.id);
    if (!row) {
      if (!followed.seen) return;
      // It ended while there was no link, and so long ago that its row is gone.
      text(outcome, `Not among the orders any more: ${nameOf(followed.args)}.`);
      followed = null;
      return;
    }
    followed.seen = true;
    const said = row.status === followed.as && cmp(row.filled ?? "0", "0") === 0;
    if (!said) text(outcome, sentence(followed.args, row));
    if (!working(row)) followed = null;
  }

  /** @param {Reply} reply */
  function mark(reply) {
    for (const { field: name, message } of reply.error?.details?.fields ?? []) {
      const own = name === "cost" ? "amount" : /^trailing_/.test(name) ? "trailing_amount" : name;
      fields.find((f) => f.name === own)?.error(message);
    }
    const near = reply.error?.details?.nearest;
    if (Array.isArray(near)) text(reason, `Nearest on the grid: ${near.join(" or ")}`);
  }

  /** Whether it is still what was sent. @param {Row} args */
  const unchanged = (args) => JSON.stringify(content(false)) === JSON.stringify(args);

  /** @param {Row} args */
  function nameOf(args) {
    const m = marketOf(store, args.symbol);
    return args.amount
      ? `${args.side} ${onStep(args.amount, m?.amount_step)} ${unitOf(m)}`
      : `${args.side} ${m?.base ?? ""} for ${money(args.cost)} ${m?.quote ?? ""}`;
  }

  /** @param {Row} args @param {Row} result */
  function sentence(args, result) {
    const m = marketOf(store, args.symbol);
    const filled = result.filled && cmp(result.filled, "0") > 0;
    const at = result.average ? ` at ${money(result.average, decimals(m?.price_tick ?? "0.01"))}` : "";
    const again = result.duplicate ? " (the same order as before: nothing was sent twice)" : "";
    if (result.status === "filled") return `Filled: ${nameOf(args)}${at}${again}`;
    const state = words(result.status);
    const part = filled ? `, ${onStep(result.filled, m?.amount_step)} filled` : "";
    return `${state.charAt(0).toUpperCase()}${state.slice(1)}: ${nameOf(args)}${part}${at}${result.reason ? `, ${result.reason}` : ""}${again}`;
  }

  // --- an unknown outcome ends by evidence: the notice, the order's row, or a look-up after a reconnect ---
  commands.onResolved((data) => {
    for (const mine of [...doubts.values()])
      if (data.client_order_id === mine.id || (data.command && data.command === mine.command)) resolved(mine, data);
  });
  /** @param {Doubt} mine @param {Row} order */
  function resolved(mine, order) {
    // Sent once more, and that is not answered yet: found by the next look-up.
    if (busy === mine.id) {
      mine.command = undefined;
      return;
    }
    doubts.delete(mine.id);
    intent.settle("done", mine.id);
    if (busy) return; // both lines are another order's; this one's row is among the orders
    const now = rowOf(mine.id) ?? order;
    const filled = cmp(now.filled ?? "0", "0") > 0;
    const same = unchanged(mine.args);
    if (about === mine.id) text(refusal, "");
    text(
      outcome,
      same && !filled ? `Resolved: the order is ${words(now.status)}.` : `Resolved. ${sentence(mine.args, now)}`,
    );
    followed = working(now) ? { id: mine.id, args: mine.args, as: now.status } : null;
    // The same ticket, sent once more, would be a second order.
    if (!same || (NOTHING.has(now.status) && !filled)) return;
    amount.set("");
    ask();
    rest();
  }
  let asking = false;
  const rowOf = (/** @type {string} */ id) => store.rows("orders").find((o) => o.client_order_id === id);
  const settled = (/** @type {Row} */ o) => o.status !== "unknown" && o.status !== "pending";
  async function lookUp() {
    if (asking) return;
    asking = true;
    for (const mine of [...doubts.values()]) await lookFor(mine);
    asking = false;
  }
  /** @param {Doubt} mine */
  async function lookFor(mine) {
    if (busy === mine.id || app.link.state.state !== "live") return;
    const row = rowOf(mine.id);
    if (row && settled(row)) return resolved(mine, row);
    if (row || mine.command || Date.now() < mine.next) return; // the server is at it and will say
    const reply = await commands.call("order.get", { client_order_id: mine.id });
    if (doubts.get(mine.id) !== mine || busy === mine.id) return;
    if (reply.ok && settled(reply.result)) return resolved(mine, reply.result);
    if (reply.error?.code === "no_answer") return; // the link's fault
    mine.next = Date.now() + mine.pause;
    const found = reply.error?.code !== "not_found";
    // Without the server's clock, or refused: no end, but ever more seldom.
    if (found || mine.until === Number.POSITIVE_INFINITY) mine.pause = Math.min(2 * mine.pause, SELDOM);
    if (found || app.serverNow() <= mine.until) return; // held up, it may still arrive
    doubts.delete(mine.id);
    if (busy || about !== mine.id) return; // it is not what the lines tell of
    text(outcome, "");
    text(
      refusal,
      `The order did not reach the server: ${nameOf(mine.args)}. The same ticket, sent again, uses the same id.`,
    );
  }
  store.watch(["link", "orders", "beat"], () => void lookUp());
  store.watch(["orders"], follow);

  // --- drawing ---
  const paint = painter(root, 10, () => {
    const m = market();
    const kind = type.value;
    attr(buy, "aria-pressed", String(side === "buy"));
    attr(sell, "aria-pressed", String(side === "sell"));
    price.root.hidden = !PRICED.has(kind);
    stop.root.hidden = !TRIGGERED.has(kind);
    until.unit(settings.utc ? "UTC" : "local");
    trail.root.hidden = kind !== "trailing_stop";
    until.root.hidden = tif.value !== "GTD" || kind === "market";
    leverage.root.hidden = !m || m.type === "spot";
    post.disabled = !PRICED.has(kind);
    const currency = m?.settle ?? m?.quote ?? "";
    for (const f of [price, stop, loss, profit]) f.unit(currency);
    choices(amountBy, [unitOf(m), currency]);
    amountBy.disabled = !costs();
    if (!costs()) amountBy.value = "amount";
    choices(trailBy, [currency, "%"]);
    leverage.unit("×");
    const why = barred();
    const ready = content(false);
    const size = ready?.amount ?? (byCost() ? undefined : amount.value);
    const what = ready?.cost
      ? ` ${m?.base ?? ""} for ${grouped(ready.cost)} ${currency}`
      : size && isDecimal(size)
        ? ` ${onStep(size, m?.amount_step)} ${unitOf(m)}`
        : ` ${symbol}`;
    const at =
      kind === "limit" && isDecimal(price.value)
        ? ` at ${onStep(price.value, m?.price_tick)}`
        : kind === "limit"
          ? ""
          : ` (${words(kind)})`;
    text(submit, busy ? "Sending…" : `${side === "buy" ? "Buy" : "Sell"}${what}${at}`);
    cls(submit, `submit ${side}`);
    submit.disabled = busy !== "" || Date.now() < rested || why !== "" || ready === null;
    if (why) text(reason, why);
    else text(reason, warning());
  });

  /** Two slips worth a word: a limit far from the market, an amount large for the book. */
  function warning() {
    const book = store.channel(store.get("view:book"))?.book;
    const last = store.value(store.get("view:ticker"))?.last;
    if (PRICED.has(type.value) && isDecimal(price.value) && last && cmp(last, "0") > 0) {
      const gap = div(sub(price.value, last), last, 6);
      const wide = cmp(gap, "0.02") > 0 || cmp(gap, "-0.02") < 0;
      if (wide) return `The price is ${percent(gap, { plus: true })} from the last trade.`;
    }
    const other = side === "buy" ? book?.asks : book?.bids;
    const size = content(false)?.amount;
    if (other && size) {
      const near = other.slice(0, 5).reduce((sum, [, a]) => add(sum, a), "0");
      if (cmp(mul(near, "0.1"), size) < 0) return "The amount is more than a tenth of the five best levels.";
    }
    return "";
  }

  form.addEventListener("input", changed);
  store.watch(["settings", "symbol", "markets", "link", "status", "risk", "welcome", "view:book", "orderbook:"], paint);
  store.watch(["balances", "positions", "orders"], again);
  let live = false;
  store.watch(["link"], () => {
    const now = app.link.state.state === "live";
    // What was typed while there was no link has not been judged yet.
    if (now && !live) ask(0);
    live = now;
  });
  store.watch(["symbol"], () => {
    if (symbol && symbol !== store.get("symbol")) {
      for (const f of fields) f.set("");
      text(outcome, "");
      followed = null;
    }
    symbol = store.get("symbol");
    changed();
  });
  store.watch(["fill"], () => {
    const filled = store.get("fill");
    if (!filled) return;
    if (type.value === "stop" || type.value === "take_profit") stop.set(filled.price);
    else {
      if (type.value === "market" || type.value === "trailing_stop") type.value = "limit";
      price.set(filled.price);
    }
    if (filled.amount) {
      amountBy.value = "amount";
      amount.set(filled.amount);
    }
    changed();
  });
  onKey("b", "side: buy", () => turn("buy"));
  onKey("s", "side: sell", () => turn("sell"));
  onKey("l", "type: limit", () => pick("limit"));
  onKey("m", "type: market", () => pick("market"));
  /** @param {string} kind */
  function pick(kind) {
    type.value = kind;
    changed();
    (kind === "limit" ? price : amount).focus();
  }
}

/** Names of the units of a choice. @param {HTMLSelectElement} select @param {string[]} names */
function choices(select, names) {
  for (const [i, option] of [...select.options].entries()) text(option, names[i] ?? "");
}
