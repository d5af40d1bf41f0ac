// Text for people from text of the wire. Digits come from the market's grid; the minus is U+2212.
import { abs, decimals, div, round, sign } from "./decimal.js";

export const NONE = "–";

/** Thousands by comma; keeps every digit. @param {string} text */
export function grouped(text) {
  const negative = text.startsWith("-");
  const bare = negative ? text.slice(1) : text;
  const point = bare.indexOf(".");
  const whole = point < 0 ? bare : bare.slice(0, point);
  const rest = point < 0 ? "" : bare.slice(point);
  return (negative ? "−" : "") + whole.replace(/\B(?=(\d{3})+$)/g, ",") + rest;
}

/**
 * A number of the wire at the digits of a grid; never fewer digits than it has.
 * @param {string | null | undefined} text @param {string} [step]
 */
export function onStep(text, step) {
  if (text === null || text === undefined) return NONE;
  const own = decimals(text);
  return grouped(round(text, Math.max(own, step ? decimals(step) : 0)));
}

const UNITS = /** @type {const} */ ([
  [13, "T"],
  [10, "B"],
  [8, "M"],
]);

/**
 * As `onStep`; from ten millions on in short, for narrow columns: "614.28 M", "1.61 B".
 * @param {string | null | undefined} text not below zero @param {string} [step]
 */
export function short(text, step) {
  const whole = text?.split(".", 1)[0]?.length ?? 0;
  const unit = UNITS.find(([least]) => whole >= least);
  if (!text || !unit) return onStep(text, step);
  const zeros = { T: 12, B: 9, M: 6 }[unit[1]];
  return `${grouped(round(div(text, `1${"0".repeat(zeros)}`, 4), 2))} ${unit[1]}`;
}

/**
 * Money at a fixed number of digits, rounded half even for display.
 * @param {string | null | undefined} text @param {number} [digits]
 */
export function money(text, digits = 2) {
  return text === null || text === undefined ? NONE : grouped(round(text, digits));
}

/**
 * Money with its sign always said: + or −, nothing at zero.
 * @param {string | null | undefined} text @param {number} [digits]
 */
export function signed(text, digits = 2) {
  if (text === null || text === undefined) return NONE;
  const shown = round(text, digits);
  if (sign(shown) === 0) return grouped(abs(shown));
  return (sign(shown) > 0 ? "+" : "") + grouped(shown);
}

/**
 * A fraction (0.0245) as percent with two digits: "2.45 %".
 * @param {string | number | null | undefined} fraction @param {{ plus?: boolean, digits?: number }} [how]
 */
export function percent(fraction, how = {}) {
  if (fraction === null || fraction === undefined) return NONE;
  return percentPoints(Number(fraction) * 100, how);
}

/**
 * A number already scaled 0..100 (the wire's `_pct`).
 * @param {string | number | null | undefined} points @param {{ plus?: boolean, digits?: number }} [how]
 */
export function percentPoints(points, { plus = false, digits = 2 } = {}) {
  if (points === null || points === undefined) return NONE;
  const text = Number(points).toFixed(digits);
  const zero = Number(text) === 0;
  const bare = grouped(zero ? text.replace("-", "") : text);
  return `${plus && !zero && Number(text) > 0 ? "+" : ""}${bare} %`;
}

/** "up", "down" or "" for a class name; at the digits that are shown. @param {string | number | null | undefined} value @param {number} [digits] */
export function direction(value, digits) {
  const n = Number(digits === undefined ? (value ?? 0) : Number(value ?? 0).toFixed(digits));
  return n > 0 ? "up" : n < 0 ? "down" : "";
}

/** ▲ or ▼ beside the colour, so that colour is never alone; nothing where "0.00 %" is shown. @param {string | number | null | undefined} points */
export function arrow(points) {
  const way = direction(points, 2);
  return way === "up" ? "▲" : way === "down" ? "▼" : "";
}

const two = (/** @type {number} */ n) => String(n).padStart(2, "0");

/**
 * The one clock of page and chart: parts of a time in UTC or in the browser's zone.
 * @param {number} ms @param {boolean} utc
 */
export function parts(ms, utc) {
  const d = new Date(utc ? ms : ms - new Date(ms).getTimezoneOffset() * 60_000);
  return {
    year: d.getUTCFullYear(),
    month: d.getUTCMonth() + 1,
    day: d.getUTCDate(),
    hour: d.getUTCHours(),
    minute: d.getUTCMinutes(),
    second: d.getUTCSeconds(),
  };
}

/** 14:05:09. @param {number | null | undefined} ms @param {boolean} utc */
export function clock(ms, utc) {
  if (!ms) return NONE;
  const p = parts(ms, utc);
  return `${two(p.hour)}:${two(p.minute)}:${two(p.second)}`;
}

/** 2026-09-21 14:05. @param {number | null | undefined} ms @param {boolean} utc */
export function stamp(ms, utc) {
  if (!ms) return NONE;
  const p = parts(ms, utc);
  return `${p.year}-${two(p.month)}-${two(p.day)} ${two(p.hour)}:${two(p.minute)}`;
}

/** The clock of today; on another day with the date. @param {number | null | undefined} ms @param {boolean} utc @param {number} now */
export function when(ms, utc, now) {
  if (!ms) return NONE;
  const then = stamp(ms, utc);
  return then.slice(0, 10) === stamp(now, utc).slice(0, 10) ? clock(ms, utc) : then;
}

/** Age in a fixed, short form: "0.4 s", "12 s", "3 min", "2 h". @param {number} ms */
export function age(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return `${Math.floor(s / 3600)} h`;
}

/** The same without tenths, for what is read while it moves. @param {number} ms */
export const whole = (ms) => age(ms).replace(/\.\d/, "");

/** "market" stays, "stop_limit" → "stop limit". @param {string | null | undefined} word */
export const words = (word) => (word ? String(word).replaceAll("_", " ") : NONE);
