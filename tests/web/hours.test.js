import assert from "node:assert/strict";
import { test } from "node:test";
import { shut, shutSpans } from "../../static/js/hours.js";
import { paintLayers, placeOf } from "../../static/js/layers.js";

const at = (text) => Date.parse(text);
const short = (start_hour, end_hour, more = {}) => ({ enabled: true, start_hour, end_hour, windows: null, ...more });

test("hours are those of the window's zone, also over a change of clocks", () => {
  const closed = shut(short(8, 17, { timezone: "Europe/Stockholm" }), "UTC");
  assert.equal(closed(at("2026-10-24T06:30Z")), false); // 8:30 in summer
  assert.equal(closed(at("2026-10-26T06:30Z")), true); // 7:30 in winter
  assert.equal(closed(at("2026-10-26T16:00Z")), true); // 17:00 is not included
  assert.equal(shut(short(8, 17), "UTC")(at("2026-10-26T08:00Z")), false);
});

test("a window over midnight belongs to the day on which it begins", () => {
  const closed = shut(short(0, 24, { windows: [{ days: ["fri"], start: "22:00", end: "02:00" }] }), "UTC");
  assert.equal(closed(at("2026-11-27T23:00Z")), false); // a Friday
  assert.equal(closed(at("2026-11-28T01:59Z")), false);
  assert.equal(closed(at("2026-11-28T02:00Z")), true);
  assert.equal(closed(at("2026-11-27T01:00Z")), true);
});

test("what is never shut says so, and blackouts shut it", () => {
  assert.equal(shut(short(0, 24), "UTC"), null);
  assert.equal(shut({ ...short(8, 17), enabled: false }, "UTC"), null);
  assert.equal(shut(undefined, "UTC"), null);
  const closed = shut(short(0, 24, { blackouts: [{ from_ts: 1000, to_ts: 2000 }] }), "UTC");
  assert.deepEqual([999, 1000, 1999, 2000].map(closed), [false, true, true, false]);
});

test("shut bars are joined", () => {
  const closed = (ms) => [2000, 3000, 6000].includes(ms);
  assert.deepEqual(shutSpans([1, 2, 3, 4, 6], closed), [
    [2, 3],
    [6, 6],
  ]);
  assert.deepEqual(shutSpans([1, 2], null), []);
});

test("a layer is painted from its bar on, an unfilled gap to the right edge", () => {
  assert.equal(placeOf([10, 20, 30], 20), 1);
  assert.equal(placeOf([10, 20, 30], 25), 2);
  const boxes = [];
  const pen = { save() {}, restore() {}, strokeRect() {}, fillRect: (...box) => boxes.push(box) };
  const scales = { x: (place) => place * 10, y: (price) => 100 - price, width: 200, height: 90 };
  const zones = [{ from: 20, to: null, low: 40, high: 50, tone: "up" }];
  paintLayers(pen, { zones, spans: [[10, 20]] }, [10, 20, 30], scales, { up: "u", down: "d", dim: "g" });
  assert.deepEqual(boxes, [
    [-5, 0, 20, 90],
    [5, 50, 195, 10],
  ]);
});
