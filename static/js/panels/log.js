// Alerts, events and server log in one list, newest first; filters, acknowledge, export. While it is scrolled down it
// stands still and counts what is new.
import { told } from "../commands.js";
import { h, hide, table, text } from "../dom.js";
import { when, words } from "../format.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";
import { lock, viewOnly } from "../trade.js";

/** @typedef {{ id: string, ts: number, level: string, from: string, what: string, text: string, ack?: string }} Line */

const SHOWN = 200;
/** Levels from which a line is shown, by the choice. */
const LEVELS = /** @type {Record<string, RegExp>} */ ({
  "all levels": /./,
  "warnings, errors": /warning|error|critical/,
  errors: /error|critical/,
});

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const filter = h(
    "select",
    { class: "small", "aria-label": "Show" },
    ...["all", "alerts", "events", "logs"].map((v) => h("option", { value: v }, v)),
  );
  const level = h(
    "select",
    { class: "small", "aria-label": "Level" },
    ...Object.keys(LEVELS).map((v) => h("option", { value: v }, v)),
  );
  const wanted = () => lines(store, filter.value).filter((l) => LEVELS[level.value]?.test(l.level));
  const fresh = h("button", { type: "button", class: "quiet fresh", hidden: true, onclick: () => top() });
  root.append(fresh);
  const show = table(
    root,
    "Log",
    [
      { head: "Time", kind: "num left", text: (l) => when(l.ts, settings.utc, app.serverNow()) },
      {
        head: "Level",
        text: (l) => l.level,
        tone: (l) => (/error|critical/.test(l.level) ? "bad" : l.level === "warning" ? "warn" : "dim"),
      },
      { head: "Source", kind: "wide", text: (l) => l.from, tone: () => "dim" },
      { head: "What", text: (l) => l.what },
      { head: "Text", kind: "long", text: (l) => l.text },
      {
        head: "",
        kind: "act",
        make: (l) => acknowledge(app, l),
        cell: (l, cell) => {
          hide(cell, !l.ack);
          const why = viewOnly(store, "acknowledge", ["trade", "bots"]);
          for (const button of cell.querySelectorAll("button")) lock(button, why);
        },
      },
    ],
    (l) => String(l.id),
    "Nothing to report.",
  );
  /** The newest line that was shown when the list was scrolled down; "" while it is at the top. */
  let held = "";
  const paint = painter(root, 4, () => {
    const all = wanted();
    const from = held === "" ? 0 : all.findIndex((l) => l.id === held);
    // What it was held at may be gone from the ring.
    const first = Math.max(0, from);
    const rows = all.slice(first, first + SHOWN);
    const some = rows.length < all.length;
    show(rows, some ? `${rows.length} of ${all.length} lines are shown here; Export saves them all.` : "");
    text(fresh, `${first} new`);
    hide(fresh, first === 0);
  });
  root.addEventListener("scroll", () => {
    const now = root.scrollTop > 8 ? held || (root.querySelector("tbody tr")?.getAttribute("data-key") ?? "") : "";
    if (now === held) return;
    held = now;
    paint();
  });
  function top() {
    held = "";
    root.scrollTop = 0;
    paint(true);
  }
  for (const choice of [filter, level]) choice.addEventListener("change", top);
  store.watch(["alerts", "events", "logs", "settings", "welcome"], paint);
  const save = h("button", { type: "button", class: "quiet", onclick: () => exported(wanted()) }, "Export");
  return { actions: [filter, level, save] };
}

/** @param {Store} store @param {string} which @returns {Line[]} */
function lines(store, which) {
  /** @type {Line[]} */
  const all = [];
  if (which === "all" || which === "alerts") {
    const latest = new Map(store.list("alerts").map((a) => [a.id, a]));
    for (const a of latest.values())
      all.push({
        id: `a${a.id}`,
        ts: a.ts,
        level: a.level,
        from: "alert",
        what: words(a.code),
        text: a.text ?? "",
        ack: a.acked_by ? undefined : a.id,
      });
  }
  if (which === "all" || which === "events") {
    for (const e of store.list("events"))
      all.push({
        id: `e${e.id}`,
        ts: e.ts,
        level: "info",
        from: [e.subject, e.client].filter(Boolean).join(" / ") || "event",
        what: words(e.type),
        text: [e.op, e.outcome, brief(e.data)].filter(Boolean).join(" · "),
      });
  }
  if (which === "all" || which === "logs") {
    for (const [i, l] of store.list("logs").entries()) {
      // Who fetched which file is no news among alerts and events; it stands under logs.
      if (which === "all" && l.level === "info" && /access$/.test(l.component ?? "")) continue;
      const id = `l${l.id ?? `${l.ts}-${i}`}`;
      all.push({ id, ts: l.ts, level: l.level, from: "log", what: l.component ?? "log", text: l.message ?? "" });
    }
  }
  return all.sort((a, b) => b.ts - a.ts);
}

/** @param {any} data */
function brief(data) {
  if (!data || typeof data !== "object") return data ? String(data) : "";
  return Object.entries(data)
    .filter(([, v]) => v !== null && typeof v !== "object")
    .map(([k, v]) => `${words(k)} ${v}`)
    .join(", ");
}

/** @param {App} app @param {Row} line */
function acknowledge(app, line) {
  const said = h("span", { class: "row-error", role: "alert" });
  const button = h(
    "button",
    { type: "button", class: "small-button", "aria-label": `Acknowledge ${line.what}` },
    "Acknowledge",
  );
  button.addEventListener("click", async () => {
    button.disabled = true;
    const reply = await app.commands.call("alert.ack", { alert_id: line.ack });
    button.disabled = false;
    if (reply.ok) app.acknowledged(String(line.ack));
    else text(said, told(reply.error));
  });
  return h("span", { class: "row-acts" }, said, button);
}

/** @param {Line[]} all */
function exported(all) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(all, null, 1)], { type: "application/json" }));
  h("a", { href: url, download: "realtime-log.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
