// Curves over time by the chart library, several panes; plain lines on a canvas where it is missing.
import { attr, colour, h } from "./dom.js";
import { clock, grouped, parts, percent } from "./format.js";
import { settings } from "./settings.js";
import { spark } from "./spark.js";

/** @typedef {{ name: string, tone: string, area?: boolean, pane?: number, fraction?: boolean }} Curve */
/** @typedef {[time: number, value: number][]} Points  time in ms, ascending */

const two = (/** @type {number} */ n) => String(n).padStart(2, "0");

/**
 * @param {HTMLElement} root @param {Store} store told of another theme or time zone
 * @param {Curve[]} curves @returns {{ show: (points: Points[]) => void }}
 */
export function curves(root, store, curves) {
  /** @type {Points[]} */
  let last = [];
  let draw = () => {};
  let tint = () => {};
  const address = new URL("../vendor/lightweight-charts/lightweight-charts.standalone.production.mjs", import.meta.url);
  import(address.href).then(
    (library) => {
      ({ draw, tint } = drawn(root, curves, library, () => last));
      draw();
    },
    () => {
      draw = tint = plain(root, curves, () => last);
      draw();
    },
  );
  store.watch(["settings"], () => tint());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => tint());
  return {
    show(points) {
      last = points;
      draw();
    },
  };
}

/** Buttons for periods, of which one is pressed. @template {string} T @param {T[]} names @param {(name: T) => unknown} choose */
export function periods(names, choose) {
  const all = names.map((name) => h("button", { type: "button", class: "chip", onclick: () => choose(name) }, name));
  return {
    root: h("div", { class: "chips", role: "group", "aria-label": "Period" }, ...all),
    /** @param {T} name */
    press(name) {
      for (const [i, chip] of all.entries()) attr(chip, "aria-pressed", String(names[i] === name));
    },
  };
}

/** @param {HTMLElement} root @param {Curve[]} curves @param {any} library @param {() => Points[]} points */
function drawn(root, curves, library, points) {
  /** @type {typeof import("lightweight-charts")} */
  const { createChart, AreaSeries, LineSeries } = library;
  const label = (/** @type {number} */ time) => {
    const p = parts(time * 1000, settings.utc);
    return `${two(p.day)}.${two(p.month)}. ${clock(time * 1000, settings.utc)}`;
  };
  const chart = createChart(root, {
    autoSize: true,
    layout: {
      attributionLogo: false,
      background: { color: "transparent" },
      fontSize: 11,
    },
    rightPriceScale: { borderVisible: false },
    timeScale: { borderVisible: false, timeVisible: true },
    localization: { timeFormatter: (/** @type {any} */ time) => label(Number(time)) },
  });
  const series = curves.map((curve) => {
    const common = {
      title: curve.name,
      lineWidth: /** @type {1} */ (1),
      priceLineVisible: false,
      priceFormat: {
        type: /** @type {"custom"} */ ("custom"),
        // The smallest step that is written differently, or the axis says a number twice.
        minMove: curve.fraction ? 0.0001 : 0.01,
        formatter: (/** @type {number} */ v) => (curve.fraction ? percent(v) : grouped(v.toFixed(2)).replace("-", "−")),
      },
    };
    return curve.area
      ? chart.addSeries(AreaSeries, { ...common, bottomColor: "transparent" }, curve.pane ?? 0)
      : chart.addSeries(LineSeries, common, curve.pane ?? 0);
  });
  /** Colours and zone of now. */
  function tint() {
    const grid = { color: colour(root, "--line-soft") };
    chart.applyOptions({
      layout: { textColor: colour(root, "--dim"), panes: { separatorColor: grid.color } },
      grid: { vertLines: grid, horzLines: grid },
      timeScale: {
        // A new one, because the library remembers what one said. 0 to 2 are marks of a year, month or day.
        tickMarkFormatter: (/** @type {any} */ time, /** @type {number} */ mark) => {
          const p = parts(Number(time) * 1000, settings.utc);
          // Marks of less than a minute: without seconds all would say the same.
          if (mark === 4) return clock(Number(time) * 1000, settings.utc);
          return mark <= 2 ? `${two(p.day)}.${two(p.month)}.` : `${two(p.hour)}:${two(p.minute)}`;
        },
      },
    });
    for (const [i, { tone, area }] of curves.entries()) {
      const line = colour(root, tone);
      const topColor = line.replace("rgb(", "rgba(").replace(")", ", 0.22)");
      series[i]?.applyOptions(area ? { lineColor: line, topColor } : { color: line });
    }
  }
  tint();
  const panes = chart.panes();
  panes.forEach((pane, i) => void pane.setStretchFactor(i === 0 ? 3 : 1));
  let length = 0;
  function draw() {
    const all = points();
    series.forEach((one, i) => {
      let before = -1;
      const data = [];
      for (const [ms, value] of all[i] ?? []) {
        const time = Math.floor(ms / 1000);
        if (time <= before) continue; // the library wants one point a second
        before = time;
        data.push({ time: /** @type {import("lightweight-charts").UTCTimestamp} */ (time), value });
      }
      one.setData(data);
    });
    const now = all[0]?.length ?? 0;
    // A short curve is fitted with each point: the library would leave it at the edge.
    if (Math.abs(now - length) > 1 || now < 20) chart.timeScale().fitContent();
    length = now;
  }
  return { draw, tint };
}

/** @param {HTMLElement} root @param {Curve[]} curves @param {() => Points[]} points */
function plain(root, curves, points) {
  const canvases = curves.map(() => {
    const canvas = document.createElement("canvas");
    canvas.className = "plain-curve";
    root.append(canvas);
    return canvas;
  });
  return () => {
    canvases.forEach((canvas, i) => {
      const values = (points()[i] ?? []).map(([, value]) => value);
      if (values.length > 0) spark(canvas, values, curves[i]?.tone ?? "--accent");
    });
  };
}
