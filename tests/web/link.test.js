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

test("a subscription that is to be asked for later opens no link that is gone by then", async (t) => {
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
      this.sent.push(JSON.parse(text).op);
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
  await import("../../static/js/socket.worker.js");
  const opened = () => told.filter((m) => m.t === "link" && m.state === "open").length;
  const hear = (m) => sockets.at(-1).onmessage({ data: JSON.stringify(m) });
  const welcome = { type: "welcome", heartbeat: 60, reconnect: { first: 5, max: 60 }, auth: "ok" };
  const later = { type: "reply", op: "subscribe", id: "s-1", ok: false, ts: 0, error: { retry_after: 1 } };
  page({ data: { t: "open", url: "ws://here/ws?every=50" } });
  hear(welcome);
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
  hear(welcome);
  assert.equal(opened(), 1);
});
