import assert from "node:assert/strict";
import { test } from "node:test";
import { refusal, sentence } from "../../static/js/rules.js";

test("a rule that cannot be judged says so, and why", () => {
  const message = "max_slippage cannot be judged: the book of BTC/USDT is not known";
  assert.equal(
    sentence({ rule: "max_slippage", value: null, limit: "0.01", unit: "fraction", message }),
    "Max slippage cannot be judged: the book of BTC/USDT is not known",
  );
});

test("a refusal is a sentence with its code where its rule has words", () => {
  const details = { rule: "max_order_notional", value: "20000", limit: "10000", unit: "USDT" };
  const error = { code: "risk_rejected", message: "too large", outcome: "not_done", details };
  assert.equal(refusal(error), "Order too large: 20,000 USDT, limit 10,000 USDT (risk_rejected)");
  assert.match(refusal({ ...error, retry_after: 3 }), /\(risk_rejected, again in 3 s\)$/);
  assert.equal(refusal({ ...error, details: { rule: "token_symbols" } }), null);
  assert.equal(refusal({ ...error, details: undefined }), null);
});
