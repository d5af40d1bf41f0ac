// What the strategies say of the shown symbol: probabilities of each and combined, the decision, and the latest signals.
import { told } from "../commands.js";
import { attr, cls, h, hide, keyed, table, text } from "../dom.js";
import { NONE, percent, when, words } from "../format.js";
import { whenLive } from "../live.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";

const ACTIONS = /** @type {const} */ ([
  ["buy", "--up"],
  ["hold", "--dim"],
  ["sell", "--down"],
]);
const TONES = /** @type {Record<string, string>} */ ({ buy: "up", sell: "down", hold: "dim" });
/** Asked again at each closed bar at most so often [ms]. */
const AGAIN = 5000;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store, commands, link } = app;
  const said = h("p", { class: "dim", role: "status" });
  const decision = h("p", { class: "signal-decision" });
  const combined = h("div", { class: "probability" });
  const each = h("ul", { class: "signal-rows" });
  const advice = h("ul", { class: "advice" });
  const ask = h("button", { type: "button", class: "small-button", onclick: () => void analyse() }, "Analyse now");
  const log = h("div", {});
  root.append(
    h(
      "div",
      { class: "view-columns", tabindex: "0" },
      h("section", { "aria-label": "Analysis" }, h("h3", {}, "Analysis ", ask), said, decision, combined, each, advice),
      h("section", { "aria-label": "Signals" }, h("h3", {}, "Signals of bots"), log),
    ),
  );
  const show = table(
    log,
    "Signals",
    [
      { head: "Time", kind: "num left", text: (s) => when(s.ts, settings.utc, app.serverNow()) },
      { head: "Symbol", text: (s) => s.symbol },
      { head: "Bot", kind: "wide", text: (s) => s.bot_id ?? NONE, tone: () => "dim" },
      {
        head: "Strategy",
        text: (s) => s.strategy ?? ((s.individual ?? []).map((/** @type {Row} */ i) => i.strategy).join(", ") || NONE),
      },
      { head: "Says", text: (s) => words(s.combined?.action), tone: (s) => TONES[s.combined?.action] ?? "" },
      { head: "Confidence", kind: "num", text: (s) => percent(s.combined?.confidence, { digits: 1 }) },
      {
        head: "Then",
        kind: "wide",
        text: (s) => (s.order_id ? "order sent" : words(s.skipped_reason)),
        tone: () => "dim",
      },
    ],
    (s) => String(s.id ?? `${s.ts}|${s.symbol}|${s.strategy}|${s.bot_id}`),
    "No signals yet: a bot makes them at each closed bar.",
  );
  link.watch(["signals"]);
  const paint = painter(root, 2, () => {
    const rows = store.list("signals").slice(-200).reverse();
    // As many the server sends at first: where there are fewer, they are all.
    show(rows, rows.length < 50 ? "" : `The newest ${rows.length}. More: realtime call signal.list limit=1000`);
  });
  store.watch(["signals", "settings"], paint);

  let asked = 0;
  let subject = "";
  async function analyse() {
    const symbol = String(store.get("symbol") ?? "");
    if (!symbol) return;
    const mine = `${symbol}|${settings.timeframe}`;
    subject = mine;
    asked = Date.now();
    ask.disabled = true;
    text(said, "Being analysed…");
    const reply = await commands.call("strategy.analyze", {
      symbol,
      timeframe: /** @type {any} */ (settings.timeframe),
    });
    ask.disabled = false;
    if (mine !== `${store.get("symbol")}|${settings.timeframe}`) return;
    text(said, reply.ok ? "" : told(reply.error));
    cls(said, reply.ok ? "dim" : "warn");
    tell(reply.ok ? reply.result : null);
  }

  /** @param {Row | null} found */
  function tell(found) {
    const signal = found?.combined_signal;
    for (const part of [decision, combined, each, advice]) hide(part, !signal);
    if (!found || !signal) return;
    decision.replaceChildren(
      h("strong", { class: TONES[signal.action] }, signal.action),
      ` ${found.symbol} ${found.timeframe} · confidence ${percent(signal.combined_confidence, { digits: 1 })} · `,
      h(
        "span",
        { class: signal.risk_level === "high" ? "bad" : "" },
        `risk ${words(signal.risk_level)} (${Number(signal.risk_score).toFixed(2)})`,
      ),
    );
    bar(combined, signal.probabilities);
    const skipped = signal.metadata?.strategies_skipped ?? {};
    const rows = Object.entries(found.individual_signals ?? {}).map(([name, s]) => ({
      name,
      signal: /** @type {Row} */ (s),
    }));
    keyed(
      each,
      rows,
      (r) => r.name,
      () =>
        h(
          "li",
          {},
          h("span", { class: "signal-name" }),
          h("span", {}),
          h("div", { class: "probability" }),
          h("p", { class: "dim signal-why" }),
        ),
      (li, r) => {
        const [name, action, probability, why] = /** @type {HTMLElement[]} */ ([...li.children]);
        if (!name || !action || !probability || !why) return;
        const m = r.signal.metadata ?? {};
        text(name, words(r.name));
        text(action, r.signal.action);
        cls(action, TONES[r.signal.action] ?? "");
        bar(probability, { buy: m.probability_buy, hold: m.probability_hold, sell: m.probability_sell });
        const values = Object.entries(m.indicators ?? {})
          .filter(([, v]) => v !== null)
          .map(([k, v]) => `${words(k)} ${short(v)}`);
        text(
          why,
          [skipped[r.name] ? `not counted: ${skipped[r.name]}` : m.reason, ...values].filter(Boolean).join(" · "),
        );
      },
    );
    keyed(
      advice,
      /** @type {string[]} */ (found.recommendations ?? []),
      (line) => line,
      () => h("li", {}),
      (li, line) => text(li, line),
    );
  }

  // A closed bar or another symbol asks again; a hidden tab asks nothing.
  const follow = painter(root, 1, () => {
    const now = `${store.get("symbol")}|${settings.timeframe}`;
    const bars = store.value(store.get("view:bars"));
    const closed = bars?.closed_through_ts ?? 0;
    const fresh = now !== subject;
    if (fresh) tell(null);
    if (fresh || (closed > asked && Date.now() - asked > AGAIN)) void analyse();
  });
  store.watch(["settings", "ohlcv:"], () => follow());
  store.watch(["symbol", "view:bars"], () => follow(true)); // what is shown is of another
  whenLive(app, () => {
    subject = "";
    follow();
  });
  return {};
}

/** A bar in three parts, with its numbers as text. @param {HTMLElement} root @param {Row | undefined} p */
function bar(root, p) {
  if (root.children.length === 0)
    root.append(...ACTIONS.map(([name]) => h("span", { class: `part ${name}` }, h("span", {}))));
  ACTIONS.forEach(([name], i) => {
    const part = /** @type {HTMLElement} */ (root.children[i]);
    const value = Number(p?.[name] ?? 0);
    part.style.flexGrow = String(value);
    const words_ = `${name} ${percent(value, { digits: 0 })}`;
    text(/** @type {HTMLElement} */ (part.firstElementChild), words_);
    attr(part, "title", words_);
  });
}

/** @param {unknown} value */
const short = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));
