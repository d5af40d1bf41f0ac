// Rules of the gate in a person's words. Loaded with the first order that one would refuse.
import { isDecimal, round, trim } from "./decimal.js";
import { grouped, percent, words } from "./format.js";

/** The others are said by their names. */
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
  // Ten and more need no more than two decimals, or none; small amounts keep theirs.
  const short = Math.abs(Number(value)) >= 10 ? round(value, 2).replace(".00", "") : trim(value);
  return `${grouped(short)}${unit ? ` ${unit}` : ""}`;
}

/** @param {Row} rule */
export function sentence(rule) {
  const plain = words(rule.rule ?? rule.code);
  const name = RULES[rule.rule ?? rule.code] ?? plain.charAt(0).toUpperCase() + plain.slice(1);
  const { value, limit, unit = "", message } = rule;
  const blind = / cannot be judged: .*$/.exec(message ?? "");
  if (blind) return `${plain.charAt(0).toUpperCase()}${plain.slice(1)}${blind[0]}`;
  const known = value !== undefined && value !== null && limit !== undefined && limit !== null;
  if (rule.rule === "insufficient_funds")
    return known ? `${name}: needs ${shown(value, unit)}, have ${shown(limit, unit)}` : `${name}: no ${unit} to use`;
  if (rule.rule === "tick_size" || rule.rule === "lot_size")
    return `${name} of ${shown(limit, unit)}${/nearest: (.*)$/.test(message ?? "") ? `; nearest ${/nearest: (.*)$/.exec(message)?.[1]}` : ""}`;
  if (known) return `${name}: ${shown(value, unit)}, limit ${shown(limit, unit)}`;
  return message ? `${name}: ${message}` : `Would be refused: ${name}`;
}

/** An order's refusal by a rule that has words here, with its code; else null. @param {ErrorBody} error */
export function refusal({ code, message, details = {}, retry_after: wait }) {
  if (!(details.rule in RULES)) return null;
  return `${sentence({ ...details, message })} (${code}${wait ? `, again in ${wait} s` : ""})`;
}
