import assert from "node:assert/strict";
import { test } from "node:test";
import { Wire } from "../../static/js/wire.js";

const info = (channel, kind, key) => ({ channel, class: kind, key, epoch: "e", seq: 1, resumed: false, stale: false });
const snap = (channel, seq, data, more = {}) => ({
  type: "snapshot",
  channel,
  epoch: "e",
  seq,
  ts: 1,
  reason: "subscribe",
  data,
  ...more,
});
const up = (channel, seq, data, more = {}) => ({ type: "update", channel, seq, ts: 1, data, ...more });

function wire(...channels) {
  const w = new Wire();
  w.watch(channels.map((c) => c.channel));
  w.subscribed(channels);
  return w;
}

test("only new names are asked for", () => {
  const w = new Wire();
  assert.deepEqual(w.watch(["a", "b"]), ["a", "b"]);
  assert.deepEqual(w.watch(["b", "c"]), ["c"]);
  assert.deepEqual(w.drop(["b", "x"]), ["b"]);
  assert.deepEqual(w.resume(), ["a", "c"]);
});

test("a table keeps rows by key, and only the newest change of a row is told", () => {
  const w = wire(info("orders", "table", "id"));
  w.take(snap("orders", 5, { set: [{ id: "1", status: "open" }] }));
  w.take(
    up("orders", 6, {
      set: [
        { id: "1", status: "filled" },
        { id: "2", status: "open" },
      ],
      del: [],
    }),
  );
  w.take(up("orders", 7, { del: ["2"] }));
  const [change] = w.changes();
  assert.deepEqual(change.rows, { replace: true, set: [["1", { id: "1", status: "filled" }]], del: ["2"] });
  assert.equal(change.seq, 7);
  w.take(up("orders", 8, { set: [{ id: "3" }] }));
  assert.equal(w.changes()[0].rows.replace, false);
});

test("a gap asks for the channel again and nothing is applied until its snapshot", () => {
  const w = wire(info("orders", "table", "id"));
  w.take(snap("orders", 5, { set: [] }));
  assert.equal(w.take(up("orders", 7, { set: [{ id: "9" }] })), "gap");
  assert.equal(w.take(up("orders", 8, { set: [{ id: "9" }] })), "ignored");
  assert.deepEqual(w.resume(), ["orders"]);
  assert.equal(w.waiting, false);
  assert.equal(w.take(snap("orders", 8, { set: [{ id: "7" }] })), "ok");
  assert.deepEqual(
    w.changes()[0].rows.set.map(([k]) => k),
    ["7"],
  );
});

test("a value may jump, and an older one is ignored", () => {
  const w = wire(info("risk", "value"));
  w.take(snap("risk", 5, { equity: "1" }));
  assert.equal(w.take(up("risk", 9, { equity: "2" })), "ok");
  assert.equal(w.take(up("risk", 8, { equity: "0" })), "ignored");
  assert.deepEqual(w.changes()[0].value, { equity: "2" });
});

test("a reconnect resumes from epoch and seq, also of an empty log", () => {
  const w = wire(info("fills", "log"));
  w.take(snap("fills", 811, [], { epoch: "j1" }));
  assert.deepEqual(w.resume(), [{ channel: "fills", since: { epoch: "j1", seq: 811 } }]);
  w.subscribed([{ ...info("fills", "log"), resumed: true }]);
  assert.equal(w.take(up("fills", 812, [{ id: "t-812" }])), "ok");
  assert.equal(w.changes()[0].entries.list.at(-1).id, "t-812");
});

test("a log between two paints is bounded", () => {
  const w = wire(info("logs", "log"));
  w.take(snap("logs", 1, []));
  for (let i = 2; i < 3000; i++) w.take(up("logs", i, [{ id: i }]));
  const { list } = w.changes()[0].entries;
  assert.equal(list.length, 1000);
  assert.equal(list.at(-1).id, 2999);
});

test("late messages of a dropped channel are ignored", () => {
  const w = wire(info("ticker:A", "value"));
  w.take(snap("ticker:A", 1, { last: "1" }));
  w.drop(["ticker:A"]);
  assert.equal(w.take(up("ticker:A", 2, { last: "2" })), "ignored");
  assert.equal(w.waiting, false);
});

test("a book whose checksum differs is fetched again", () => {
  const w = wire(info("orderbook:A", "table", "price"));
  const data = {
    bids: [
      ["64012.00", "0.51230"],
      ["64011.50", "1.00000"],
    ],
    asks: [
      ["64012.10", "1.20410"],
      ["64013.00", "0.25000"],
    ],
  };
  assert.equal(w.take(snap("orderbook:A", 1, data, { checksum: 4180431123 })), "ok");
  assert.deepEqual(w.changes()[0].book, data);
  assert.equal(w.take(up("orderbook:A", 2, { bids: [["1", "1"]], asks: [] }, { checksum: 1 })), "gap");
});

test("a snapshot of a new epoch takes the place of everything", () => {
  const w = wire(info("orders", "table", "id"));
  w.take(snap("orders", 50, { set: [{ id: "1" }] }));
  w.changes();
  w.take(snap("orders", 2, { set: [{ id: "2" }] }, { epoch: "e2", reason: "resume_failed" }));
  const [change] = w.changes();
  assert.deepEqual([change.epoch, change.seq, change.rows.replace], ["e2", 2, true]);
});

test("a checksum that never fits does not make the page ask for ever", () => {
  const w = wire(info("orderbook:A", "table", "price"));
  const answers = [1, 2, 3, 4, 5].map((seq) =>
    w.take(snap("orderbook:A", seq, { bids: [["1", "1"]], asks: [] }, { checksum: 7 })),
  );
  assert.deepEqual(answers, ["gap", "gap", "gap", "ok", "ok"]);
});
