import assert from "node:assert/strict";
import { test } from "node:test";

/** What a browser's thread has, as far as page and worker use it. */
function thread(t, names) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1000 });
  Object.assign(globalThis, names);
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
