// The portfolio: what it is worth and made of, how much its parts move as one, and the way to other weights: targets by
// a method or by hand, a plan that is looked at first, then sent as one and followed to its end. Nothing is polled: a
// plan is asked for again when orders or events moved.
import { told } from "../commands.js";
import { add, decimals, div, isDecimal, mul, ratio, round, sub, trim } from "../decimal.js";
import { dialog, facts } from "../dialog.js";
import { attr, cls, h, hide, keyed, table, text } from "../dom.js";
import { direction, money, NONE, onStep, percent, signed, words } from "../format.js";
import { whenLive } from "../live.js";
import { spell } from "../number-field.js";
import { painter } from "../pace.js";
import { remember, settings } from "../settings.js";
import { lock, marketOf, sideText, sideTone, unitOf, viewOnly } from "../trade.js";
import { say } from "./risk.js";

/** @typedef {{ symbol: string, weight: string, error: string }} Target  weight in percent, as typed */

const METHODS = /** @type {const} */ ([
  ["equal", "equal parts"],
  ["inverse_volatility", "inverse volatility"],
  ["min_variance", "least variance"],
  ["risk_parity", "risk parity"],
  ["hrp", "hierarchical (HRP)"],
  ["confidence", "confidence of the bots"],
]);
const PROFILES = ["", "conservative", "moderate", "aggressive"];
const SPANS = /** @type {const} */ ([
  [7, "1h"],
  [30, "1h"],
  [90, "4h"],
  [365, "1d"],
]);
/** A plan that ended longer ago than this is not shown again [ms]. */
const RECENT = 86_400_000;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const left = h("section", { "aria-label": "Holdings" });
  const right = h("section", { "aria-label": "Rebalance" });
  root.append(h("div", { class: "view-columns pf" }, left, right));
  holdings(left, app);
  rebalance(right, app);
  return {};
}

/** Share of a symbol in the whole, as a fraction in text. @param {Row} portfolio @param {string} value */
const share = (portfolio, value) =>
  Number(portfolio.total_value) > 0 ? div(value, String(portfolio.total_value), 6) : "0";

// -- what there is -------------------------------------------------------------------------------

/** @param {HTMLElement} root @param {App} app */
function holdings(root, app) {
  const { store, commands } = app;
  const figures = h("dl", { class: "facts" });
  const parts = h("div");
  const span = h(
    "select",
    { "aria-label": "Time of the correlations" },
    ...SPANS.map(([days, bars], i) =>
      h("option", { value: String(i), selected: i === 1 }, `${days} days of ${bars} bars`),
    ),
  );
  const spread = h("dl", { class: "facts" });
  const box = h("div", { class: "heat-box", tabindex: "0", role: "group", "aria-label": "Correlations" });
  const said = h("p", { class: "dim", role: "status" });
  root.append(
    h("h3", {}, "Value"),
    figures,
    h("h3", {}, "Allocation"),
    parts,
    h("h3", {}, "Diversification ", span),
    spread,
    box,
    said,
  );
  const showParts = table(
    parts,
    "Allocation",
    [
      { head: "Holding", text: (r) => r.name },
      { head: "Value", kind: "num", text: (r) => (r.value === null ? "not priced" : money(r.value)) },
      { head: "P/L", kind: "num", text: (r) => (r.pnl === null ? "" : signed(r.pnl)), tone: (r) => direction(r.pnl) },
      {
        head: "Share",
        kind: "share",
        make: () =>
          h(
            "span",
            { class: "share-cell" },
            h("span", { class: "share-bar" }, h("span", { class: "fill" })),
            h("span", { class: "share-text" }),
          ),
        cell: (r, cell) => {
          const fill = /** @type {HTMLElement | null} */ (cell.querySelector(".fill"));
          const said_ = cell.querySelector(".share-text");
          if (fill) fill.style.transform = `scaleX(${Math.min(1, Math.abs(Number(r.share))).toFixed(4)})`;
          if (said_) text(said_, r.value === null ? NONE : percent(r.share, { digits: 1 }));
        },
      },
    ],
    (r) => String(r.name),
    "Nothing is known yet.",
  );

  let subject = "";
  const paint = painter(root, 2, () => {
    const p = store.value("portfolio");
    if (!p) return;
    const unit = p.valuation_currency ?? "";
    say(figures, [
      ["Value", p.total_value === null ? words(p.reason) : `${money(p.total_value)} ${unit}`],
      ["Cash", `${money(p.cash)} ${unit}`],
      ["Unrealised", `${signed(p.total_unrealized_pnl)} ${unit}`, direction(p.total_unrealized_pnl)],
      ["Positions", String(p.position_count ?? p.positions?.length ?? 0)],
    ]);
    /** @type {Row[]} */
    const held = (p.positions ?? []).map((/** @type {Row} */ x) => ({
      name: x.symbol,
      value: x.market_value,
      pnl: x.unrealized_pnl,
      share: x.market_value === null ? "0" : share(p, String(x.market_value)),
    }));
    held.sort((a, b) => Math.abs(Number(b.value ?? 0)) - Math.abs(Number(a.value ?? 0)));
    if (p.cash !== null && p.cash !== undefined)
      held.push({ name: `cash ${unit}`, value: p.cash, pnl: null, share: share(p, String(p.cash)) });
    showParts(held);
    const now = `${span.value}|${(p.positions ?? []).map((/** @type {Row} */ x) => x.symbol).join(" ")}`;
    if (now !== subject) {
      subject = now;
      void ask();
    }
  });
  store.watch(["portfolio"], paint);
  span.addEventListener("change", () => paint(true));
  whenLive(app, () => {
    subject = "";
    paint(true);
  });

  async function ask() {
    const mine = subject;
    cls(said, "dim");
    text(said, "Being worked out from past bars…");
    const [days, timeframe] = SPANS[Number(span.value)] ?? SPANS[1];
    const reply = await commands.call("portfolio.diversification", { days, timeframe });
    if (mine !== subject) return;
    hide(box, !reply.result?.correlation?.matrix);
    cls(said, reply.ok ? "dim" : "warn");
    if (!reply.ok) return text(said, told(reply.error));
    const d = reply.result;
    const two = (/** @type {number | null} */ v) => (v === null ? NONE : v.toFixed(2));
    say(spread, [
      ["Effective positions", d.effective_positions === null ? words(d.reason) : d.effective_positions.toFixed(1)],
      ["Concentration (HHI)", two(d.hhi)],
      ["Largest share of positions", percent(d.max_weight)],
      ["Diversification, 0 to 1", two(d.diversification)],
      ["Mean correlation", two(d.average_correlation)],
    ]);
    const { symbols, matrix, samples, reason } = d.correlation;
    text(said, matrix ? `From ${samples} returns in common.` : `No correlations: ${words(reason)}.`);
    if (matrix) box.replaceChildren(correlations(symbols, matrix));
  }
}

/** A heading that may break where a derivative names what it is settled in. @param {string} symbol */
function name(symbol) {
  const [market = "", settle] = symbol.split(":");
  return settle ? h("th", { scope: "col" }, `${market}:`, h("wbr"), settle) : h("th", { scope: "col" }, market);
}

/** Which way and how much is said by number and sign, the shade only repeats it. @param {string[]} symbols @param {number[][]} matrix */
function correlations(symbols, matrix) {
  return h(
    "table",
    { class: "heat" },
    h("caption", { class: "hidden" }, "Correlation of returns"),
    h("thead", {}, h("tr", {}, h("td"), ...symbols.map(name))),
    h(
      "tbody",
      {},
      ...matrix.map((line, i) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, symbols[i] ?? ""),
          ...line.map((value) => {
            const cell = h("td", { class: `heat-cell ${value < 0 ? "below" : ""}` });
            text(cell, `${value > 0 ? "+" : ""}${value.toFixed(2)}`.replace("-", "−"));
            cell.style.setProperty("--share", `${Math.round(Math.abs(value) * 45)}%`);
            return cell;
          }),
        ),
      ),
    ),
  );
}

// -- where it should go --------------------------------------------------------------------------

/** @param {HTMLElement} root @param {App} app */
function rebalance(root, app) {
  const { store, commands } = app;
  /** @type {Target[]} */
  let targets = [];
  let started = false;
  /** @type {Row | null} */
  let plan = null;
  /** What the plan on the screen was made of. @type {Row} */
  let made = {};

  const id = (/** @type {string} */ name) => `pf-${name}`;
  /** @param {string} name @param {string} label @param {HTMLElement} input @param {string} [unit] */
  const field = (name, label, input, unit = "") => {
    input.id = id(name);
    const error = h("span", { class: "field-error", id: `${id(name)}-error`, "data-field": name });
    input.setAttribute("aria-describedby", error.id);
    return h(
      "div",
      { class: "field" },
      h("div", { class: "field-head" }, h("label", { for: id(name) }, label), h("span", { class: "unit" }, unit)),
      input,
      error,
    );
  };
  const number = (/** @type {string} */ hint) =>
    h("input", { type: "text", inputmode: "decimal", onchange: spell, autocomplete: "off", placeholder: hint });
  const method = h("select", {}, ...METHODS.map(([value, name]) => h("option", { value }, name)));
  const profile = h("select", {}, ...PROFILES.map((p) => h("option", { value: p }, p || "as set")));
  const most = number("as set");
  const spread = h("button", { type: "submit", class: "button" }, "Allocate");
  const about = h("p", { class: "dim", role: "status" });
  const allocation = h(
    "form",
    { class: "pf-fields", "aria-label": "Allocation", novalidate: true },
    field("method", "Method", method),
    field("risk_profile", "Risk profile", profile),
    field("max_allocation", "At most", most, "%"),
    spread,
  );
  const rows = h("div", { class: "pf-targets" });
  const adding = h("select", { "aria-label": "Add a market" });
  const sum = h("span", { class: "dim" });
  const bar = h("div", { class: "pf-add" }, adding, sum);
  const type = h("select", {}, ...["market", "limit"].map((t) => h("option", {}, t)));
  const threshold = number("as set");
  const least = number("none");
  const unlisted = h("input", { type: "checkbox", id: "pf-unlisted" });
  const look = h("button", { type: "submit", class: "button" }, "Preview");
  const wrong = h("p", { class: "outcome bad", role: "alert" });
  const planning = h(
    "form",
    { class: "pf-fields", "aria-label": "Plan", novalidate: true },
    field("order_type", "Orders", type),
    field("threshold", "Threshold", threshold, "%"),
    field("min_notional", "Smallest order", least),
    look,
    h("label", { class: "check pf-wide" }, unlisted, "sell what is held and not listed"),
  );
  const shown = h("section", { class: "pf-plan", "aria-label": "Plan", hidden: true });
  root.append(h("h3", {}, "Targets"), allocation, about, rows, bar, h("h3", {}, "Plan"), planning, wrong, shown);
  allocation.addEventListener("submit", (event) => {
    event.preventDefault();
    void allocate();
  });
  planning.addEventListener("submit", (event) => {
    event.preventDefault();
    void preview();
  });
  planning.addEventListener("input", () => outdated());
  adding.addEventListener("change", () => {
    if (!adding.value) return;
    targets.push({ symbol: adding.value, weight: "0", error: "" });
    adding.value = "";
    outdated();
  });

  const showTargets = table(
    rows,
    "Targets",
    [
      { head: "Market", text: (t) => t.symbol },
      { head: "Now", kind: "num", text: (t) => percent(weightOf(t.symbol)) },
      {
        head: "Target %",
        kind: "num pf-weight",
        make: (t) => {
          const input = h("input", {
            type: "text",
            inputmode: "decimal",
            onchange: spell,
            autocomplete: "off",
            "aria-label": `Target of ${t.symbol}, percent`,
            value: t.weight,
          });
          input.addEventListener("input", () => {
            const target = targets.find((one) => one.symbol === t.symbol);
            if (target) Object.assign(target, { weight: input.value.trim(), error: "" });
            outdated();
          });
          return h("span", { class: "pf-input" }, input, h("span", { class: "field-error" }));
        },
        cell: (t, cell) => {
          const input = /** @type {HTMLInputElement} */ (cell.firstElementChild);
          if (input.value.trim() !== t.weight) input.value = t.weight;
          attr(input, "aria-invalid", t.error ? "true" : null);
          text(/** @type {HTMLElement} */ (cell.lastElementChild), t.error);
        },
      },
      {
        head: "",
        kind: "act",
        make: (t) =>
          h(
            "button",
            {
              type: "button",
              class: "quiet",
              "aria-label": `Remove ${t.symbol}`,
              onclick: () => {
                targets = targets.filter((one) => one.symbol !== t.symbol);
                outdated();
              },
            },
            "Remove",
          ),
      },
    ],
    (t) => String(t.symbol),
    "No targets. Add markets, or allocate by a method.",
  );
  const showPlan = makePlan(shown, app, () => void review());

  /** @param {string} symbol */
  function weightOf(symbol) {
    const p = store.value("portfolio");
    const held = p?.positions?.find((/** @type {Row} */ x) => x.symbol === symbol);
    return held?.market_value ? share(p, String(held.market_value)) : "0";
  }

  const paint = painter(root, 2, () => {
    const p = store.value("portfolio");
    if (!started && p?.total_value) {
      started = true;
      for (const { symbol } of p.positions ?? [])
        if (!targets.some((t) => t.symbol === symbol))
          targets.push({ symbol, weight: trim(round(mul(weightOf(symbol), "100"), 2)), error: "" });
    }
    showTargets(targets);
    const fine = targets.every((t) => isDecimal(t.weight));
    const total = fine ? targets.reduce((all, t) => add(all, t.weight), "0") : null;
    text(sum, total === null ? "" : `together ${trim(total)} %, cash ${trim(sub("100", total)).replace("-", "−")} %`);
    cls(sum, total !== null && Number(total) > 100 ? "bad" : "dim");
    const free = store
      .rows("markets")
      .map((m) => String(m.symbol))
      .filter((s) => !targets.some((t) => t.symbol === s));
    keyed(
      adding,
      ["", ...free],
      (s) => s || "add",
      (s) => h("option", { value: s }, s || "Add a market…"),
      () => {},
    );
    hide(shown, plan === null);
    if (plan) showPlan(plan);
  });
  store.watch(["portfolio", "markets", "welcome"], () => paint());

  let edits = 0;
  /** Something was edited: a plan that is only a preview is of something else now. */
  function outdated() {
    edits++;
    if (plan?.status === "planned") plan = null;
    text(wrong, "");
    paint(true);
  }

  /** Each refusal at its place. @param {HTMLElement} form @param {HTMLElement} line @param {ErrorBody | undefined} error */
  function complain(form, line, error) {
    for (const place of form.querySelectorAll("[data-field]")) {
      text(place, "");
      attr(/** @type {HTMLElement} */ (place.previousElementSibling), "aria-invalid", null);
    }
    for (const target of targets) target.error = "";
    text(line, told(error));
    cls(line, error ? "outcome bad" : "dim");
    for (const { field: name, message } of error?.details?.fields ?? []) {
      const [front, at] = String(name).split(".");
      const target = front === "targets" ? targets[Number(at)] : undefined;
      if (target && at !== undefined) target.error = message;
      const place = form.querySelector(`[data-field="${front}"]`);
      if (!place) continue;
      text(place, message);
      attr(/** @type {HTMLElement} */ (place.previousElementSibling), "aria-invalid", "true");
    }
    paint(true);
  }

  async function allocate() {
    spread.disabled = true;
    const error = await allocated();
    spread.disabled = false;
    if (error) complain(allocation, about, error);
  }

  const written = () => JSON.stringify(targets.map((t) => [t.symbol, t.weight]));
  /** @returns {Promise<ErrorBody | undefined>} */
  async function allocated() {
    const before = written();
    /** @type {Row} */
    const args = { method: method.value };
    if (profile.value) args.risk_profile = profile.value;
    if (most.value.trim())
      args.max_allocation = isDecimal(most.value.trim()) ? Number(fraction(most.value)) : most.value;
    if (method.value === "confidence") {
      const heard = await commands.call("signal.list", { limit: 200 });
      if (!heard.ok) return heard.error;
      args.signals = opinions(heard.result.signals);
    } else args.symbols = targets.map((t) => t.symbol);
    const reply = await commands.call("portfolio.allocate", args);
    if (!reply.ok) return reply.error;
    const { allocations, convention, cash_weight, left_out } = reply.result;
    complain(allocation, about, undefined);
    if (written() !== before) {
      text(about, "The targets were edited meanwhile. Allocate again for those that stand there now.");
      return undefined;
    }
    if (allocations.length === 0) {
      const why = left_out.map((/** @type {Row} */ l) => `${l.symbol}: ${l.reason}`).join("; ");
      text(about, `No bot says buy now, so there is nothing to spread over. ${why}`);
      return undefined;
    }
    targets = allocations.map((/** @type {Row} */ a) => ({
      symbol: String(a.symbol),
      weight: trim(round(mul(a.weight.toFixed(12), "100"), 4)),
      error: "",
    }));
    const left = left_out.map((/** @type {Row} */ l) => ` Left out: ${l.symbol}, ${l.reason}.`).join("");
    text(about, `${convention}. Cash ${percent(cash_weight)}.${left}`);
    outdated();
    return undefined;
  }

  /** @returns {Row} */
  function asked() {
    /** @type {Row} */
    const args = {
      targets: targets.map((t) => ({ symbol: t.symbol, weight: fraction(t.weight) })),
      order_type: type.value,
      close_unlisted: unlisted.checked,
    };
    if (threshold.value.trim()) args.threshold = fraction(threshold.value);
    if (least.value.trim()) args.min_notional = least.value.trim();
    return args;
  }

  async function preview() {
    look.disabled = true;
    const args = asked();
    const mine = ++edits;
    const reply = await commands.call("portfolio.rebalance", { ...args, dry_run: true });
    look.disabled = false;
    // Other targets by now: what was worked out is not for them.
    if (mine !== edits) return paint(true);
    made = args;
    plan = reply.ok ? reply.result : null;
    complain(planning, wrong, reply.error);
  }

  async function review() {
    if (plan?.status !== "planned") return;
    const mine = plan;
    const orders = mine.actions.filter((/** @type {Row} */ a) => a.action !== "hold");
    const unit = String(mine.valuation_currency ?? "");
    const fees = orders.reduce((/** @type {string} */ all, /** @type {Row} */ a) => add(all, String(a.fee)), "0");
    const answer = await dialog({
      title: `Send ${orders.length} ${orders.length === 1 ? "order" : "orders"}?`,
      body: [
        facts([
          ["Orders", `${orders.length}, ${mine.order_type}`],
          ["Notional", `${money(mine.effect?.notional)} ${unit}`],
          ["Fees, about", `${money(fees)} ${unit}`],
          ["Mode", String(store.get("welcome")?.mode ?? "")],
        ]),
        h(
          "ul",
          { class: "pf-orders" },
          ...orders.map((/** @type {Row} */ a) => {
            const m = marketOf(store, a.symbol);
            return h(
              "li",
              {},
              h("span", { class: sideTone(a.action) }, sideText(a.action)),
              ` ${onStep(a.amount, m?.amount_step)} ${unitOf(m)} at about ${onStep(a.price, m?.price_tick)}`,
            );
          }),
        ),
        h(
          "p",
          { class: "dim" },
          "Sells go first; where one does not sell all, nothing is bought. Amounts are worked out again from the prices at that moment.",
        ),
      ],
      yes: `Send ${orders.length} ${orders.length === 1 ? "order" : "orders"}`,
      tone: "danger",
    });
    if (!answer || plan !== mine) return;
    const plan_id = String(mine.plan_id);
    const title = `Rebalance with ${orders.length} ${orders.length === 1 ? "order" : "orders"}?`;
    remember({ plan: plan_id });
    const reply = await commands.confirmed("portfolio.rebalance", { ...made, dry_run: false, plan_id }, title);
    complain(planning, wrong, reply.error);
    if (reply.ok) {
      plan = reply.result;
      paint(true);
      await refresh();
    } else if (reply.error?.outcome === "unknown") await refresh();
  }

  // -- a plan under way --
  let asking = false;
  async function refresh() {
    if (!settings.plan || asking) return;
    asking = true;
    const reply = await commands.call("portfolio.rebalance", { plan_id: settings.plan });
    asking = false;
    if (reply.ok) {
      const going = reply.result.status === "running";
      const over = !going && app.serverNow() - (reply.result.ended_ts ?? 0) > RECENT;
      // What is looked at before it is sent stays; what ended before it does not take its place.
      const newer = plan?.status === "planned" && plan.plan_id !== reply.result.plan_id && !going;
      if (!newer && (!over || plan)) plan = reply.result;
      if (reply.result.plan_id === plan?.plan_id && reply.result.status !== "running") text(wrong, "");
    } else if (reply.error?.code === "not_found") remember({ plan: "" });
    paint(true);
  }
  const follow = painter(root, 2, () => {
    if (plan?.status === "running") void refresh();
  });
  store.watch(["orders", "events"], () => follow());
  whenLive(app, () => void refresh());
}

/** "12.5" of a hundred is 0.125; what is no number goes as it is, for the server to say so. @param {string} typed */
function fraction(typed) {
  const bare = typed.trim();
  return isDecimal(bare) ? trim(mul(bare, "0.01")) : bare;
}

/** The newest decision of each symbol, as signals. @param {Row[]} decisions newest first */
function opinions(decisions) {
  /** @type {Map<string, Row[]>} */
  const found = new Map();
  for (const decision of decisions) {
    if (found.has(decision.symbol)) continue;
    found.set(
      decision.symbol,
      (decision.individual ?? []).map((/** @type {Row} */ one) => ({
        symbol: decision.symbol,
        signal_type: one.action,
        confidence: one.confidence,
        source: one.strategy,
        ts: decision.ts,
        indicators: Object.fromEntries(
          Object.entries(one.probabilities ?? {}).map(([name, p]) => [`probability_${name}`, p]),
        ),
      })),
    );
  }
  return [...found.values()].flat();
}

/** @param {HTMLElement} root @param {App} app @param {() => void} send */
function makePlan(root, app, send) {
  const { store } = app;
  const state = h("p", { role: "status" });
  const button = h("button", { type: "button", class: "button primary", onclick: send }, "Review and send…");
  const list = h("div", { class: "pf-actions", tabindex: "0", role: "group", "aria-label": "Orders of the plan" });
  const whys = h("ul", { class: "rules" });
  root.append(state, list, whys, button);
  const step = (/** @type {Row} */ a) => marketOf(store, a.symbol)?.amount_step;
  const show = table(
    list,
    "Plan",
    [
      { head: "Market", text: (a) => a.symbol },
      { head: "Now", kind: "num", text: (a) => percent(a.current_weight, { digits: 1 }) },
      { head: "Target", kind: "num", text: (a) => percent(a.target_weight, { digits: 1 }) },
      {
        head: "Order",
        text: (a) => (a.action === "hold" ? "hold" : sideText(a.action)),
        tone: (a) => (a.action === "hold" ? "dim" : sideTone(a.action)),
      },
      { head: "Amount", kind: "num", text: (a) => (a.action === "hold" ? "" : onStep(a.amount, step(a))) },
      {
        head: "Price",
        kind: "num wide",
        text: (a) => {
          const tick = marketOf(store, a.symbol)?.price_tick;
          return a.average ? money(a.average, decimals(tick ?? "0.01")) : onStep(a.price, tick);
        },
      },
      { head: "Value", kind: "num", text: (a) => signed(a.value), tone: (a) => direction(a.value) },
      { head: "Fee", kind: "num wide", text: (a) => (a.action === "hold" ? "" : money(a.fee)) },
      {
        head: "State",
        kind: "long",
        text: (a) => outcome(a, step(a)),
        tone: (a) => (["refused", "rejected"].includes(a.status) ? "bad" : a.status === "skipped" ? "warn" : ""),
      },
    ],
    (a) => String(a.symbol),
    "Nothing to trade.",
  );
  return (/** @type {Row} */ plan) => {
    const { orders, ended, filled } = plan.progress;
    const planned = plan.status === "planned";
    const unit = plan.valuation_currency ?? "";
    const worth = `of ${money(plan.portfolio_value)} ${unit}`;
    text(
      state,
      planned
        ? orders === 0
          ? `Nothing to trade ${worth}: every target is within its threshold or below the smallest order.`
          : `${orders} ${orders === 1 ? "order" : "orders"}, ${money(plan.effect?.notional)} ${worth}.`
        : `${words(plan.status)}: ${ended} of ${orders} orders ended, ${filled} filled.${plan.reason ? ` ${plan.reason}.` : ""}`,
    );
    cls(state, ["partial", "failed", "interrupted"].includes(plan.status) ? "warn" : "");
    hide(button, !planned || orders === 0);
    lock(button, viewOnly(store));
    keyed(
      whys,
      plan.actions.filter((/** @type {Row} */ a) => a.code || a.note),
      (a) => String(a.symbol),
      () => h("li"),
      (li, a) => text(li, `${a.symbol}: ${[a.code, a.note].filter(Boolean).join(": ")}`),
    );
    show(plan.actions.map((/** @type {Row} */ a) => ({ ...a, planned })));
  };
}

/** What became of a row. @param {Row} a @param {string | undefined} step */
function outcome(a, step) {
  if (a.action === "hold") return a.reason ? words(a.reason) : "";
  if (a.planned) return a.reason ? words(a.reason) : "not sent";
  const part = a.filled !== "0" && ratio(String(a.filled), String(a.amount)) < 1 ? ` ${onStep(a.filled, step)}` : "";
  return `${words(a.status)}${part}`;
}
