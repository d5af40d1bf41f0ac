// Curves over time by the chart library, several panes; plain lines on a canvas where it is missing.
import { attr, h } from "./dom.js";
import { grouped, parts, percent } from "./format.js";
import { settings } from "./settings.js";
import { colour, spark } from "./spark.js";

/** @typedef {{ name: string, tone: string, area?: boolean, pane?: number, fraction?: boolean }} Curve */
/** @typedef {[time: number, value: number][]} Points  time in ms, ascending */

const two = (/** @type {number} */ n) => String(n).padStart(2, "0");

/**
 * @param {HTMLElement} root @param {Curve[]} curves
 * @returns {{ show: (points: Points[]) => void }}
 */
export function curves(root, curves) {
  /** @type {Points[]} */
  let last = [];
  let draw = () => {};
  const address = new URL("../vendor/lightweight-charts/lightweight-charts.standalone.production.mjs", import.meta.url);
  import(address.href).then(
    (library) => {
      draw = drawn(root, curves, library, () => last);
      draw();
    },
    () => {
      draw = plain(root, curves, () => last);
      draw();
    },
  );
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
  const text = colour(root, "--dim");
  const grid = colour(root, "--line-soft");
  const label = (/** @type {number} */ time) => {
    const p = parts(time * 1000, settings.utc);
    return `${two(p.day)}.${two(p.month)}. ${two(p.hour)}:${two(p.minute)}:${two(p.second)}`;
  };
  const chart = createChart(root, {
    autoSize: true,
    layout: {
      attributionLogo: false,
      background: { color: "transparent" },
      textColor: text,
      fontSize: 11,
      panes: { separatorColor: grid },
    },
    grid: { vertLines: { color: grid }, horzLines: { color: grid } },
    rightPriceScale: { borderVisible: false },
    timeScale: {
      borderVisible: false,
      timeVisible: true,
      // 0 to 2 are marks of a year, month or day.
      tickMarkFormatter: (/** @type {any} */ time, /** @type {number} */ mark) => {
        const p = parts(Number(time) * 1000, settings.utc);
        return mark <= 2 ? `${two(p.day)}.${two(p.month)}.` : `${two(p.hour)}:${two(p.minute)}`;
      },
    },
    localization: { timeFormatter: (/** @type {any} */ time) => label(Number(time)) },
  });
  const series = curves.map((curve) => {
    const line = colour(root, curve.tone);
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
      ? chart.addSeries(
          AreaSeries,
          {
            ...common,
            lineColor: line,
            topColor: line.replace("rgb(", "rgba(").replace(")", ", 0.22)"),
            bottomColor: "transparent",
          },
          curve.pane ?? 0,
        )
      : chart.addSeries(LineSeries, { ...common, color: line }, curve.pane ?? 0);
  });
  const panes = chart.panes();
  panes.forEach((pane, i) => void pane.setStretchFactor(i === 0 ? 3 : 1));
  let length = 0;
  return () => {
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
  };
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
