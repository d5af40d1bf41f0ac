// Parts of the ticket: a labelled field with unit and error, and the preview of the server.
import { decimals, isDecimal, round, trim } from "../decimal.js";
import { attr, h, keyed, text } from "../dom.js";
import { grouped, money, onStep, percent, words } from "../format.js";

/** @typedef {import("../shapes.d.ts").Row} Row */
/** @typedef {import("../shapes.d.ts").Market} Market */

/**
 * @param {string} name argument of the op @param {string} label @param {string} [type]
 * @param {HTMLElement} [choice] of units, in the place of the unit
 */
export function field(name, label, type = "text", choice) {
  const id = `ticket-${name}`;
  const input = h("input", {
    id,
    name,
    type,
    inputmode: type === "text" ? "decimal" : undefined,
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": `${id}-error`,
  });
  const unit = h("span", { class: "unit" });
  const error = h("span", { class: "field-error", id: `${id}-error` });
  const root = h(
    "div",
    { class: "field" },
    h("div", { class: "field-head" }, h("label", { for: id }, label), choice ? null : unit),
    input,
    // After the input: Tab goes from field to field first.
    choice ?? null,
    error,
  );
  return {
    name,
    root,
    get value() {
      return input.value.trim();
    },
    set(/** @type {string} */ value) {
      input.value = value;
    },
    unit(/** @type {string} */ value) {
      text(unit, value);
    },
    error(/** @type {string} */ why) {
      text(error, why);
      attr(input, "aria-invalid", why ? "true" : null);
    },
    focus() {
      input.focus();
      input.select();
    },
  };
}

/** A small number in few digits: 0.00000252 rather than 0.000002519234. @param {string} value */
function brief(value) {
  const zeros = /^-?0\.(0*)/.exec(value)?.[1]?.length;
  const digits = zeros === undefined ? (Math.abs(Number(value)) < 100 ? 4 : 2) : zeros + 3;
  return grouped(trim(round(value, digits)));
}

/** What the server says the order would do. Always the same height, so that the button stays in place. */
export function preview() {
  const names = ["Cost", "Fee", "Average", "Slippage", "Fills now", "Exposure after"];
  const values = names.map(() => h("dd", {}, "–"));
  const rules = h("ul", { class: "rules" });
  const root = h(
    "div",
    { class: "preview", "aria-label": "Preview", role: "group" },
    h("dl", {}, ...names.flatMap((n, i) => [h("div", {}, h("dt", {}, n), /** @type {HTMLElement} */ (values[i]))])),
    rules,
  );
  const put = (/** @type {string[]} */ texts) => {
    for (const [i, v] of values.entries()) text(v, texts[i] ?? "–");
  };
  /** @param {{ id: string, text: string }[]} lines */
  const say = (lines) =>
    keyed(
      rules,
      lines,
      (l) => l.id,
      () => h("li"),
      (element, l) => text(element, l.text),
    );
  return {
    root,
    clear() {
      put([]);
      say([]);
      attr(root, "data-valid", null);
    },
    /** @param {string} why */
    refused(why) {
      put([]);
      say([{ id: "refused", text: why }]);
      attr(root, "data-valid", "no");
    },
    /** @param {Row} result @param {Market | undefined} market */
    show(result, market) {
      const quote = market?.settle ?? market?.quote ?? "";
      const fee = result.fee ? `${brief(result.fee.cost)} ${result.fee.currency}` : "–";
      put([
        `${money(result.cost)} ${quote}`,
        fee,
        result.average ? money(result.average, decimals(market?.price_tick ?? "0.01")) : "–",
        percent(result.slippage, { digits: 3 }),
        onStep(result.expected_fill, market?.amount_step),
        result.exposure_after === undefined || result.exposure_after === null
          ? "–"
          : `${money(result.exposure_after)} ${quote}`,
      ]);
      /** @type {any[]} */
      const failed = result.failed ?? [];
      say(
        // That trading is halted stands below the button already.
        failed
          .filter((f) => f !== "halted" && f?.rule !== "halted" && f?.code !== "halted")
          .map((f) => {
            const rule =
              typeof f === "string"
                ? ((result.rules ?? []).find((/** @type {Row} */ r) => r.rule === f) ?? { rule: f })
                : f;
            return { id: String(rule.rule ?? rule.code), text: sentence(rule) };
          }),
      );
      attr(root, "data-valid", result.valid ? "yes" : "no");
    },
  };
}

/** Rules of the gate in a person's words; the others are said by their names. */
const RULES = /** @type {Record<string, string>} */ ({
  insufficient_funds: "Not enough funds",
  max_order_notional: "Order too large",
  max_order_amount: "Order too large",
  max_position_size: "Position too large, of equity",
  max_position_notional: "Position too large",
  max_leverage: "Leverage too high",
  max_open_positions: "Too many positions",
  max_open_orders: "Too many open orders",
  max_daily_loss: "The day's loss limit is reached",
  max_drawdown: "The drawdown limit is reached",
  loss_streak: "Too many losses in a row, entries wait an hour",
  max_slippage: "Slips too far",
  price_band: "Price too far from the market",
  tick_size: "Price off the grid",
  lot_size: "Amount off the grid",
  min_amount: "Amount too small",
  min_cost: "Order too small",
});

/** A figure of a rule, short. @param {unknown} value @param {string} unit */
function shown(value, unit) {
  if (typeof value !== "string" || !isDecimal(value)) return String(value);
  if (unit === "x") return `${trim(round(value, 2))} ×`;
  if (unit === "fraction") return percent(value, { digits: Math.abs(Number(value)) < 0.0995 ? 1 : 0 });
  // Ten and more need no more than two decimals; small amounts keep theirs.
  const short = Math.abs(Number(value)) >= 10 ? trim(round(value, 2)) : trim(value);
  return `${grouped(short)}${unit ? ` ${unit}` : ""}`;
}

/** @param {Row} rule */
function sentence(rule) {
  const name = RULES[rule.rule ?? rule.code] ?? words(rule.rule ?? rule.code);
  const { value, limit, unit = "", message } = rule;
  const known = value !== undefined && value !== null && limit !== undefined && limit !== null;
  if (rule.rule === "insufficient_funds")
    return known ? `${name}: needs ${shown(value, unit)}, have ${shown(limit, unit)}` : `${name}: no ${unit} to use`;
  if (rule.rule === "tick_size" || rule.rule === "lot_size")
    return `${name} of ${shown(limit, unit)}${/nearest: (.*)$/.test(message ?? "") ? `; nearest ${/nearest: (.*)$/.exec(message)?.[1]}` : ""}`;
  if (known) return `${name}: ${shown(value, unit)}, limit ${shown(limit, unit)}`;
  return message ? `${name}: ${message}` : `Would be refused: ${name}`;
}
