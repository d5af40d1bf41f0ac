import assert from "node:assert/strict";
import { test } from "node:test";
import { Intent, makeId } from "../../static/js/commands.js";
import { Store } from "../../static/js/store.js";

const all = () => true;
const table = (name, seq, rows) => ({
  name,
  class: "table",
  epoch: "e",
  seq,
  rows: { replace: false, del: [], ...rows },
});

test("listeners hear once per flush, by key or prefix", () => {
  const store = new Store();
  const heard = [];
  store.watch(["ticker:"], () => heard.push("prefix"));
  store.watch(["orders"], () => heard.push("orders"));
  store.set("ticker:A", 1);
  store.set("ticker:B", 2);
  store.flush();
  assert.deepEqual(heard, ["prefix"]);
  store.flush();
  assert.deepEqual(heard, ["prefix"]);
});

test("rows merge, go, and are replaced by a snapshot", () => {
  const store = new Store();
  store.apply(
    [
      table("orders", 1, {
        set: [
          ["1", { id: "1" }],
          ["2", { id: "2" }],
        ],
      }),
    ],
    all,
  );
  store.apply([table("orders", 2, { set: [], del: ["1"] })], all);
  assert.deepEqual(store.rows("orders"), [{ id: "2" }]);
  store.apply([table("orders", 9, { replace: true, set: [["3", { id: "3" }]] })], all);
  assert.deepEqual(store.rows("orders"), [{ id: "3" }]);
});

test("rings of logs are bounded", () => {
  const store = new Store();
  const list = Array.from({ length: 700 }, (_, i) => ({ id: i }));
  store.apply([{ name: "trades:A", class: "log", epoch: "e", seq: 1, entries: { replace: true, list, lost: 0 } }], all);
  assert.equal(store.list("trades:A").length, 200);
  assert.equal(store.list("trades:A").at(-1).id, 699);
});

test("a channel nobody wants any more is not stored", () => {
  const store = new Store();
  store.apply([{ name: "ticker:A", class: "value", epoch: "e", seq: 1, value: {} }], () => false);
  assert.equal(store.channel("ticker:A"), undefined);
});

test("a reply's position is reached by seq, by a later epoch, or at once where the stream is not followed", async () => {
  const store = new Store();
  store.apply([table("orders", 77, { set: [] })], all);
  let done = false;
  const wait = store.reached({ orders: { epoch: "e", seq: 79 } }, 5000).then(() => {
    done = true;
  });
  store.apply([table("orders", 78, { set: [] })], all);
  await Promise.resolve();
  assert.equal(done, false);
  store.apply([table("orders", 79, { set: [] })], all);
  await wait;
  await store.reached({ orders: { epoch: "older", seq: 500 } });
  await store.reached({ elsewhere: { epoch: "e", seq: 1 } });
  await store.reached(undefined);
});

test("one intention keeps its client order id until it is settled", () => {
  let n = 0;
  const intent = new Intent(() => `p-${++n}`);
  const ticket = { side: "buy", amount: "1" };
  assert.equal(intent.id(ticket), "p-1");
  assert.equal(intent.id({ ...ticket }), "p-1");
  intent.settle("unknown", "p-1");
  assert.equal(intent.id(ticket), "p-1");
  intent.settle("not_done", "p-1");
  assert.equal(intent.id(ticket), "p-2");
  assert.equal(intent.id({ ...ticket, amount: "2" }), "p-3");
  assert.equal(intent.id(ticket), "p-2"); // whatever was asked for meanwhile
  intent.settle("done", "p-3");
  assert.equal(intent.id({ ...ticket, amount: "2" }), "p-4");
  assert.equal(intent.id(ticket), "p-2");
});

test("client order ids fit the wire", () => {
  for (let i = 0; i < 50; i++) assert.match(makeId(), /^[A-Za-z0-9_-]{1,32}$/);
});
