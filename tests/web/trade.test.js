import assert from "node:assert/strict";
import { test } from "node:test";
import { traded, unitOf } from "../../static/js/trade.js";

const spot = { base: "BTC", quote: "USDT", settle: null, contract_size: "1" };
const linear = { ...spot, settle: "USDT" };
const hundredth = { ...linear, contract_size: "0.01" };
const inverse = { base: "BTC", quote: "USD", settle: "BTC", contract_size: "1" };
const day = (source) => ({ source, volume: "18234.5", quote_volume: "1165000000" });

test("an amount of contracts is named so, that of an inverse contract of one dollar too", () => {
  assert.equal(unitOf(spot), "BTC");
  assert.equal(unitOf(linear), "BTC");
  assert.equal(unitOf(hundredth), "BTC contracts");
  assert.equal(unitOf(inverse), "BTC contracts");
  assert.equal(unitOf(undefined), "");
});

test("what was traded in a day has the unit that it is known to have", () => {
  assert.equal(traded(day("ws"), spot), "18,234 BTC");
  assert.equal(traded(day("poll"), linear), "18,234 BTC");
  assert.equal(traded(day("fold"), hundredth), "18,234 BTC contracts");
  assert.equal(traded(day("paper"), hundredth), "18,234 BTC contracts");
  // An exchange's own figure: contracts with one, the base with another.
  assert.equal(traded(day("ws"), hundredth), "1.16 B USDT");
  assert.equal(traded({ ...day("ws"), quote_volume: null }, hundredth), "18,234");
  assert.equal(traded(day("ws"), inverse), "18,234");
  assert.equal(traded({ source: "ws" }, spot), "–");
  assert.equal(traded(undefined, undefined), "–");
});
