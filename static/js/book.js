// An order book from snapshots and updates: levels by price text, sorting, cumulation, checksum.
import { add, cmp, sub } from "./decimal.js";

const TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** CRC-32 (zlib) of ASCII text. @param {string} text */
export function crc32(text) {
  let c = 0xffffffff;
  for (let i = 0; i < text.length; i++) {
    c = /** @type {number} */ (TABLE[(c ^ text.charCodeAt(i)) & 0xff]) ^ (c >>> 8);
  }
  return (c ^ 0xffffffff) >>> 0;
}

/** @param {Level[]} side */
const ten = (side) =>
  side
    .slice(0, 10)
    .map(([price, amount]) => `${price}:${amount}`)
    .join(",");

/** The checksum of protocol section 6.3. @param {Level[]} bids @param {Level[]} asks */
export const checksum = (bids, asks) => crc32(`${ten(bids)};${ten(asks)}`);

export class Book {
  /** @type {Map<string, string>} */
  #bids = new Map();
  /** @type {Map<string, string>} */
  #asks = new Map();

  /**
   * A snapshot is the same shape applied to nothing.
   * @param {{ bids?: Level[], asks?: Level[] }} data @param {boolean} replace
   */
  apply(data, replace) {
    if (replace) {
      this.#bids.clear();
      this.#asks.clear();
    }
    merge(this.#bids, data.bids ?? []);
    merge(this.#asks, data.asks ?? []);
  }

  /** Both sides, best first. */
  levels() {
    return {
      bids: [...this.#bids].sort((a, b) => order(b[0], a[0])),
      asks: [...this.#asks].sort((a, b) => order(a[0], b[0])),
    };
  }
}

/** By value; floats tell almost all prices apart, at a tenth of the cost. @param {string} a @param {string} b */
const order = (a, b) => Number(a) - Number(b) || cmp(a, b);

/** @param {Map<string, string>} side @param {Level[]} levels */
function merge(side, levels) {
  for (const [price, amount] of levels) {
    if (amount === "0") side.delete(price);
    else side.set(price, amount);
  }
}

/**
 * Price, amount and running total from the best level on.
 * @param {Level[]} levels best first @param {number} rows
 * @returns {[price: string, amount: string, total: string][]}
 */
export function cumulated(levels, rows) {
  let total = "0";
  return levels.slice(0, rows).map(([price, amount]) => {
    total = add(total, amount);
    return [price, amount, total];
  });
}

/**
 * Mid price and spread, as text; null while a side is empty.
 * @param {Level[]} bids @param {Level[]} asks
 */
export function middle(bids, asks) {
  const bid = bids[0]?.[0];
  const ask = asks[0]?.[0];
  if (bid === undefined || ask === undefined) return null;
  const spread = sub(ask, bid);
  // Half of a sum is exact with one more digit: times 5, point one to the left.
  const sum = add(bid, ask);
  const mid = half(sum);
  return { bid, ask, spread, mid, bp: (Number(spread) / Number(mid)) * 10_000 };
}

/** @param {string} text */
function half(text) {
  const point = text.indexOf(".");
  const scale = point < 0 ? 0 : text.length - point - 1;
  const n = BigInt(text.replace(".", "")) * 5n;
  const digits = n.toString().padStart(scale + 2, "0");
  return `${digits.slice(0, -(scale + 1))}.${digits.slice(-(scale + 1))}`;
}
