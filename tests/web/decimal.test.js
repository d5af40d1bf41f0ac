import assert from "node:assert/strict";
import { test } from "node:test";
import * as d from "../../static/js/decimal.js";

test("sums and differences keep every digit", () => {
  assert.equal(d.add("0.1", "0.2"), "0.3");
  assert.equal(d.add("123456789012345678.000000000000000001", "1"), "123456789012345679.000000000000000001");
  assert.equal(d.sub("1", "1.00000001"), "-0.00000001");
  assert.equal(d.sub("5", "5.00"), "0.00");
});

test("products are exact and quotients rounded half even", () => {
  assert.equal(d.mul("0.00001423", "120000"), "1.70760000");
  assert.equal(d.div("1", "3", 4), "0.3333");
  assert.equal(d.div("1", "8", 2), "0.12");
  assert.equal(d.div("3", "8", 2), "0.38");
  assert.equal(d.div("-1", "8", 2), "-0.12");
});

test("rounding is half even, also below zero, and pads", () => {
  assert.equal(d.round("2.345", 2), "2.34");
  assert.equal(d.round("2.355", 2), "2.36");
  assert.equal(d.round("-2.345", 2), "-2.34");
  assert.equal(d.round("7", 2), "7.00");
  assert.equal(d.round("0.999", 2), "1.00");
});

test("a grid floors towards zero and knows its own points", () => {
  assert.equal(d.floorTo("0.123456", "0.0005"), "0.123000");
  assert.equal(d.floorTo("17", "5"), "15");
  assert.equal(d.decimals("0.00000001"), 8);
  assert.equal(d.decimals("0.50"), 1);
  assert.equal(d.decimals("5"), 0);
});

test("comparison ignores trailing zeros", () => {
  assert.equal(d.cmp("1.10", "1.1"), 0);
  assert.equal(d.cmp("-2", "1"), -1);
  assert.equal(d.cmp("10", "9.999"), 1);
});

test("only the wire's decimals are decimals", () => {
  for (const good of ["0", "-0.5", "123456789012345678.123456789012345678"])
    assert.equal(d.isDecimal(good), true, good);
  for (const bad of ["", ".5", "1.", "01", "1e5", "1,5", " 1", "+1", "NaN", "1234567890123456789"]) {
    assert.equal(d.isDecimal(bad), false, bad);
  }
});

test("a ratio for pixels is bounded and never divides by zero", () => {
  assert.equal(d.ratio("5", "10"), 0.5);
  assert.equal(d.ratio("50", "10"), 1);
  assert.equal(d.ratio("5", "0"), 0);
  assert.equal(d.ratio("-5", "10"), 0);
});

test("a comma is a decimal sign where it can be nothing else", () => {
  for (const [typed, meant] of [
    ["0,5", "0.5"],
    [" 63000,5 ", "63000.5"],
    ["0,123", "0.123"],
    ["1,23", "1.23"],
    ["1,2340", "1.2340"],
    ["1234,567", "1234.567"],
    ["63,376.96", "63376.96"],
    ["10,000,000,000", "10000000000"],
    ["1.234", "1.234"],
    [".5", "0.5"],
    [",05", "0.05"],
    ["", ""],
  ]) {
    assert.equal(d.typed(typed), meant);
    assert.equal(d.reading(typed).why, undefined);
    assert.equal(d.reading(typed).as, typed.trim() === meant ? "" : `= ${meant}`);
  }
});

test("money is not guessed: what may be thousands as well is no number, and both readings are told", () => {
  for (const typed of ["1,234", "63,376", "100,000"]) {
    assert.equal(d.isDecimal(d.typed(typed)), false);
    const [, whole, part] = /Write (\S+) or (\S+)\.$/.exec(d.reading(typed).why ?? "") ?? [];
    assert.equal(d.typed(whole ?? ""), typed.replace(",", ""));
    assert.equal(d.cmp(d.typed(part ?? ""), typed.replace(",", ".")), 0);
  }
});

test("a number on its way is not called wrong, but no number is", () => {
  for (const typed of ["0,", "12.", ".", ",", "1,2", "0.000"]) assert.equal(d.reading(typed).why, undefined);
  for (const typed of [
    "1.2.3",
    "1,2,3",
    "1,23,4",
    "1.234,5",
    "-1",
    "1e3",
    "0x1",
    "1 000",
    "٣",
    "007",
    "00.5",
    "1e",
    `0.${"1".repeat(19)}`,
    "1".repeat(19),
  ]) {
    assert.equal(d.isDecimal(d.typed(typed)) && !typed.startsWith("-"), false, typed);
    assert.equal(d.reading(typed).why, d.NUMBER, typed);
  }
});
