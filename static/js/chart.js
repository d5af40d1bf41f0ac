// The chart by lightweight-charts: candles, volume, markers, price lines. Same interface as plain-chart.js.
import { grouped, parts, stamp } from "./format.js";

/** @typedef {{ time: number, open: number, high: number, low: number, close: number, volume: number }} Bar  time in s */
/** @typedef {{ time: number, side: "buy" | "sell" }} Mark */
/** @typedef {{ id: string, price: number, title: string, tone: string, dashed: boolean }} Line */
/** @typedef {Record<"up" | "down" | "text" | "grid" | "accent" | "dim", string>} Colours */
/**
 * @typedef {object} Chart
 * @property {(bars: Bar[], keep: boolean) => void} setBars
 * @property {(bar: Bar) => void} update
 * @property {(marks: Mark[]) => void} setMarks
 * @property {(lines: Line[]) => void} setLines
 * @property {(colours: Colours, digits: number, utc: boolean) => void} style
 * @property {(tell: (bar: Bar | null) => void) => void} onHover
 * @property {(tell: () => void) => void} onLeftEdge
 */

const two = (/** @type {number} */ n) => String(n).padStart(2, "0");

/** @param {HTMLElement} root @returns {Promise<Chart>} */
export async function libraryChart(root) {
  const address = new URL("../vendor/lightweight-charts/lightweight-charts.standalone.production.mjs", import.meta.url);
  /** @type {typeof import("lightweight-charts")} */
  const library = await import(address.href);
  const { createChart, CandlestickSeries, HistogramSeries, createSeriesMarkers, CrosshairMode, LineStyle } = library;
  const chart = createChart(root, {
    autoSize: true,
    layout: { attributionLogo: false, background: { color: "transparent" }, fontSize: 11 },
    crosshair: { mode: CrosshairMode.Normal },
    rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.08, bottom: 0.22 } },
    timeScale: { borderVisible: false, timeVisible: true, rightOffset: 6, barSpacing: 7, minBarSpacing: 2 },
  });
  const candles = chart.addSeries(CandlestickSeries, { priceLineStyle: LineStyle.Dotted });
  const volume = chart.addSeries(HistogramSeries, {
    priceScaleId: "",
    priceFormat: { type: "volume" },
    lastValueVisible: false,
    priceLineVisible: false,
  });
  volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
  const markers = createSeriesMarkers(candles, []);
  /** @type {Map<string, { line: import("lightweight-charts").IPriceLine, text: string }>} */
  const lines = new Map();
  /** @type {Map<number, Bar>} */
  const byTime = new Map();
  let colours = /** @type {Colours} */ ({
    up: "#0aa",
    down: "#a40",
    text: "#888",
    grid: "#222",
    accent: "#88f",
    dim: "#666",
  });
  let utc = false;
  let leftEdge = () => {};

  const candle = (/** @type {Bar} */ b) => ({
    ...b,
    time: /** @type {import("lightweight-charts").UTCTimestamp} */ (b.time),
  });
  const column = (/** @type {Bar} */ b) => ({
    time: /** @type {import("lightweight-charts").UTCTimestamp} */ (b.time),
    value: b.volume,
    color: fade(b.close >= b.open ? colours.up : colours.down, 0.32),
  });
  chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
    if (range && range.from < 20) leftEdge();
  });

  return {
    setBars(bars, keep) {
      const before = keep ? chart.timeScale().getVisibleRange() : null;
      byTime.clear();
      for (const b of bars) byTime.set(b.time, b);
      candles.setData(bars.map(candle));
      volume.setData(bars.map(column));
      if (before) chart.timeScale().setVisibleRange(before);
      else
        chart
          .timeScale()
          .setVisibleLogicalRange({ from: bars.length - Math.max(60, root.clientWidth / 8), to: bars.length + 5 });
    },
    update(bar) {
      byTime.set(bar.time, bar);
      candles.update(candle(bar));
      volume.update(column(bar));
    },
    setMarks(marks) {
      markers.setMarkers(
        marks.map(({ time, side }) => ({
          time: /** @type {import("lightweight-charts").UTCTimestamp} */ (time),
          position: side === "buy" ? "belowBar" : "aboveBar",
          shape: side === "buy" ? "arrowUp" : "arrowDown",
          color: colours.accent,
          text: side,
          size: 0.7,
        })),
      );
    },
    setLines(wanted) {
      const left = new Set(lines.keys());
      for (const { id, price, title, tone, dashed } of wanted) {
        left.delete(id);
        const color = tone === "up" ? colours.up : tone === "down" ? colours.down : colours.accent;
        const options = {
          price,
          title,
          color,
          lineWidth: /** @type {1} */ (1),
          lineStyle: dashed ? LineStyle.Dashed : LineStyle.Solid,
          axisLabelVisible: true,
        };
        const said = JSON.stringify(options);
        const old = lines.get(id);
        if (old?.text === said) continue;
        if (old) old.line.applyOptions(options);
        lines.set(id, { line: old?.line ?? candles.createPriceLine(options), text: said });
      }
      for (const id of left) {
        const old = lines.get(id);
        if (old) candles.removePriceLine(old.line);
        lines.delete(id);
      }
    },
    style(wanted, digits, zone) {
      colours = wanted;
      utc = zone;
      const font = getComputedStyle(root).fontFamily;
      chart.applyOptions({
        layout: { textColor: colours.text, fontFamily: font },
        grid: { vertLines: { color: colours.grid }, horzLines: { color: colours.grid } },
        crosshair: {
          vertLine: { color: colours.dim, labelBackgroundColor: colours.dim },
          horzLine: { color: colours.dim, labelBackgroundColor: colours.dim },
        },
        localization: { timeFormatter: (/** @type {any} */ time) => stamp(Number(time) * 1000, utc) },
        timeScale: {
          tickMarkFormatter: (/** @type {any} */ time, /** @type {number} */ kind) => {
            const p = parts(Number(time) * 1000, utc);
            if (kind === 0) return String(p.year);
            if (kind === 1) return `${p.year}-${two(p.month)}`;
            if (kind === 2) return `${two(p.month)}-${two(p.day)}`;
            return `${two(p.hour)}:${two(p.minute)}`;
          },
        },
      });
      candles.applyOptions({
        upColor: colours.up,
        downColor: colours.down,
        wickUpColor: colours.up,
        wickDownColor: colours.down,
        borderVisible: false,
        priceFormat: {
          type: "custom",
          minMove: 10 ** -digits,
          formatter: (/** @type {number} */ price) => grouped(price.toFixed(digits)),
        },
      });
      if (byTime.size > 0) volume.setData([...byTime.values()].sort((a, b) => a.time - b.time).map(column));
    },
    onHover(tell) {
      chart.subscribeCrosshairMove((at) => tell((at.time !== undefined && byTime.get(Number(at.time))) || null));
    },
    onLeftEdge(tell) {
      leftEdge = tell;
    },
  };
}

/** "rgb(1, 2, 3)" with an alpha. @param {string} colour @param {number} alpha */
const fade = (colour, alpha) => colour.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);
