// How the account's risk was: drawdown over time, the trading days, and what the gate refused or somebody changed.
import { told } from "../commands.js";
import { curves, periods } from "../curves.js";
import { h, hide, table, text } from "../dom.js";
import { direction, money, percent, signed, stamp, words } from "../format.js";
import { whenLive } from "../live.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";

const DAY = 86_400_000;
const PERIODS = /** @type {[string, number][]} */ ([
  ["24h", DAY],
  ["7d", 7 * DAY],
  ["30d", 30 * DAY],
]);
/** Trading days that are shown, and entries of the journal. */
const DAYS = 14;
const SHOWN = 100;
/** Codes by which the gate refuses; other refusals (a typing error, a wrong symbol) are no matter of risk. */
const REFUSED = new Set(["risk_rejected", "insufficient_funds", "halted", "rate_limited"]);
/** Events that somebody or something set the state; the last is what older journals call both. */
const STATES = ["halt", "resume", "trading_state"];
/** Alerts of the same: the event says it already. */
const TWICE = "trading_state";

/** @param {HTMLElement} root @param {App} app */
export function riskHistory(root, app) {
  const { store, commands } = app;
  let period = "7d";
  const said = h("p", { class: "warn", role: "status" });
  const deepest = h("p", { class: "dim" });
  const box = h("div", { class: "curve-box" });
  const chips = periods(
    PERIODS.map(([name]) => name),
    course,
  );
  const days = h("div");
  const happened = h("div", { class: "risk-happened", tabindex: "0", role: "group", "aria-label": "Newest first" });
  const unknown = h("p", { class: "warn", role: "status" });
  root.append(
    h(
      "section",
      { class: "risk-wide", "aria-label": "Drawdown" },
      h("h3", {}, "Drawdown", chips.root),
      said,
      box,
      deepest,
    ),
    h("section", { "aria-label": "Trading days" }, h("h3", {}, "Trading days"), days),
    h(
      "section",
      { "aria-label": "Refusals and changes" },
      h("h3", {}, "Refused, breached, changed"),
      unknown,
      happened,
    ),
  );
  const chart = curves(box, store, [{ name: "Drawdown", tone: "--down", area: true, fraction: true }]);
  const showDays = table(
    days,
    "Trading days",
    [
      { head: "Day", text: (d) => d.day },
      { head: "Result", kind: "num", text: (d) => signed(d.daily_pnl), tone: (d) => direction(d.daily_pnl) },
      { head: "Start", kind: "num", text: (d) => money(d.equity_start) },
      { head: "Peak", kind: "num", text: (d) => money(d.peak_equity) },
      // A trade ends when its position does; fills alone are none.
      { head: "Closed", kind: "num", text: (d) => String(d.trades ?? 0) },
    ],
    (d) => d.day,
    "No trading day yet.",
  );
  const showHappened = table(
    happened,
    "What happened",
    [
      { head: "Time", kind: "name", text: (e) => stamp(e.ts, settings.utc) },
      { head: "What", text: (e) => e.what, tone: (e) => e.tone },
      { head: "Who", kind: "wide", text: (e) => e.who, tone: () => "dim" },
      { head: "Text", kind: "long", text: (e) => e.text },
    ],
    (e) => e.id,
    "Nothing was refused, and no limit was near, passed or changed.",
  );
  /** Entries by id: those of before are asked for, new ones come by the channels. @type {Map<string, Row>} */
  const entries = new Map();

  /** @param {string} name of a period */
  async function course(name) {
    if (name !== period) {
      // What is shown is of the other one.
      chart.show([[]]);
      text(deepest, "");
    }
    period = name;
    chips.press(name);
    const length = PERIODS.find(([p]) => p === name)?.[1] ?? DAY;
    const reply = await commands.call("portfolio.equity_history", { from: Math.round(app.serverNow() - length) });
    if (period !== name) return;
    text(said, reply.ok ? "" : told(reply.error));
    /** @type {[number, number][]} time [ms], drawdown 0..1 */
    const points = (reply.result?.equity ?? []).map((/** @type {any[]} */ p) => [p[0], Number(p[2])]);
    chart.show([points.map(([t, fall]) => [t, -fall])]);
    hide(box, points.length < 2);
    const limit = (store.value("risk")?.rules ?? []).find((/** @type {Row} */ r) => r.rule === "max_drawdown")?.limit;
    const most = points.reduce((deep, [, fall]) => Math.max(deep, fall), 0);
    text(
      deepest,
      points.length < 2
        ? "Too few samples yet: the server notes equity once a minute."
        : `Deepest ${percent(most)}${limit ? `; trading stops at ${percent(limit, { digits: 0 })}` : ""}.`,
    );
  }

  async function past() {
    const [rolled, ...risky] = await Promise.all([
      commands.call("event.list", { type: "day_rolled", limit: DAYS }),
      commands.call("event.list", { type: "api_error", limit: SHOWN }),
      ...STATES.map((type) => commands.call("event.list", { type, limit: SHOWN })),
      commands.call("event.list", { type: "parameter_changed", limit: SHOWN }),
    ]);
    const wrong = [rolled, ...risky].find((reply) => !reply.ok);
    text(unknown, wrong ? `What was before this page is not known: ${told(wrong.error)}` : "");
    for (const reply of risky) for (const e of reply.result?.events ?? []) take(e, event(e));
    paint();
    const names = [...new Set((rolled.result?.events ?? []).map((/** @type {Row} */ e) => String(e.data.day)))];
    const rows = await Promise.all(names.map((day) => commands.call("risk.daily_pnl", { day: String(day) })));
    showDays(rows.filter((r) => r.ok).map((r) => r.result));
  }

  /** @param {Row} from @param {Row | null} entry */
  function take(from, entry) {
    if (entry) entries.set(String(from.id), { id: String(from.id), ts: from.ts, ...entry });
  }

  const paint = painter(root, 1, () => {
    for (const e of store.list("events")) take(e, event(e));
    for (const a of store.list("alerts")) take(a, alert(a));
    const newest = [...entries.values()].sort((a, b) => b.ts - a.ts).slice(0, SHOWN);
    entries.clear();
    for (const e of newest) entries.set(e.id, e);
    showHappened(newest, newest.length < SHOWN ? "" : `The newest ${SHOWN}. More: realtime call event.list limit=500`);
  });
  store.watch(["events", "alerts", "settings"], paint);
  whenLive(app, () => {
    void course(period);
    void past();
  });
}

/** An entry of the journal that is a matter of risk. @param {Row} e @returns {Row | null} */
function event({ type, subject, client, data }) {
  const who = [subject, client].filter(Boolean).join(" / ");
  if (type === "api_error" && REFUSED.has(data.code)) {
    const { symbol, side, amount } = data.args ?? data;
    const what = [words(data.op?.split(".").pop()), side, amount, symbol].filter(Boolean).join(" ");
    return { what: "refused", tone: "warn", who, text: `${what}: ${data.message ?? words(data.code)}` };
  }
  if (STATES.includes(type)) {
    const reason = data.reason ? `: ${data.reason}` : "";
    const tone = data.state === "active" ? "good" : "bad";
    return { what: words(data.state), tone, who: data.by ?? who, text: `Trading of ${data.scope}${reason}` };
  }
  if (type === "parameter_changed" && data.why === "limits") {
    const changes = (data.changes ?? []).map(
      (/** @type {Row} */ c) => `${words(String(c.path).split(".").pop())} ${c.old ?? "off"} → ${c.new ?? "off"}`,
    );
    return { what: "limit changed", tone: "", who, text: changes.join(", ") };
  }
  return null;
}

/** An alert about a limit. @param {Row} a @returns {Row | null} */
function alert({ code, level, text: said, data }) {
  if (code === TWICE || !(data?.rule || /^(near_|loss_streak)/.test(code))) return null;
  return { what: words(code), tone: level === "critical" ? "bad" : "warn", who: "", text: said };
}
