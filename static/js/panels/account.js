// The account strip: equity, today, unrealised, and the gauges of the limits. All figures are the server's.
import { ratio } from "../decimal.js";
import { attr, cls, h, text } from "../dom.js";
import { direction, money, NONE, percent, short, signed, whole } from "../format.js";
import { painter } from "../pace.js";
import { ACCOUNT, doubt, working } from "../trade.js";

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const equity = card(root, "Equity");
  const drawdown = gauge(root, "Drawdown");
  const today = card(root, "Today");
  const unrealised = card(root, "Unrealised");
  const exposure = gauge(root, "Exposure");
  const loss = gauge(root, "Daily loss");
  const orders = gauge(root, "Order rate");

  /** Which gauge a rule of the gate belongs to: it is marked while the ticket would break one. */
  const gauges = /** @type {[(on: boolean) => void, string[]][]} */ ([
    [drawdown.mark, ["max_drawdown"]],
    [
      exposure.mark,
      ["max_leverage", "max_position_size", "max_position_notional", "max_order_notional", "max_order_amount"],
    ],
    [loss.mark, ["max_daily_loss", "loss_streak"]],
    [orders.mark, ["max_open_orders", "order_rate"]],
  ]);
  const paint = painter(root, 2, () => {
    const { state } = app.link.state;
    const frozen = state === "lost" || state === "stopped";
    const late = frozen ? undefined : doubt(store);
    attr(root, "data-age", frozen ? "frozen" : late ? "stale" : null);
    /** @type {Row} */
    const risk = store.value("risk") ?? {};
    /** @type {Row} */
    const portfolio = store.value("portfolio") ?? {};
    const unit = portfolio.valuation_currency ?? risk.valuation_currency ?? "USDT";
    const value = risk.equity ?? portfolio.equity ?? portfolio.total_value;
    equity(
      money(value),
      risk.peak_equity ? `peak ${brief(risk.peak_equity, 2)}` : NONE,
      "",
      late ? `late ${late.staleSince ? whole(app.serverNow() - late.staleSince) : ""}`.trim() : unit,
    );
    const day = risk.daily_pnl ?? portfolio.daily_pnl;
    today(
      signed(day),
      percent(risk.daily_pnl_fraction ?? portfolio.daily_pnl_fraction, { plus: true }),
      direction(day),
    );
    const open = portfolio.total_unrealized_pnl ?? portfolio.unrealized_pnl ?? portfolio.total_pnl;
    const count = risk.position_count ?? portfolio.position_count;
    unrealised(
      signed(open),
      count === undefined || count === null ? NONE : `${count} ${count === 1 ? "position" : "positions"}`,
      direction(open),
    );

    const fall = rule(risk, "max_drawdown");
    drawdown(
      percent(risk.drawdown),
      fall.limit ? `stops at ${percent(fall.limit, { digits: 0 })}` : "no limit",
      share(risk.drawdown, fall.limit),
    );
    const lever = rule(risk, "max_leverage");
    const gross = risk.total_exposure ?? risk.gross_exposure;
    exposure(
      brief(gross, 0),
      lever.limit ? `${Number(risk.leverage ?? 0).toFixed(2)} of ${Number(lever.limit)} × equity` : unit,
      share(risk.leverage ?? lever.used, lever.limit),
    );
    const lost = rule(risk, "max_daily_loss");
    const limit =
      lost.unit && lost.unit !== "fraction"
        ? `limit ${money(lost.limit)} ${lost.unit}`
        : `limit ${percent(lost.limit)} a day`;
    const losing = day !== undefined && day !== null && Number(day) < 0;
    const down = losing ? String(day).slice(1) : "0";
    loss(
      day === undefined || day === null ? NONE : brief(down, 2),
      lost.limit ? limit : "no limit",
      losing ? share(lost.used ?? risk.loss_risk, lost.limit ?? "1") : 0,
    );
    const open_ = store.rows("orders").filter(working).length;
    const rate = rule(risk, "order_rate");
    /** @type {string[]} */
    const failed = store.get("failed") ?? [];
    for (const [mark, rules] of gauges) mark(rules.some((name) => failed.includes(name)));
    // What the gate's bucket lacks: it fills up all the time, hence not a count of the last minute.
    orders(
      rate.used === undefined ? NONE : `${Number(rate.used)} used`,
      `${rate.limit ? `of ${Number(rate.limit)}/min` : "no limit"} · ${open_} open`,
      share(rate.used, rate.limit),
    );
  });
  store.watch([...ACCOUNT, "link", "beat", "settings", "failed"], paint);
}

/** @param {string | null | undefined} value @param {number} digits */
const brief = (value, digits) => (/^-?\d{10}/.test(String(value)) ? short(value) : money(value, digits));

/** One rule of the gate as the server streams it. @param {Row} risk @param {string} name */
function rule(risk, name) {
  /** @type {Row[]} */
  const all = [...(risk.rules ?? []), ...(risk.headroom ?? [])];
  const found = all.findLast((r) => r.rule === name && !/per symbol/.test(r.unit ?? ""));
  return { limit: found?.limit, used: found?.value ?? found?.used, unit: found?.unit };
}

/** @param {any} used @param {any} limit */
const share = (used, limit) => (used && limit ? ratio(String(used), String(limit)) : 0);

/** @param {HTMLElement} root @param {string} name */
function card(root, name) {
  const title = h("dt", {}, name);
  const value = h("dd", { class: "figure" }, NONE);
  const note = h("dd", { class: "note" }, NONE);
  root.append(h("div", { class: "card" }, title, value, note));
  return (/** @type {string} */ figure, /** @type {string} */ below, /** @type {string} */ tone, unit = "") => {
    text(title, unit ? `${name}, ${unit}` : name);
    text(value, figure);
    value.style.setProperty("--chars", String(figure.length));
    cls(value, `figure ${tone}`);
    text(note, below);
  };
}

/** @param {HTMLElement} root @param {string} name */
function gauge(root, name) {
  const value = h("dd", { class: "side" }, NONE);
  const fill = h("span", { class: "fill" });
  const meter = h(
    "div",
    {
      class: "meter",
      role: "meter",
      "aria-label": `${name}, share of its limit`,
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      "aria-valuenow": "0",
    },
    fill,
  );
  const note = h("dd", { class: "note" }, NONE);
  const card = h("div", { class: "card gauge" }, h("dt", {}, name), value, h("dd", { class: "bar" }, meter), note);
  root.append(card);
  const mark = (/** @type {boolean} */ on) => attr(card, "data-refused", on ? "yes" : null);
  const show = (/** @type {string} */ figure, /** @type {string} */ below, /** @type {number} */ part) => {
    text(value, figure);
    value.style.setProperty("--chars", String(figure.length));
    text(note, below);
    fill.style.transform = `scaleX(${part.toFixed(4)})`;
    cls(fill, `fill ${part >= 1 ? "full" : part >= 0.8 ? "high" : ""}`);
    attr(meter, "aria-valuenow", String(Math.round(part * 100)));
  };
  return Object.assign(show, { mark });
}
