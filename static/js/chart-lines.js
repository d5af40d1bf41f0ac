// Over the candles of lightweight-charts: curves of averages, prices of orders and positions. Loaded with the first of them.

/** @typedef {typeof import("lightweight-charts")} Library */
/** @typedef {import("lightweight-charts").ISeriesApi<"Line">} Series */

const point = (/** @type {Point} */ p) => ({
  time: /** @type {import("lightweight-charts").UTCTimestamp} */ (p.time),
  value: p.value,
});

/**
 * @param {import("lightweight-charts").IChartApi} chart @param {Library} library
 * @param {(tone: Curve["tone"]) => string} colour of now @param {(time: number) => boolean} has whether a bar is there
 */
export function curves(chart, { LineSeries }, colour, has) {
  /** @type {Map<string, { series: Series, tone: Curve["tone"], last: number }>} */
  const shown = new Map();
  return {
    /** @param {Curve[]} wanted */
    set(wanted) {
      const left = new Set(shown.keys());
      for (const { id, tone, points } of wanted) {
        left.delete(id);
        const made = shown.get(id) ?? {
          tone,
          last: 0,
          series: chart.addSeries(LineSeries, {
            color: colour(tone),
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
        shown.set(id, made);
      }
      for (const id of left) {
        const old = shown.get(id);
        if (old) chart.removeSeries(old.series);
        shown.delete(id);
      }
    },
    /** @param {string} id @param {Point} next */
    extend(id, next) {
      const curve = shown.get(id);
      // A point between bars would put a gap among the candles.
      if (!curve || next.time < curve.last || !has(next.time)) return;
      curve.last = next.time;
      curve.series.update(point(next));
    },
    /** In the colours of another theme. */
    tint() {
      for (const { series, tone } of shown.values()) series.applyOptions({ color: colour(tone) });
    },
  };
}

/**
 * Shows prices, all of them; what is left out goes.
 * @param {import("lightweight-charts").ISeriesApi<"Candlestick">} candles @param {Library} library
 * @param {() => Colours} colours of now
 */
export function lines(candles, { LineStyle }, colours) {
  /** @type {Map<string, { line: import("lightweight-charts").IPriceLine, text: string }>} */
  const shown = new Map();
  // The library moves labels that would lie upon each other, those of prices out of sight into sight: there they stand at
  // another price. Where a line is seen is known when it is drawn.
  const view = {
    renderer: () => ({
      draw: (/** @type {import("fancy-canvas").CanvasRenderingTarget2D} */ target) =>
        target.useMediaCoordinateSpace(({ mediaSize: { height } }) => {
          const said = new Set();
          for (const { line } of shown.values()) {
            const { price, title, axisLabelVisible } = line.options();
            const y = candles.priceToCoordinate(price);
            const seen = y !== null && y >= 0 && y <= height && (title !== "" || !said.has(price));
            said.add(price);
            if (seen !== axisLabelVisible) line.applyOptions({ axisLabelVisible: seen });
          }
        }),
    }),
  };
  const views = [view];
  candles.attachPrimitive({ paneViews: () => views });
  return (/** @type {Line[]} */ wanted) => {
    const { up, down, accent } = colours();
    const left = new Set(shown.keys());
    for (const { id, price, title, tone, look } of wanted) {
      left.delete(id);
      const options = {
        price,
        title,
        color: tone === "up" ? up : tone === "down" ? down : accent,
        lineWidth: /** @type {1} */ (1),
        lineStyle: { solid: LineStyle.Solid, dashed: LineStyle.Dashed, dotted: LineStyle.Dotted }[look],
      };
      const said = JSON.stringify(options);
      const old = shown.get(id);
      if (old?.text === said) continue;
      if (old) old.line.applyOptions(options);
      shown.set(id, {
        line: old?.line ?? candles.createPriceLine({ ...options, axisLabelVisible: false }),
        text: said,
      });
    }
    for (const id of left) {
      const old = shown.get(id);
      if (old) candles.removePriceLine(old.line);
      shown.delete(id);
    }
  };
}
