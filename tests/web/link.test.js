import assert from "node:assert/strict";
import { test } from "node:test";

/** What a browser's thread has, as far as page and worker use it. */
function thread(t, names) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1000 });
  Object.assign(globalThis, { performance: { now: () => Date.now() }, ...names });
}

test("who waits is told at once where the server ended the connection, with a token that is over too", async (t) => {
  let worker;
  class Worker {
    postMessage() {}
    constructor() {
      worker = this;
    }
  }
  thread(t, { Worker, document: { addEventListener() {} }, addEventListener() {} });
  const [{ Link }, { Commands }, { Store }] = await Promise.all(
    ["link", "commands", "store"].map((name) => import(`../../static/js/${name}.js`)),
  );
  const store = new Store();
  const commands = new Commands(new Link(store), store);
  for (const [code, state] of [
    [1006, "closed"],
    [4401, "stopped"],
  ]) {
    const placing = commands.call("order.place", {});
    worker.onmessage({ data: { t: "link", state, code, reason: "" } });
    const reply = await Promise.race([placing, new Promise((soon) => setImmediate(soon, "none"))]);
    assert.deepEqual([reply.error?.code, reply.error?.outcome], ["no_answer", "unknown"]);
  }
});

/** The worker in a thread of its own, with what it tells the page and the sockets it opens. */
async function begun(t, serial) {
  const told = [];
  const sockets = [];
  let page;
  class WebSocket {
    static OPEN = 1;
    readyState = 1;
    sent = [];
    constructor() {
      sockets.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {}
  }
  thread(t, {
    WebSocket,
    postMessage: (message) => told.push(message),
    addEventListener: (_, hear) => {
      page = hear;
    },
  });
  await import(`../../static/js/socket.worker.js?${serial}`);
  const hear = (m) => sockets.at(-1).onmessage({ data: JSON.stringify(m) });
  page({ data: { t: "open", url: "ws://here/ws?every=50" } });
  return { told, sockets, hear, page };
}

const WELCOME = { type: "welcome", heartbeat: 60, reconnect: { first: 5, max: 60 }, auth: "ok" };

test("a subscription that is to be asked for later opens no link that is gone by then", async (t) => {
  const { told, sockets, hear } = await begun(t, 1);
  const opened = () => told.filter((m) => m.t === "link" && m.state === "open").length;
  const later = { type: "reply", op: "subscribe", id: "s-1", ok: false, ts: 0, error: { retry_after: 1 } };
  hear(WELCOME);
  hear(later);
  t.mock.timers.tick(1000);
  assert.equal(opened(), 2);
  hear(later);
  sockets[0].onclose({ code: 1006, reason: "" });
  told.length = 0;
  t.mock.timers.tick(1000);
  assert.equal(opened(), 0);
  t.mock.timers.tick(5000);
  assert.equal(sockets.length, 2);
  hear(WELCOME);
  assert.equal(opened(), 1);
});

test("a channel of an account that opens late is asked for until it is there, once at a time", async (t) => {
  const { sockets, hear, page } = await begun(t, 2);
  const asked = () => {
    const lists = sockets
      .at(-1)
      .sent.filter((frame) => frame.op === "subscribe")
      .map((frame) => frame.channels);
    sockets.at(-1).sent.length = 0;
    return lists;
  };
  const names = ["ticker:A", "trades:A", "nope"];
  const reply = (failed) =>
    hear({ type: "reply", op: "subscribe", id: "s-1", ok: true, ts: 0, result: { channels: [], failed } });
  const shut = (channel) => ({ channel, code: "venue_unavailable", message: "not open", retry_after: 5 });
  const refuse = () =>
    reply([shut("ticker:A"), shut("trades:A"), { channel: "nope", code: "unknown_channel", message: "" }]);
  hear(WELCOME);
  page({ data: { t: "watch", names } });
  asked();
  refuse();
  // Given up and wanted again meanwhile.
  page({ data: { t: "drop", names } });
  page({ data: { t: "watch", names } });
  assert.deepEqual(asked(), [names]);
  refuse();
  t.mock.timers.tick(4999);
  assert.deepEqual(asked(), []);
  t.mock.timers.tick(1);
  assert.deepEqual(asked(), [["ticker:A", "trades:A"]]);
  refuse();
  page({ data: { t: "drop", names: ["trades:A"] } });
  t.mock.timers.tick(5000);
  assert.deepEqual(asked(), [["ticker:A"]]);
  reply([]);
  t.mock.timers.tick(20_000);
  assert.deepEqual(asked(), []);
  // Lost while it waits: the next connection asks by itself, and waits anew.
  refuse();
  sockets[0].onclose({ code: 1006, reason: "" });
  t.mock.timers.tick(5000);
  hear(WELCOME);
  assert.deepEqual(asked(), [["ticker:A", "nope"]]);
  refuse();
  t.mock.timers.tick(5000);
  assert.deepEqual(asked(), [["ticker:A"]]);
});

test("a clock that is set while the page is open is noticed with the next frame", async (t) => {
  const { told, sockets, hear } = await begun(t, 3);
  const real = { Date: Date.now, performance };
  t.after(() => {
    Date.now = real.Date;
    globalThis.performance = real.performance;
  });
  let set = 0;
  globalThis.performance = { now: real.Date };
  Date.now = () => real.Date() + set;
  const server = () => real.Date() + 7;
  const pings = () => sockets[0].sent.filter((frame) => frame.op === "ping");
  const pong = () =>
    hear({ type: "reply", op: "ping", id: pings().at(-1).id, ok: true, ts: server(), result: { recv_ts: server() } });
  const latest = () => told.filter((m) => m.t === "latency").at(-1);
  hear(WELCOME);
  pong();
  assert.deepEqual([latest().ms, latest().offset], [0, 7]);
  for (const by of [600_000, -600_000]) {
    set += by;
    told.length = 0;
    // The question that the set clock falls into is worth nothing; the next is asked at once.
    hear({ type: "heartbeat", ts: 0, asof: {} });
    pong();
    assert.deepEqual([latest().ms, latest().offset], [0, 7 - set]);
    assert.ok(told.some((m) => m.t === "alive"));
    hear({ type: "heartbeat", ts: 0, asof: {} });
  }
  assert.equal(pings().length, 3);
});

test("on a line slower than the questions the answers tell its latency all the same", async (t) => {
  const { told, sockets, hear } = await begun(t, 4);
  const asked = () => sockets[0].sent.filter((frame) => frame.op === "ping").map((frame) => frame.id);
  const latest = () => told.filter((m) => m.t === "latency").at(-1);
  const pong = (id) => hear({ type: "reply", op: "ping", id, ok: true, ts: 61_000, result: { recv_ts: 61_000 } });
  hear(WELCOME);
  hear({ type: "heartbeat", ts: 0, asof: {} });
  const [first] = asked();
  t.mock.timers.tick(8000);
  assert.equal(asked().length, 2);
  pong(first);
  assert.deepEqual([latest().ms, latest().offset], [8000, 56_000]);
  // It is answered once, and those that are never answered are forgotten.
  told.length = 0;
  pong(first);
  assert.equal(latest(), undefined);
  for (let i = 0; i < 12; i++) {
    t.mock.timers.tick(5000);
    hear({ type: "heartbeat", ts: 0, asof: {} });
  }
  told.length = 0;
  pong(asked()[1]);
  assert.equal(latest(), undefined);
  pong(asked().at(-2));
  assert.equal(latest().ms, 5000);
});
