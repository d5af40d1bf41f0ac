import assert from "node:assert/strict";
import { test } from "node:test";
import { lines } from "../../static/js/chart-lines.js";

const PIXELS = { 70: -40, 69: -31, 60: 20, 50: 120, 31: 230, 30: 240 };

/** Candles in a pane of 200 pixels, with the lines that are drawn into it. */
function pane() {
  const all = new Set();
  let view;
  const candles = {
    attachPrimitive: (primitive) => {
      view = primitive.paneViews()[0];
    },
    priceToCoordinate: (price) => PIXELS[price] ?? null,
    createPriceLine(options) {
      const line = { options: () => options, applyOptions: (more) => Object.assign(options, more) };
      all.add(line);
      return line;
    },
    removePriceLine: (line) => all.delete(line),
  };
  const show = lines(candles, { LineStyle: {} }, () => ({}));
  const target = { useMediaCoordinateSpace: (draw) => draw({ mediaSize: { width: 300, height: 200 } }) };
  const labels = () => {
    view.renderer().draw(target);
    const said = [...all].map((line) => line.options()).filter((options) => options.axisLabelVisible);
    return said.map(({ price, title }) => `${title}${price}`);
  };
  return { show, labels };
}

const line = (id, price, title = "") => ({ id, price, title, tone: "up", look: "solid" });

test("a price out of sight has no label, which would stand at another price, and one in sight has one", () => {
  const { show, labels } = pane();
  const far = [line("a", 70), line("b", 69), line("c", 31), line("d", 30), line("e", 10)];
  show([...far, line("f", 60), line("g", 60), line("h", 60, "long "), line("i", 50)]);
  assert.deepEqual(labels(), ["60", "long 60", "50"]);
  // The view moves.
  Object.assign(PIXELS, { 70: 10, 60: -20 });
  assert.deepEqual(labels(), ["70", "50"]);
  show([line("i", 70, "moved ")]);
  assert.deepEqual(labels(), ["moved 70"]);
});
