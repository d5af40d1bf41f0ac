import assert from "node:assert/strict";
import { test } from "node:test";
import { Commands } from "../../static/js/commands.js";

/** A socket that takes what is sent and answers nothing, and what went by HTTP. */
function silent(t, answer) {
  const sent = [];
  const posted = [];
  const link = {
    state: { state: "live", heard: 0 },
    account: "",
    plain: (name) => name,
    send: (frame) => sent.push(frame),
    onClosed: () => {},
  };
  const commands = new Commands(link, { reached: async () => {} });
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1000 });
  t.mock.method(globalThis, "fetch", async (url) => {
    posted.push(url);
    return answer();
  });
  return { link, commands, sent, posted };
}

const done = () => ({ json: async () => ({ op: "trading.halt", ok: true, result: { state: "halted" } }) });

test("a stop goes by HTTP where the socket looks alive and says nothing, once", async (t) => {
  const { commands, sent, posted } = silent(t, done);
  const halting = commands.call("trading.halt", { reason: "x" });
  t.mock.timers.tick(2499);
  assert.deepEqual(posted, []);
  t.mock.timers.tick(1);
  assert.equal((await halting).ok, true);
  assert.equal(sent.length, 1);
  assert.deepEqual(posted, ["/api/trading.halt"]);
});

test("a stop is waited for while frames come", async (t) => {
  const { link, commands, sent, posted } = silent(t, done);
  const halting = commands.call("trading.halt", { reason: "x" });
  link.state.heard = 2000;
  t.mock.timers.tick(3000);
  assert.deepEqual(posted, []);
  commands.take({ type: "reply", id: sent[0].id, ok: true, result: {} });
  assert.equal((await halting).ok, true);
  assert.deepEqual(posted, []);
});

test("a stop whose socket closes before the answer goes by HTTP, an order does not", async (t) => {
  const { link, commands, posted } = silent(t, done);
  const halting = commands.call("order.cancel_all", {});
  const placing = commands.call("order.place", { symbol: "BTC/USDT" });
  link.onClosed();
  assert.equal((await halting).ok, true);
  assert.equal((await placing).error.outcome, "unknown");
  assert.deepEqual(posted, ["/api/order.cancel_all"]);
});

test("what nobody heard is not done, what nobody answered is not known", async (t) => {
  const nobody = () => {
    throw new TypeError("refused");
  };
  let answered = nobody;
  const { link, commands } = silent(t, () => answered());
  link.state.state = "lost";
  const refused = await commands.call("trading.halt", {});
  assert.equal(refused.error.outcome, "not_done");
  assert.match(refused.error.message, /nothing reached the server.*realtime call trading\.halt/);
  answered = () => ({
    json: async () => {
      throw new TypeError("the server died while it answered");
    },
  });
  const half = await commands.call("trading.halt", {});
  assert.equal(half.error.outcome, "unknown");
  answered = nobody;
  link.state.state = "live";
  const halting = commands.call("trading.halt", {});
  t.mock.timers.tick(2500);
  const unknown = await halting;
  assert.equal(unknown.error.outcome, "unknown");
  assert.match(unknown.error.message, /not known/);
});
