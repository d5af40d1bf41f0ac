// Risk: the level and what it is made of, headroom per rule of the gate, loss at risk, recommendations; below, how it
// was. All the server's.
import { ratio } from "../decimal.js";
import { attr, cls, h, hide, keyed, table, text } from "../dom.js";
import { direction, money, NONE, percent, signed, words } from "../format.js";
import { painter } from "../pace.js";
import { riskHistory } from "./risk-history.js";

const LEVELS = /** @type {Record<string, string>} */ ({ low: "good", moderate: "warn", high: "bad", critical: "bad" });
const SCORES = /** @type {const} */ ([
  ["positions_risk", "Positions"],
  ["orders_risk", "Open orders"],
  ["exposure_risk", "Exposure"],
  ["loss_risk", "Daily loss"],
]);

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const level = h("strong", { class: "risk-level" }, NONE);
  const score = h("span", { class: "dim" });
  const scores = h("ul", { class: "bars" });
  const figures = h("dl", { class: "facts" });
  const advice = h("ul", { class: "advice" });
  const calm = h("p", { class: "dim" }, "Nothing to recommend.");
  const rules = h("div", { class: "risk-rules" });
  const columns = h(
    "div",
    { class: "view-columns risk", tabindex: "0" },
    h(
      "section",
      { "aria-label": "Level of risk" },
      h("h3", {}, "Level"),
      h("p", { class: "risk-line" }, level, score),
      scores,
      h("h3", {}, "Account"),
      figures,
    ),
    h(
      "section",
      { "aria-label": "Rules" },
      h("h3", {}, "Headroom of each rule"),
      rules,
      h("h3", {}, "Recommendations"),
      advice,
      calm,
    ),
  );
  root.append(columns);
  riskHistory(columns, app);
  const showRules = table(
    rules,
    "Rules of the gate",
    [
      {
        head: "Rule",
        kind: "name",
        text: (r) => words(r.rule) + (/per symbol/.test(r.unit ?? "") ? " per symbol" : ""),
      },
      { head: "Now", kind: "num", text: (r) => amount(r.value, r.unit) },
      { head: "Limit", kind: "num", text: (r) => amount(r.limit, r.unit) },
      { head: "Left", kind: "num", text: (r) => amount(r.headroom, r.unit), tone: (r) => (r.ok ? "" : "bad") },
      { head: "Used", kind: "meter-cell", make: () => meter(), cell: (r, cell) => fill(cell, r) },
    ],
    (r) => `${r.rule}|${r.unit}`,
    "No limits are set.",
  );

  const paint = painter(root, 2, () => {
    /** @type {Row} */
    const risk = store.value("risk") ?? {};
    text(level, words(risk.risk_level));
    cls(level, `risk-level ${LEVELS[risk.risk_level] ?? ""}`);
    text(
      score,
      risk.total_risk_score === undefined ? "" : `score ${Number(risk.total_risk_score ?? 0).toFixed(2)} of 1`,
    );
    keyed(
      scores,
      SCORES.map(([field, name]) => ({ field, name, value: Number(risk[field] ?? 0) })),
      (s) => s.field,
      (s) => h("li", {}, h("span", {}, s.name), meter(), h("span", { class: "num" })),
      (li, s) => {
        const [, bar, figure] = /** @type {HTMLElement[]} */ ([...li.children]);
        if (bar) grow(bar, s.value, s.name);
        if (figure) text(figure, s.value.toFixed(2));
      },
    );
    const unit = store.value("portfolio")?.valuation_currency ?? "";
    say(figures, [
      ["Equity", `${money(risk.equity)} ${unit}`],
      [
        "Today",
        `${signed(risk.daily_pnl)} (${percent(risk.daily_pnl_fraction, { plus: true })})`,
        direction(risk.daily_pnl),
      ],
      ["Drawdown from peak", percent(risk.drawdown)],
      ["Gross exposure", `${money(risk.gross_exposure)} ${unit}`],
      ["Net exposure", `${signed(risk.net_exposure)} ${unit}`],
      ["Leverage", risk.leverage === undefined ? NONE : `${Number(risk.leverage ?? 0).toFixed(2)} ×`],
      ["Largest holding", percent(risk.concentration_risk)],
      ["Effective positions", risk.effective_positions ? Number(risk.effective_positions).toFixed(1) : NONE],
      ["VaR 95 %, one day", risk.var_95 === null ? words(risk.var_reason) : percent(risk.var_95)],
      ["VaR 99 %, one day", risk.var_99 === null ? words(risk.var_reason) : percent(risk.var_99)],
      ["Expected shortfall 95 %", percent(risk.es_95)],
    ]);
    showRules(risk.rules ?? risk.headroom ?? []);
    /** @type {string[]} */
    const lines = (risk.recommendations ?? []).map((/** @type {any} */ r) => (typeof r === "string" ? r : r.text));
    hide(calm, lines.length > 0);
    keyed(
      advice,
      lines,
      (line) => line,
      () => h("li", {}),
      (li, line) => text(li, line),
    );
  });
  store.watch(["risk", "portfolio"], paint);
  return {};
}

/** @param {string | null | undefined} value @param {string | undefined} unit */
function amount(value, unit) {
  if (value === null || value === undefined) return NONE;
  if (unit === "fraction") return percent(value);
  const digits = Number.isInteger(Number(value)) ? 0 : 2;
  return `${money(value, digits)}${unit === "x" ? " ×" : ""}`;
}

export const meter = () =>
  h(
    "span",
    { class: "meter", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100" },
    h("span", { class: "fill" }),
  );

/** @param {HTMLElement} cell @param {Row} rule */
function fill(cell, rule) {
  const used = rule.limit && rule.value ? ratio(String(rule.value), String(rule.limit)) : 0;
  grow(cell, used, `${words(rule.rule)}, share of its limit`);
}

/** @param {HTMLElement} bar @param {number} part @param {string} label */
export function grow(bar, part, label) {
  const inner = /** @type {HTMLElement | null} */ (bar.querySelector(".fill"));
  if (!inner) return;
  const shown = Math.max(0, Math.min(1, part));
  inner.style.transform = `scaleX(${shown.toFixed(4)})`;
  cls(inner, `fill ${part >= 1 ? "full" : part >= 0.8 ? "high" : ""}`);
  attr(bar, "aria-label", label);
  attr(bar, "aria-valuenow", String(Math.round(shown * 100)));
}

/** Rows of a list of facts, made once. @param {HTMLElement} list @param {[string, string, string?][]} pairs */
export function say(list, pairs) {
  while (list.children.length < 2 * pairs.length) list.append(h("dt"), h("dd"));
  pairs.forEach(([name, value, tone], i) => {
    const dt = /** @type {HTMLElement} */ (list.children[2 * i]);
    const dd = /** @type {HTMLElement} */ (list.children[2 * i + 1]);
    text(dt, name);
    text(dd, value);
    cls(dd, tone ?? "");
  });
}
