// The chart by lightweight-charts: candles, volume, markers, layers under them; curves and price lines are loaded when one
// is shown. Same interface as plain-chart.js.
import { grouped, parts, stamp } from "./format.js";

const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
const at = (/** @type {number} */ time) => /** @type {import("lightweight-charts").UTCTimestamp} */ (time);

const late = () => import("./chart-lines.js");

/** @param {HTMLElement} root @returns {Promise<Chart>} */
export async function libraryChart(root) {
  const address = new URL("../vendor/lightweight-charts/lightweight-charts.standalone.production.mjs", import.meta.url);
  /** @type {typeof import("lightweight-charts")} */
  const library = await import(address.href);
  const { createChart, CandlestickSeries, HistogramSeries, createSeriesMarkers, CrosshairMode, LineStyle } = library;
  // On a phone the legend has two lines.
  const top = innerWidth > 720 ? 0.08 : 0.19;
  const chart = createChart(root, {
    autoSize: true,
    layout: { attributionLogo: false, background: { color: "transparent" }, fontSize: 11 },
    crosshair: { mode: CrosshairMode.Normal },
    rightPriceScale: { borderVisible: false, scaleMargins: { top, bottom: 0.22 } },
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
  /** @type {Map<number, Bar>} */
  const byTime = new Map();
  /** @type {number[]} */
  let times = [];
  /** @type {import("./layers.js").Paint} */
  let layers = () => {};
  let drawn = () => {};
  let tint = () => {};
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
    time: at(b.time),
  });
  const column = (/** @type {Bar} */ b) => ({
    time: at(b.time),
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
          const places = {
            ...mediaSize,
            x: (/** @type {number} */ place) => (zero === null || one === null ? null : zero + place * (one - zero)),
            y: (/** @type {number} */ price) => candles.priceToCoordinate(price),
          };
          layers(context, times, places, colours);
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
          time: at(time),
          position: side === "buy" ? "belowBar" : "aboveBar",
          shape: dot ? "circle" : side === "buy" ? "arrowUp" : "arrowDown",
          color: dot ? (side === "buy" ? colours.up : colours.down) : colours.accent,
          text: dot ? "" : side,
          size: dot ? 0.5 : 0.7,
        })),
      );
    },
    async curves() {
      const made = (await late()).curves(
        chart,
        library,
        (tone) => colours[tone],
        (time) => byTime.has(time),
      );
      tint = made.tint;
      return made;
    },
    lines: async () => (await late()).lines(candles, library, () => colours),
    setLayers(wanted) {
      layers = wanted;
      again();
    },
    setVolume(shown) {
      if (shown === volumeShown) return;
      volumeShown = shown;
      volume.applyOptions({ visible: shown });
      candles.priceScale().applyOptions({ scaleMargins: { top, bottom: shown ? 0.22 : 0.06 } });
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
      tint();
      if (byTime.size > 0) volume.setData([...byTime.values()].sort((a, b) => a.time - b.time).map(column));
    },
    onHover(tell) {
      chart.subscribeCrosshairMove(({ time }) => tell((time !== undefined && byTime.get(Number(time))) || null));
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
