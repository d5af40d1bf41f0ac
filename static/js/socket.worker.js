// The socket, away from the page's thread: parse, client rule, resume, ping, back-off. Tells the page one batch per
// frame, and only when asked; replies, notices and heartbeats at once.
import "./book.js"; // with what it uses, fetched side by side with wire.js and not behind it
import "./decimal.js";
import { Wire } from "./wire.js";

const PING_EVERY = 5000;
const ALIVE_EVERY = 250;
/** Questions that may still be answered. */
const PINGS = 10;
/** Channels that one command may name. */
const AT_ONCE = 256;

const wire = new Wire();
/** @type {WebSocket | null} */
let socket = null;
let url = "";
let ready = true;
let every = 50;
let heartbeat = 2;
let first = 250;
let most = 30_000;
let delay = 0;
/** Set by the notice `shutdown`: a slot of our own, ms. */
let slot = 0;
let told = 0;
let serial = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let silence;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let retry;
/** @type {Set<string>} channels of an account that is not open, to be asked for once more */
const shut = new Set();
/** When each was sent, by a clock that nobody sets. @type {Map<string, number>} */
const pings = new Map();
/** @type {{ rtt: number, offset: number }[]} the last ten samples */
const samples = [];

/** Differs from before once somebody set the clock of this machine, ms. */
const setting = () => Date.now() - performance.now();
let set = setting();
/** Clocks that are drawn right slowly, and whole milliseconds, are not set [ms]. */
const SET = 100;

/** @param {FromWorker} message */
const tell = (message) => postMessage(message);

/** @param {Row} frame @returns {boolean} */
function send(frame) {
  if (socket?.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify(frame));
  return true;
}

/** Asks in as many parts as the server's bound on one list wants. @param {"subscribe" | "unsubscribe"} op @param {(string | Row)[]} channels */
function ask(op, channels) {
  for (let i = 0; i < channels.length; i += AT_ONCE) {
    send({ op, id: `s-${++serial}`, channels: channels.slice(i, i + AT_ONCE) });
  }
}

/** @param {(string | Row)[]} channels */
const subscribe = (channels) => ask("subscribe", channels);

function deliver() {
  if (!ready || !wire.waiting) return;
  ready = false;
  tell({ t: "batch", changes: wire.changes() });
}

/** @param {Message} m */
function take(m) {
  switch (m.type) {
    case "snapshot":
    case "update":
      if (wire.take(m) === "gap") subscribe([m.channel]);
      else delay = 0;
      return;
    case "reply":
      if (m.op === "subscribe" && m.ok) {
        wire.subscribed(m.result.channels);
        closed(m.result.failed);
      }
      if (m.op === "subscribe" && m.error?.retry_after) later(m.error.retry_after, enter);
      if (typeof m.id === "string" && pings.has(m.id)) return pong(m.id, m.ts, m.result?.recv_ts ?? m.ts);
      break;
    case "welcome":
      heartbeat = m.heartbeat;
      first = m.reconnect.first * 1000;
      most = m.reconnect.max * 1000;
      if (m.auth !== "required") enter();
      break;
    case "notice":
      if (m.event === "shutdown") slot = Math.max(50, (m.data.reconnect_after ?? 1) * 1000);
      break;
  }
  tell({ t: "message", message: m });
}

/** Asks once more for the channels that come when their account is open. @param {Row[]} failed */
function closed(failed) {
  const waiting = failed.filter((entry) => entry.retry_after);
  if (waiting.length > 0 && shut.size === 0) {
    later(waiting[0]?.retry_after, () => {
      const names = [...shut];
      shut.clear();
      subscribe(wire.resume(names));
    });
  }
  for (const entry of waiting) shut.add(entry.channel);
}

/** Does something after so many seconds, unless this socket is gone by then. @param {number} seconds @param {() => void} act */
function later(seconds, act) {
  const mine = socket;
  setTimeout(() => mine === socket && act(), seconds * 1000);
}

/** Admitted: ask for everything wanted, from where we left off. */
function enter() {
  tell({ t: "link", state: "open" });
  subscribe(wire.resume());
  ping();
}

function ping() {
  const id = `ping-${++serial}`;
  pings.set(id, performance.now());
  // On a slow line the answer comes after the next question; one that never comes makes no pile.
  if (pings.size > PINGS) pings.delete(/** @type {string} */ (pings.keys().next().value));
  send({ op: "ping", id });
}

/** @param {string} id @param {number} ts @param {number} received */
function pong(id, ts, received) {
  const rtt = performance.now() - /** @type {number} */ (pings.get(id));
  pings.delete(id);
  samples.push({ rtt, offset: (received + ts + rtt) / 2 - Date.now() });
  if (samples.length > 10) samples.shift();
  const best = samples.reduce((a, b) => (b.rtt < a.rtt ? b : a));
  tell({ t: "latency", ms: Math.round(rtt), offset: best.offset });
}

function heard() {
  clearTimeout(silence);
  silence = setTimeout(() => again("silent"), heartbeat * 2500);
  const now = Date.now();
  const old = set;
  set = setting();
  if (Math.abs(set - old) > SET) {
    samples.length = told = 0;
    ping();
  }
  if (now - told > ALIVE_EVERY) {
    told = now;
    tell({ t: "alive" });
  }
}

/** Leaves this socket and tries again after the back-off of 7.4. @param {string} reason */
function again(reason, code = 1006) {
  leave();
  tell({ t: "link", state: "closed", code, reason });
  const wait = slot || Math.random() * (delay || first);
  delay = Math.min(2 * (delay || first), most);
  slot = 0;
  clearTimeout(retry);
  retry = setTimeout(open, wait);
}

function leave() {
  clearTimeout(silence);
  shut.clear();
  pings.clear();
  if (!socket) return;
  socket.onmessage = socket.onclose = socket.onopen = null;
  socket.close();
  socket = null;
}

function open() {
  clearTimeout(retry);
  leave();
  tell({ t: "link", state: "connecting" });
  const mine = new WebSocket(url.replace(/every=\d+/, `every=${every}`));
  socket = mine;
  silence = setTimeout(() => again("no answer"), 10_000);
  mine.onmessage = (event) => {
    heard();
    const got = JSON.parse(event.data);
    for (const m of Array.isArray(got) ? got : [got]) take(m);
    deliver();
  };
  mine.onclose = (event) => {
    if (event.code >= 4400 && event.code < 4500) {
      leave();
      tell({ t: "link", state: "stopped", code: event.code, reason: event.reason });
    } else again(event.reason || "closed", event.code);
  };
}

setInterval(() => {
  if (socket?.readyState === WebSocket.OPEN) ping();
}, PING_EVERY);

addEventListener("message", (event) => {
  const m = /** @type {ToWorker} */ (event.data);
  switch (m.t) {
    case "open":
      url = m.url;
      return open();
    case "watch":
      return subscribe(wire.watch(m.names));
    case "drop":
      return ask("unsubscribe", wire.drop(m.names));
    case "send":
      if (!send(m.frame)) {
        const error = { code: "link_lost", message: "not connected; nothing was sent", outcome: "not_done" };
        tell({
          t: "message",
          message: /** @type {any} */ ({
            type: "reply",
            id: m.frame.id,
            op: m.frame.op,
            ok: false,
            ts: Date.now(),
            error,
          }),
        });
      }
      return;
    case "pace":
      every = m.every;
      send({ op: "pace", id: `s-${++serial}`, every });
      return;
    case "ready":
      ready = true;
      return deliver();
    case "again":
      delay = 0;
      if (socket) {
        leave();
        tell({ t: "link", state: "closed", code: 1006, reason: "renewed" });
      }
      return open();
  }
});
