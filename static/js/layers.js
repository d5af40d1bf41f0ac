// What lies under the candles of either chart: shut hours and fair value gaps, painted on a canvas.

/** @typedef {{ from: number, to: number | null, low: number, high: number, tone: "up" | "down" }} Zone  times in s; to null: still open */
/** @typedef {[from: number, to: number]} Span  first and last bar, s */
/** @typedef {{ zones: Zone[], spans: Span[] }} Layers */
/**
 * Where things are. `x` takes the place of a bar among the bars (fractions are between them).
 * @typedef {{ x: (place: number) => number | null, y: (price: number) => number | null, width: number, height: number }} Scales
 */
/** Paints on a chart. @typedef {(pen: CanvasRenderingContext2D, times: number[], at: Scales, colours: { up: string, down: string, dim: string }) => void} Paint */

/**
 * The place of a time among bars: the first bar that opens at or after it.
 * @param {number[]} times ascending, s @param {number} time
 */
export function placeOf(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (/** @type {number} */ (times[middle]) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * @param {CanvasRenderingContext2D} pen @param {Layers} layers @param {number[]} times of the bars
 * @param {Scales} at @param {{ up: string, down: string, dim: string }} colours
 */
export function paintLayers(pen, { zones, spans }, times, at, colours) {
  pen.save();
  for (const [from, to] of spans) {
    const left = at.x(placeOf(times, from) - 0.5);
    const right = at.x(placeOf(times, to) + 0.5);
    if (left === null || right === null || right < 0 || left > at.width) continue;
    pen.globalAlpha = 0.09;
    pen.fillStyle = colours.dim;
    pen.fillRect(left, 0, right - left, at.height);
  }
  const first = times[0];
  for (const zone of zones) {
    if (first === undefined || (zone.to !== null && zone.to < first)) continue;
    const left = at.x(placeOf(times, zone.from) - 0.5);
    const right = zone.to === null ? at.width : at.x(placeOf(times, zone.to) + 0.5);
    const top = at.y(zone.high);
    const bottom = at.y(zone.low);
    if (left === null || right === null || top === null || bottom === null || right < 0 || left > at.width) continue;
    pen.fillStyle = pen.strokeStyle = zone.tone === "up" ? colours.up : colours.down;
    pen.globalAlpha = 0.13;
    pen.fillRect(left, top, right - left, Math.max(1, bottom - top));
    pen.globalAlpha = 0.5;
    pen.strokeRect(Math.round(left) + 0.5, Math.round(top) + 0.5, right - left, Math.max(1, Math.round(bottom - top)));
  }
  pen.restore();
}
