// Decimal arithmetic on text: BigInt inside, no floats. A float is for pixels only (`ratio`).

/** @typedef {{ n: bigint, s: number }} Scaled  n / 10^s */

const SHAPE = /^-?(0|[1-9]\d{0,17})(\.\d{1,18})?$/;

/** Whether the wire would accept this text as a decimal. @param {string} text */
export const isDecimal = (text) => SHAPE.test(text);

/** What may be thousands as well as a fraction. */
const EITHER = /^[1-9]\d{0,2},\d{3}$/;
/** Groups of thousands, as this page writes them: with a point, or several. */
const GROUPS = /^[1-9]\d{0,2}(,\d{3})+\.\d+$|^[1-9]\d{0,2}(,\d{3}){2,}$/;

/**
 * What was typed, as the wire writes it: a keypad may have a comma only, and it is the decimal sign where it can be nothing
 * else. Money is not guessed: "1,234" stays, and is no decimal.
 * @param {string} text
 */
export function typed(text) {
  const bare = text.trim();
  if (GROUPS.test(bare)) return bare.replaceAll(",", "");
  // As many write it.
  if (/^[.,]\d+$/.test(bare)) return `0.${bare.slice(1)}`;
  return /^\d+,\d+$/.test(bare) && !EITHER.test(bare) ? bare.replace(",", ".") : bare;
}

/** What a number may be. */
export const NUMBER = "a number above zero, like 0.5";

/**
 * What to say of a number while it is typed: how it is read where that is not as it stands, or why it is not.
 * @param {string} text @returns {{ as?: string, why?: string }}
 */
export function reading(text) {
  const value = typed(text);
  const whole = value.replace(",", "");
  if (EITHER.test(value)) return { why: `${whole} or ${value.replace(",", ".")}? Write ${whole} or ${value}0.` };
  // Not while it is on its way: "0.", ".".
  if (/^\d.*\d$|^\d$/.test(value) ? !isDecimal(value) : !/^\d*[.,]?$/.test(value)) return { why: NUMBER };
  return { as: value === text.trim() ? "" : `= ${value}` };
}

/** @param {string} text @returns {Scaled} */
function parse(text) {
  const point = text.indexOf(".");
  if (point < 0) return { n: BigInt(text), s: 0 };
  return { n: BigInt(text.slice(0, point) + text.slice(point + 1)), s: text.length - point - 1 };
}

/** @param {bigint} n @param {number} s @returns {string} */
function print(n, s) {
  const negative = n < 0n;
  let digits = (negative ? -n : n).toString();
  if (s > 0) {
    digits = digits.padStart(s + 1, "0");
    digits = `${digits.slice(0, -s)}.${digits.slice(-s)}`;
  }
  return negative ? `-${digits}` : digits;
}

/** @param {Scaled} x @param {number} s */
const at = (x, s) => x.n * 10n ** BigInt(s - x.s);

/** @param {string} a @param {string} b */
export function add(a, b) {
  const x = parse(a);
  const y = parse(b);
  const s = Math.max(x.s, y.s);
  return print(at(x, s) + at(y, s), s);
}

/** @param {string} a @param {string} b */
export function sub(a, b) {
  const x = parse(a);
  const y = parse(b);
  const s = Math.max(x.s, y.s);
  return print(at(x, s) - at(y, s), s);
}

/** @param {string} a @param {string} b */
export function mul(a, b) {
  const x = parse(a);
  const y = parse(b);
  return print(x.n * y.n, x.s + y.s);
}

/** Half-even division of integers. @param {bigint} n @param {bigint} d */
function divide(n, d) {
  const negative = n < 0n !== d < 0n;
  const top = n < 0n ? -n : n;
  const bottom = d < 0n ? -d : d;
  let q = top / bottom;
  const twice = (top % bottom) * 2n;
  if (twice > bottom || (twice === bottom && q % 2n === 1n)) q += 1n;
  return negative ? -q : q;
}

/** a / b to `digits` decimals, half even. @param {string} a @param {string} b @param {number} digits */
export function div(a, b, digits) {
  const x = parse(a);
  const y = parse(b);
  return print(divide(x.n * 10n ** BigInt(digits + y.s), y.n * 10n ** BigInt(x.s)), digits);
}

/** Rounded half even to `digits` decimals, padded. @param {string} a @param {number} digits */
export function round(a, digits) {
  const x = parse(a);
  if (x.s <= digits) return print(at(x, digits), digits);
  return print(divide(x.n, 10n ** BigInt(x.s - digits)), digits);
}

/** Towards zero onto the grid of `step`. @param {string} a @param {string} step */
export function floorTo(a, step) {
  const x = parse(a);
  const y = parse(step);
  const s = Math.max(x.s, y.s);
  const grid = at(y, s);
  return print((at(x, s) / grid) * grid, s);
}

/** -1, 0 or 1. @param {string} a @param {string} b */
export function cmp(a, b) {
  const x = parse(a);
  const y = parse(b);
  const s = Math.max(x.s, y.s);
  const l = at(x, s);
  const r = at(y, s);
  return l < r ? -1 : l > r ? 1 : 0;
}

/** -1, 0 or 1. @param {string} a */
export function sign(a) {
  const { n } = parse(a);
  return n < 0n ? -1 : n > 0n ? 1 : 0;
}

/** @param {string} a */
export const abs = (a) => (a.startsWith("-") ? a.slice(1) : a);

/** How many decimals a grid has: 2 for "0.01", 0 for "5", 1 for "0.50". @param {string} step */
export function decimals(step) {
  const point = step.indexOf(".");
  return point < 0 ? 0 : step.slice(point + 1).replace(/0+$/, "").length;
}

/** Without trailing zeros. @param {string} a */
export const trim = (a) => (a.includes(".") ? a.replace(/\.?0+$/, "") : a);

/** a / b as a float in [0, limit], for widths of bars. @param {string} a @param {string} b */
export function ratio(a, b, limit = 1) {
  const y = Number(b);
  return y > 0 ? Math.min(limit, Math.max(0, Number(a) / y)) : 0;
}
