// The chart without the library: candles, volume, curves, lines and layers on a canvas. No pan, no zoom. Same interface
// as chart.js.
import { grouped, parts } from "./format.js";

const AXIS = 64;
const FOOT = 20;
const WIDTH = 7;

/** @param {HTMLElement} root @returns {Chart} */
export function plainChart(root) {
  const canvas = document.createElement("canvas");
  canvas.className = "plain-chart";
  root.append(canvas);
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  /** @type {Bar[]} */
  let bars = [];
  /** @type {Line[]} */
  let lines = [];
  /** @type {Mark[]} */
  let marks = [];
  /** @type {Curve[]} */
  let curves = [];
  /** @type {import("./layers.js").Paint} */
  let layers = () => {};
  let volume = true;
  let colours = /** @type {Colours} */ ({
    up: "#0aa",
    down: "#a40",
    text: "#888",
    grid: "#222",
    accent: "#88f",
    warn: "#da0",
    dim: "#666",
  });
  let digits = 2;
  let utc = false;
  let hover = (/** @type {Bar | null} */ _bar) => {};
  let drawn = () => {};
  /** What the drawing last used; null while nothing is drawn. @type {{ low: number, high: number, room: number } | null} */
  let scale = null;
  /** @param {number} price */
  const yOf = (price) =>
    scale && 8 + scale.room - ((price - scale.low) / (scale.high - scale.low || 1)) * (scale.room - 8);
  /** @param {number} y */
  const priceAt = (y) => scale && scale.low + ((8 + scale.room - y) / (scale.room - 8)) * (scale.high - scale.low || 1);

  const shown = () => bars.slice(-Math.max(1, Math.floor((root.clientWidth - AXIS) / WIDTH)));

  function draw() {
    const dense = devicePixelRatio || 1;
    const width = root.clientWidth;
    const height = root.clientHeight;
    canvas.width = width * dense;
    canvas.height = height * dense;
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    const seen = shown();
    scale = null;
    if (seen.length === 0 || height < 60) return drawn();
    const low = Math.min(...seen.map((b) => b.low));
    const high = Math.max(...seen.map((b) => b.high));
    const room = (height - FOOT) * (volume ? 0.8 : 0.96);
    scale = { low, high, room };
    const y = (/** @type {number} */ price) => /** @type {number} */ (yOf(price));
    pen.font = `11px ${getComputedStyle(root).fontFamily}`;
    pen.textBaseline = "middle";
    for (let i = 0; i <= 5; i++) {
      const price = low + ((high - low) * i) / 5;
      rule(y(price), colours.grid, []);
      pen.fillStyle = colours.text;
      pen.fillText(grouped(price.toFixed(digits)), width - AXIS + 6, y(price));
    }
    const times = seen.map((b) => b.time);
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, width - AXIS, height - FOOT);
    pen.clip();
    layers(pen, times, { x: (place) => (place + 0.5) * WIDTH, y, width: width - AXIS, height: height - FOOT }, colours);
    for (const { tone, points } of curves) {
      const value = new Map(points.map((p) => [p.time, p.value]));
      pen.strokeStyle = colours[tone];
      pen.beginPath();
      times.forEach((time, i) => {
        const at = value.get(time);
        if (at !== undefined) pen.lineTo((i + 0.5) * WIDTH, y(at));
      });
      pen.stroke();
    }
    pen.restore();
    const most = Math.max(...seen.map((b) => b.volume)) || 1;
    seen.forEach((bar, i) => {
      const x = i * WIDTH;
      pen.fillStyle = bar.close >= bar.open ? colours.up : colours.down;
      pen.fillRect(x + 2.5, y(bar.high), 1, Math.max(1, y(bar.low) - y(bar.high)));
      const top = y(Math.max(bar.open, bar.close));
      pen.fillRect(x + 0.5, top, WIDTH - 2, Math.max(1, y(Math.min(bar.open, bar.close)) - top));
      if (volume) {
        pen.globalAlpha = 0.3;
        const tall = (bar.volume / most) * (height - FOOT) * 0.14;
        pen.fillRect(x + 0.5, height - FOOT - tall, WIDTH - 2, tall);
        pen.globalAlpha = 1;
      }
      for (const mark of marks) {
        if (mark.time !== bar.time) continue;
        pen.fillStyle = mark.dot ? (mark.side === "buy" ? colours.up : colours.down) : colours.accent;
        pen.fillText(
          mark.dot ? "●" : mark.side === "buy" ? "▲" : "▼",
          x - 1,
          mark.side === "buy" ? y(bar.low) + 10 : y(bar.high) - 10,
        );
      }
      if (i % 16 === 8) {
        const p = parts(bar.time * 1000, utc);
        pen.fillStyle = colours.text;
        pen.fillText(
          `${String(p.hour).padStart(2, "0")}:${String(p.minute).padStart(2, "0")}`,
          x - 12,
          height - FOOT / 2,
        );
      }
    });
    for (const line of lines) {
      if (line.price < low || line.price > high) continue;
      const tone = line.tone === "up" ? colours.up : line.tone === "down" ? colours.down : colours.accent;
      rule(y(line.price), tone, { solid: [], dashed: [5, 4], dotted: [1, 3] }[line.look]);
      pen.fillStyle = tone;
      pen.fillText(line.title, Math.max(4, width - AXIS - pen.measureText(line.title).width - 4), y(line.price) - 8);
    }
    drawn();
  }

  /** @param {number} y @param {string} colour @param {number[]} dash */
  function rule(y, colour, dash) {
    pen.strokeStyle = colour;
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(0, Math.round(y) + 0.5);
    pen.lineTo(root.clientWidth - AXIS, Math.round(y) + 0.5);
    pen.stroke();
    pen.setLineDash([]);
  }

  canvas.addEventListener("pointermove", (event) => hover(shown()[Math.floor(event.offsetX / WIDTH)] ?? null));
  canvas.addEventListener("pointerleave", () => hover(null));
  new ResizeObserver(draw).observe(root);
  return {
    setBars(all) {
      bars = [...all];
      draw();
    },
    update(bar) {
      if (bars.at(-1)?.time === bar.time) bars.pop();
      bars.push(bar);
      draw();
    },
    setMarks(all) {
      marks = all;
      draw();
    },
    lines: async () => (all) => {
      lines = all;
      draw();
    },
    curves: async () => ({
      set(all) {
        curves = all;
        draw();
      },
      extend(id, point) {
        const points = curves.find((c) => c.id === id)?.points;
        if (!points || point.time < (points.at(-1)?.time ?? 0)) return;
        if (points.at(-1)?.time === point.time) points.pop();
        points.push(point);
        draw();
      },
    }),
    setLayers(all) {
      layers = all;
      draw();
    },
    setVolume(shown) {
      if (shown === volume) return;
      volume = shown;
      draw();
    },
    yOf,
    priceAt,
    axis: () => AXIS,
    style(wanted, places, zone) {
      colours = wanted;
      digits = places;
      utc = zone;
      draw();
    },
    onHover(tell) {
      hover = tell;
    },
    onLeftEdge() {},
    onDraw(tell) {
      drawn = tell;
    },
  };
}
