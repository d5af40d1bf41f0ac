import assert from "node:assert/strict";
import { test } from "node:test";
import * as f from "../../static/js/format.js";

test("thousands are grouped and the minus is a real minus", () => {
  assert.equal(f.grouped("1234567.891234"), "1,234,567.891234");
  assert.equal(f.grouped("-1234.5"), "−1,234.5");
  assert.equal(f.grouped("123"), "123");
});

test("digits come from the market's grid, and no digit of the wire is cut", () => {
  assert.equal(f.onStep("64012.1", "0.01"), "64,012.10");
  assert.equal(f.onStep("0.00001423", "0.00000001"), "0.00001423");
  assert.equal(f.onStep("1.23456", "0.01"), "1.23456");
  assert.equal(f.onStep(null, "0.01"), "–");
});

test("amounts from ten millions on are told in short, smaller ones whole", () => {
  assert.equal(f.short("9999999.5", "0.1"), "9,999,999.5");
  assert.equal(f.short("614283005", "100"), "614.28 M");
  assert.equal(f.short("1614283005", "100"), "1.61 B");
  assert.equal(f.short("93806251981012", "1"), "93.81 T");
  assert.equal(f.short("12000000000", "1"), "12.00 B");
  assert.equal(f.short("0.00005", "0.00001"), "0.00005");
  assert.equal(f.short(null, "1"), "–");
});

test("one clock writes local times over a change of the clocks", () => {
  const zone = process.env.TZ;
  process.env.TZ = "Europe/Stockholm";
  const hour = 3_600_000;
  const change = Date.UTC(2026, 9, 25, 1);
  assert.deepEqual(
    [-hour, 0, hour].map((by) => f.stamp(change + by, false)),
    ["2026-10-25 02:00", "2026-10-25 02:00", "2026-10-25 03:00"],
  );
  process.env.TZ = zone ?? "";
});

test("money says its sign only where there is one", () => {
  assert.equal(f.signed("250.711"), "+250.71");
  assert.equal(f.signed("-81.494"), "−81.49");
  assert.equal(f.signed("-0.001"), "0.00");
  assert.equal(f.signed(null), "–");
});

test("a fraction is shown as percent with two digits", () => {
  assert.equal(f.percent(0.0245), "2.45 %");
  assert.equal(f.percent("0.1", { digits: 0 }), "10 %");
  assert.equal(f.percent(-0.00001, { plus: true }), "0.00 %");
  assert.equal(f.percentPoints(3.784, { plus: true }), "+3.78 %");
  assert.equal(f.percent(null), "–");
});

test("direction has a word and an arrow", () => {
  assert.deepEqual([f.direction("0.1"), f.direction(-2), f.direction("0"), f.direction(null)], ["up", "down", "", ""]);
  assert.deepEqual([f.arrow(1), f.arrow("-1"), f.arrow(0)], ["▲", "▼", ""]);
  assert.deepEqual([f.arrow(0.0049), f.arrow("-0.004"), f.arrow(-0.006), f.arrow(undefined)], ["", "", "▼", ""]);
  assert.deepEqual([f.direction(0.0049, 2), f.direction("0.00000001"), f.direction(null)], ["", "up", ""]);
});

test("one clock writes times, in UTC and in the zone of the browser", () => {
  assert.equal(f.clock(1790000000000, true), "14:13:20");
  assert.equal(f.stamp(1790000000000, true), "2026-09-21 14:13");
  const p = f.parts(1790000000000, false);
  assert.equal(p.hour, new Date(1790000000000).getHours());
});

test("a time of another day carries its date", () => {
  const now = 1790000000000; // 2026-09-21 14:13:20
  assert.equal(f.when(now - 3_600_000, true, now), "13:13:20");
  assert.equal(f.when(now - 86_400_000, true, now), "2026-09-20 14:13");
  assert.equal(f.when(now - 365 * 86_400_000, true, now), "2025-09-21 14:13");
  assert.equal(f.when(null, true, now), "–");
});

test("ages stay short", () => {
  assert.deepEqual(
    [f.age(-5), f.age(420), f.age(12_345), f.age(200_000), f.age(8_000_000)],
    ["0.0 s", "0.4 s", "12 s", "3 min", "2 h"],
  );
});
