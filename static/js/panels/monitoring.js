// Monitoring: venues, parts of the server, feeds, connections, latencies, keys, cache, counters. `status` tells of venues and
// parts to everybody; the rest is for scope admin, by the channel `monitoring` and by ops when the view is opened.
import { told } from "../commands.js";
import { attr, h, hide, table, text } from "../dom.js";
import { age, grouped, NONE, percent, stamp, words } from "../format.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { say } from "./risk.js";

const TONES = /** @type {Record<string, string>} */ ({
  ok: "good",
  starting: "warn",
  degraded: "warn",
  maintenance: "warn",
  down: "bad",
});
/** What each leg of the way is. */
const LEGS = /** @type {Record<string, string>} */ ({
  exchange_to_server: "Exchange to server",
  venue_to_hub: "Venue to hub",
  hub_to_socket: "Hub to socket",
  order_to_ack: "Order to the venue's word",
  loop_lag: "Lag of the event loop",
});
/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store, commands, link } = app;
  const admin = () => store.get("welcome")?.scopes?.includes("admin") ?? false;
  const rights = h("p", { class: "config-rights" });
  const whole = h("p", { class: "mon-status" });
  const reasons = h("ul", { class: "advice" });
  const said = h("p", { class: "warn", role: "status" });
  const ask = h("button", { type: "button", class: "quiet", onclick: () => void load() }, "Ask again");
  const about = h("dl", { class: "facts" });
  const connected = h("dl", { class: "facts" });
  const cached = h("dl", { class: "facts" });
  const counters = h("div", { class: "mon-counters" });
  const feedsNote = h("p", { class: "dim" });
  const keysNote = h("p", { class: "dim" });

  const part = (/** @type {string} */ title, /** @type {(Node | string)[]} */ ...inner) =>
    h("section", { class: "mon-part", "aria-label": title }, h("h3", {}, title), ...inner);
  /** Over the whole width. @type {typeof part} */
  const wide = (title, ...inner) => {
    const made = part(title, ...inner);
    made.classList.add("mon-wide");
    return made;
  };
  const places = Object.fromEntries(
    ["venues", "parts", "feeds", "clients", "latency", "keys", "cache"].map((name) => [
      name,
      h("div", { class: "mon-table" }),
    ]),
  );
  /** @param {string} name */
  const place = (name) => /** @type {HTMLElement} */ (places[name]);
  const only = [
    part("Latency", place("latency"), connected),
    wide("Connections", place("clients")),
    wide("Feeds", feedsNote, place("feeds")),
    wide("Keys of exchanges", keysNote, place("keys")),
    wide("Cache", h("div", { class: "mon-pair" }, cached, place("cache"))),
    wide("Counters", counters),
  ];
  root.append(
    h(
      "div",
      { class: "mon" },
      h("div", { class: "mon-top" }, whole, said, rights),
      reasons,
      wide("Venues", place("venues")),
      part("Parts of the server", place("parts"), about),
      ...only,
    ),
  );

  const since = (/** @type {any} */ ts) => (ts ? age(Math.max(0, app.serverNow() - ts)) : NONE);
  const ms = (/** @type {any} */ value) => (value === null || value === undefined ? NONE : `${round(value)} ms`);
  const count = (/** @type {any} */ value) => (value === null || value === undefined ? NONE : grouped(String(value)));
  const showVenues = table(
    place("venues"),
    "Venues",
    [
      { head: "Venue", text: (v) => v.id },
      { head: "Status", text: (v) => words(v.status), tone: (v) => TONES[v.status] ?? "" },
      { head: "Source", text: (v) => [v.kind, v.source].filter(Boolean).join(", "), tone: () => "dim" },
      { head: "Last word", kind: "num", text: (v) => since(app.proof(String(v.id)) ?? v.last_msg_ts) },
      { head: "Latency", kind: "num", text: (v) => ms(v.latency_ms) },
      { head: "Reconnects", kind: "num", text: (v) => count(v.reconnects) },
      {
        head: "Reason",
        kind: "long",
        text: (v) =>
          [
            v.code,
            v.reason,
            ...(v.reasons ?? []),
            v.eta ? `back at ${stamp(v.eta, settings.utc)}` : "",
            v.retry_s ? `tried again in ${age(v.retry_s * 1000)}` : "",
            v.url,
          ]
            .filter(Boolean)
            .join(" · ") || NONE,
      },
    ],
    (v) => String(v.id),
    "No venues.",
  );
  const showParts = table(
    place("parts"),
    "Parts of the server",
    [
      { head: "Part", text: (c) => words(c.id) },
      { head: "Status", text: (c) => words(c.status), tone: (c) => TONES[c.status] ?? "" },
      { head: "Since", kind: "num", text: (c) => since(c.since_ts) },
      { head: "Detail", kind: "long", text: (c) => c.detail || NONE, tone: () => "dim" },
    ],
    (c) => String(c.id),
    "Nothing known yet.",
  );
  const showFeeds = table(
    place("feeds"),
    "Feeds",
    [
      { head: "Venue", text: (f) => f.venue ?? NONE },
      { head: "Channel", text: (f) => f.channel },
      { head: "By", text: (f) => f.source, tone: (f) => (f.source === "poll" ? "warn" : "") },
      { head: "Age", kind: "num", text: (f) => (f.last_msg_age_ms === null ? NONE : age(f.last_msg_age_ms)) },
      { head: "Messages/s", kind: "num", text: (f) => f.messages_per_s?.toFixed(1) ?? NONE },
      { head: "Gaps", kind: "num", text: (f) => count(f.gaps), tone: (f) => (f.gaps ? "warn" : "") },
      { head: "Reconnects", kind: "num", text: (f) => count(f.reconnects) },
      { head: "Fallbacks", kind: "num wide", text: (f) => count(f.fallbacks) },
      { head: "REST calls", kind: "num wide", text: (f) => count(f.rest_calls) },
      { head: "State", text: (f) => words(f.state), tone: (f) => (f.state === "ok" ? "good" : "warn") },
      {
        head: "Fresh, 5 min",
        kind: "num",
        text: (f) => (f.health === null ? NONE : `${(100 * f.health).toFixed(1)} %`),
        tone: (f) => (f.health !== null && f.health < 0.5 ? "warn" : ""),
      },
    ],
    (f) => `${f.venue}|${f.channel}`,
    "No stream has told anything yet.",
  );
  const showLatency = table(
    place("latency"),
    "Latency",
    [
      { head: "Way", text: (l) => LEGS[l.id] ?? words(l.id) },
      { head: "Median", kind: "num", text: (l) => ms(l.p50_ms) },
      { head: "p99", kind: "num", text: (l) => ms(l.p99_ms) },
      { head: "Max", kind: "num", text: (l) => ms(l.max_ms) },
      { head: "Samples", kind: "num wide", text: (l) => count(l.samples) },
    ],
    (l) => String(l.id),
    "Nothing measured yet.",
  );
  const showClients = table(
    place("clients"),
    "Connections",
    [
      { head: "Client", text: (c) => c.client || c.session },
      { head: "Subject", text: (c) => c.subject ?? NONE },
      { head: "From", kind: "wide", text: (c) => c.address ?? NONE, tone: () => "dim" },
      { head: "Since", kind: "num", text: (c) => since(c.since_ts) },
      { head: "Channels", kind: "num", text: (c) => count(c.subscriptions) },
      { head: "Waiting bytes", kind: "num", text: (c) => count(c.buffered_bytes) },
      { head: "Skipped", kind: "num", text: (c) => count(c.skipped), tone: (c) => (c.skipped ? "warn" : "") },
      { head: "Calls", kind: "num wide", text: (c) => count(c.in_flight) },
    ],
    (c) => String(c.session),
    "Nobody is connected.",
  );
  const showKeys = table(
    place("keys"),
    "Keys of exchanges",
    [
      { head: "Key", text: (k) => k.key },
      { head: "Last number", kind: "num", text: (k) => String(k.last_nonce ?? NONE) },
      { head: "Issued", kind: "num", text: (k) => count(k.issued) },
      { head: "Rejected", kind: "num", text: (k) => count(k.rejected), tone: (k) => (k.rejected ? "warn" : "") },
      { head: "Retried", kind: "num", text: (k) => count(k.retried) },
      { head: "Waiting", kind: "num", text: (k) => count(k.queue_depth) },
      { head: "Wait, median", kind: "num", text: (k) => ms(k.wait_p50_ms) },
      { head: "Wait, p99", kind: "num wide", text: (k) => ms(k.wait_p99_ms) },
      { head: "Clock off by", kind: "num", text: (k) => ms(k.clock_offset_ms) },
    ],
    (k) => String(k.key),
    "No account signs with a key.",
  );
  const showCache = table(
    place("cache"),
    "Most asked of the cache",
    [
      { head: "Answer", text: (e) => e.key },
      { head: "Kind", text: (e) => e.cache_type, tone: () => "dim" },
      { head: "Used", kind: "num", text: (e) => count(e.access_count) },
      { head: "Age", kind: "num", text: (e) => age(e.age_s * 1000) },
      { head: "Left", kind: "num", text: (e) => age(e.remaining_ttl_s * 1000) },
    ],
    (e) => e.key,
    "Nothing is kept.",
  );

  /** What the channel does not carry, and a status newer than the channel's. @type {{ hybrid?: Row, nonce?: Row, status?: Row }} */
  let asked = {};
  async function load() {
    ask.disabled = true;
    const replies = await Promise.all([
      commands.call("system.status"),
      ...(admin() ? [commands.call("monitoring.hybrid"), commands.call("monitoring.nonce")] : []),
    ]);
    ask.disabled = false;
    const wrong = replies.find((reply) => !reply.ok);
    text(said, wrong ? told(wrong.error) : "");
    const [status, hybrid, nonce] = replies;
    asked = { status: status?.result, hybrid: hybrid?.result, nonce: nonce?.result };
    paint(true);
  }

  const paint = painter(root, 2, () => {
    /** @type {Row} */
    const status = asked.status ?? store.value("status") ?? {};
    text(whole, status.status ? `The server is ${words(status.status)}${status.ready ? "" : ", not ready"}.` : "");
    attr(whole, "class", `mon-status ${TONES[status.status] ?? ""}`);
    const why = status.reasons ?? [];
    hide(reasons, why.length === 0);
    reasons.replaceChildren(...why.map((/** @type {string} */ one) => h("li", {}, one)));
    showVenues(status.venues ?? []);
    showParts(Object.entries(status.components ?? {}).map(([id, c]) => ({ id, .../** @type {Row} */ (c) })));
    say(about, [
      ["Version", `${status.version ?? NONE}, protocol ${status.protocol ?? NONE}`],
      ["Environment", words(status.environment)],
      ["Up since", stamp(status.started_ts, settings.utc)],
    ]);

    const allowed = admin();
    for (const section of only) hide(section, !allowed);
    hide(rights, allowed);
    const role = store.get("welcome")?.role;
    text(
      rights,
      `Connections, latencies, keys, cache and counters need scope admin${role ? `; your role is ${role}` : ""}.`,
    );
    if (!allowed) return;
    const entry = store.channel("monitoring");
    if (entry?.error) text(said, told(entry.error));
    /** @type {Row} */
    const now = entry?.value ?? {};
    const hybrid = now.hybrid ?? asked.hybrid;
    const nonce = now.nonce ?? asked.nonce;
    showFeeds(hybrid?.feeds ?? []);
    const sum = hybrid?.summary;
    text(
      feedsNote,
      sum?.ws_share === null || !sum
        ? ""
        : `${percent(sum.ws_share, { digits: 0 })} by socket, ${percent(sum.poll_share, { digits: 0 })} by asking; ${count(sum.rest_calls_saved)} requests saved.`,
    );
    showLatency(Object.entries(now.latency ?? {}).map(([id, l]) => ({ id, .../** @type {Row} */ (l) })));
    const c = now.connections ?? {};
    say(connected, [
      ["Connections now / since the start", `${count(c.active_connections)} / ${count(c.total_connections)}`],
      ["Messages sent / failed", `${count(c.messages_sent)} / ${count(c.messages_failed)}`],
      [
        "Closed by a fault",
        `${count(c.errors)}${c.last_error ? `, last: ${c.last_error.reason}` : ""}`,
        c.errors ? "warn" : "",
      ],
    ]);
    showClients(c.clients ?? []);
    showKeys(nonce?.keys ?? []);
    text(
      keysNote,
      nonce
        ? `${count(nonce.total_nonces_issued)} numbers issued; rate limiting ${nonce.rate_limiting_active ? "holds requests back now" : "is idle"}.`
        : "",
    );
    const k = now.cache ?? {};
    say(cached, [
      ["Entries", count(k.total_entries)],
      ["Hits / misses", `${count(k.hits)} / ${count(k.misses)}`],
      ["Hit rate", k.hit_rate === null ? "nothing asked yet" : percent(k.hit_rate, { digits: 1 })],
      ["Requests saved", count(k.requests_saved)],
    ]);
    showCache(k.most_accessed ?? []);
    showCounters(now.metrics ?? {});
  });

  /** Lists of figures, one per part of the counters. @param {Row} metrics */
  function showCounters(metrics) {
    /** @type {Row} */
    const parts = { server: {} };
    for (const [name, value] of Object.entries(metrics)) {
      if (value && typeof value === "object" && !Array.isArray(value)) parts[name] = value;
      else if (!Array.isArray(value)) parts.server[name] = value;
    }
    const names = Object.keys(parts);
    while (counters.children.length < names.length)
      counters.append(h("section", {}, h("h4", {}), h("dl", { class: "facts" })));
    names.forEach((name, i) => {
      const [title, list] = /** @type {HTMLElement[]} */ ([
        .../** @type {HTMLElement} */ (counters.children[i]).children,
      ]);
      if (title) text(title, words(name));
      if (list)
        say(
          list,
          Object.entries(parts[name]).map(([key, value]) => [words(key), brief(value)]),
        );
    });
  }

  store.watch(["status"], () => {
    asked.status = undefined;
  });
  store.watch(["status", "monitoring", "welcome", "settings", "beat"], paint);
  let joined = false;
  const join = () => {
    if (joined || !admin()) return;
    joined = true;
    link.watch(["monitoring"]);
    void load();
  };
  if (!admin()) void load();
  store.watch(["welcome"], join);
  join();
  return { actions: [ask] };
}

/** Milliseconds with as many digits as matter. @param {number} value */
const round = (value) =>
  Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 1 ? value.toFixed(1) : value.toFixed(2);

/** @param {any} value */
function brief(value) {
  if (value === null || value === undefined) return NONE;
  if (typeof value === "number") return grouped(Number.isInteger(value) ? String(value) : value.toFixed(2));
  return typeof value === "object" ? JSON.stringify(value) : words(String(value));
}
