// The chart by lightweight-charts: candles, volume, curves, markers, price lines, layers under them. Same interface as
// plain-chart.js.
import { grouped, parts, stamp } from "./format.js";

/** @typedef {{ time: number, open: number, high: number, low: number, close: number, volume: number }} Bar  time in s */
/** @typedef {{ time: number, side: "buy" | "sell", dot?: boolean }} Mark  a dot is a signal, not a fill */
/** @typedef {{ id: string, price: number, title: string, tone: string, look: "solid" | "dashed" | "dotted" }} Line */
/** @typedef {{ id: string, tone: "accent" | "warn", points: Point[] }} Curve */
/** @typedef {{ time: number, value: number }} Point  time in s */
/** @typedef {Record<"up" | "down" | "text" | "grid" | "accent" | "warn" | "dim", string>} Colours */
/**
 * @typedef {object} Chart
 * @property {(bars: Bar[], keep: boolean) => void} setBars
 * @property {(bar: Bar) => void} update
 * @property {(marks: Mark[]) => void} setMarks
 * @property {(lines: Line[]) => void} setLines
 * @property {(curves: Curve[]) => void} setCurves  all of them; what is left out goes
 * @property {(id: string, point: Point) => void} extend  a curve's newest point, new or changed
 * @property {(paint: import("./layers.js").Paint) => void} setLayers  what lies under the candles
 * @property {(shown: boolean) => void} setVolume
 * @property {(price: number) => number | null} yOf  pixels from the top; null while there is no scale
 * @property {(y: number) => number | null} priceAt
 * @property {() => number} axis  width of the price axis
 * @property {(tell: () => void) => void} onDraw  after each drawing: what lies over the chart moves with it
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
  const { createChart, CandlestickSeries, HistogramSeries, LineSeries, createSeriesMarkers, CrosshairMode, LineStyle } =
    library;
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
  /** @type {Map<string, { series: import("lightweight-charts").ISeriesApi<"Line">, tone: "accent" | "warn", last: number }>} */
  const curves = new Map();
  /** @type {Map<number, Bar>} */
  const byTime = new Map();
  /** @type {number[]} */
  let times = [];
  /** @type {import("./layers.js").Paint} */
  let layers = () => {};
  let drawn = () => {};
  let again = () => {};
  let colours = /** @type {Colours} */ ({
    up: "#0aa",
    down: "#a40",
    text: "#888",
    grid: "#222",
    accent: "#88f",
    warn: "#da0",
    dim: "#666",
  });
  let utc = false;
  let leftEdge = () => {};
  let volumeShown = true;

  const candle = (/** @type {Bar} */ b) => ({
    ...b,
    time: /** @type {import("lightweight-charts").UTCTimestamp} */ (b.time),
  });
  const point = (/** @type {Point} */ p) => ({
    time: /** @type {import("lightweight-charts").UTCTimestamp} */ (p.time),
    value: p.value,
  });
  const column = (/** @type {Bar} */ b) => ({
    time: /** @type {import("lightweight-charts").UTCTimestamp} */ (b.time),
    value: b.volume,
    color: fade(b.close >= b.open ? colours.up : colours.down, 0.32),
  });
  chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
    if (range && range.from < 20) leftEdge();
  });

  const scale = chart.timeScale();
  const view = {
    zOrder: () => /** @type {const} */ ("bottom"),
    renderer: () => ({
      draw: (/** @type {import("fancy-canvas").CanvasRenderingTarget2D} */ target) =>
        target.useMediaCoordinateSpace(({ context, mediaSize }) => {
          // The library takes whole places only; between them it is a straight line.
          const zero = scale.logicalToCoordinate(/** @type {import("lightweight-charts").Logical} */ (0));
          const one = scale.logicalToCoordinate(/** @type {import("lightweight-charts").Logical} */ (1));
          const at = {
            ...mediaSize,
            x: (/** @type {number} */ place) => (zero === null || one === null ? null : zero + place * (one - zero)),
            y: (/** @type {number} */ price) => candles.priceToCoordinate(price),
          };
          layers(context, times, at, colours);
          drawn();
        }),
    }),
  };
  const views = [view];
  candles.attachPrimitive({
    attached: ({ requestUpdate }) => {
      again = requestUpdate;
    },
    paneViews: () => views,
  });

  return {
    setBars(bars, keep) {
      const before = keep ? chart.timeScale().getVisibleRange() : null;
      byTime.clear();
      for (const b of bars) byTime.set(b.time, b);
      times = bars.map((b) => b.time);
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
      if (times.at(-1) !== bar.time) times.push(bar.time);
      candles.update(candle(bar));
      volume.update(column(bar));
    },
    setMarks(marks) {
      markers.setMarkers(
        marks.map(({ time, side, dot }) => ({
          time: /** @type {import("lightweight-charts").UTCTimestamp} */ (time),
          position: side === "buy" ? "belowBar" : "aboveBar",
          shape: dot ? "circle" : side === "buy" ? "arrowUp" : "arrowDown",
          color: dot ? (side === "buy" ? colours.up : colours.down) : colours.accent,
          text: dot ? "" : side,
          size: dot ? 0.5 : 0.7,
        })),
      );
    },
    setLines(wanted) {
      const left = new Set(lines.keys());
      for (const { id, price, title, tone, look } of wanted) {
        left.delete(id);
        const color = tone === "up" ? colours.up : tone === "down" ? colours.down : colours.accent;
        const options = {
          price,
          title,
          color,
          lineWidth: /** @type {1} */ (1),
          lineStyle: { solid: LineStyle.Solid, dashed: LineStyle.Dashed, dotted: LineStyle.Dotted }[look],
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
    setCurves(wanted) {
      const left = new Set(curves.keys());
      for (const { id, tone, points } of wanted) {
        left.delete(id);
        const color = colours[tone];
        const made = curves.get(id) ?? {
          tone,
          last: 0,
          series: chart.addSeries(LineSeries, {
            color,
            lineWidth: 1,
            priceLineVisible: false,
            lastValueVisible: false,
            crosshairMarkerVisible: false,
            // Far averages must not press the candles flat.
            autoscaleInfoProvider: () => null,
          }),
        };
        made.series.setData(points.map(point));
        made.last = points.at(-1)?.time ?? 0;
        curves.set(id, made);
      }
      for (const id of left) {
        const old = curves.get(id);
        if (old) chart.removeSeries(old.series);
        curves.delete(id);
      }
    },
    extend(id, next) {
      const curve = curves.get(id);
      // A point between bars would put a gap among the candles.
      if (!curve || next.time < curve.last || !byTime.has(next.time)) return;
      curve.last = next.time;
      curve.series.update(point(next));
    },
    setLayers(wanted) {
      layers = wanted;
      again();
    },
    setVolume(shown) {
      if (shown === volumeShown) return;
      volumeShown = shown;
      volume.applyOptions({ visible: shown });
      candles.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: shown ? 0.22 : 0.06 } });
    },
    yOf: (price) => candles.priceToCoordinate(price),
    priceAt: (y) => candles.coordinateToPrice(y),
    axis: () => candles.priceScale().width(),
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
      for (const { series, tone } of curves.values()) series.applyOptions({ color: colours[tone] });
      if (byTime.size > 0) volume.setData([...byTime.values()].sort((a, b) => a.time - b.time).map(column));
    },
    onHover(tell) {
      chart.subscribeCrosshairMove((at) => tell((at.time !== undefined && byTime.get(Number(at.time))) || null));
    },
    onLeftEdge(tell) {
      leftEdge = tell;
    },
    onDraw(tell) {
      drawn = tell;
    },
  };
}

/** "rgb(1, 2, 3)" with an alpha. @param {string} colour @param {number} alpha */
const fade = (colour, alpha) => colour.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);
