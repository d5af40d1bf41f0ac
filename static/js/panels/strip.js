// The last line of the page: the newest alert, venue states, server and time.
import { attr, cls, h, text } from "../dom.js";
import { clock, words } from "../format.js";
import { painter } from "../pace.js";
import { settings } from "../settings.js";

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store } = app;
  const alert = h("p", { class: "strip-alert", role: "status" });
  const venues = h("span", { class: "strip-venues" });
  const server = h("span", { class: "strip-server" });
  const time = h("time", { class: "strip-time" });
  root.append(alert, venues, server, time);
  const paint = painter(root, 2, () => {
    const newest = open(store).at(-1);
    text(alert, newest ? `${newest.level}: ${words(newest.code)} – ${newest.text}` : "No open alerts");
    cls(
      alert,
      `strip-alert ${newest ? (/error|critical/.test(newest.level) ? "bad" : newest.level === "warning" ? "warn" : "") : "dim"}`,
    );
    const welcome = store.get("welcome");
    /** @type {{ id: string, status: string }[]} */
    const list = store.value("status")?.venues ?? welcome?.venues ?? [];
    const { state } = app.link.state;
    const known = state !== "lost" && state !== "stopped";
    text(venues, list.map((v) => `${v.id} ${known ? v.status : "unknown"}`).join(", "));
    text(server, welcome ? `${welcome.server}${welcome.subject ? ` · ${welcome.subject}` : ""}` : "");
    const now = app.serverNow();
    text(time, `${clock(now, settings.utc)} ${settings.utc ? "UTC" : ""}`.trim());
    attr(time, "datetime", new Date(now).toISOString());
  });
  store.watch(["alerts", "status", "welcome", "link", "beat", "settings"], paint);
  /** The newest fill; speaking of fills is loaded with the first new one. @type {string | undefined} */
  let newest;
  store.watch(["fills"], () => {
    const from = newest;
    newest = String(store.list("fills").at(-1)?.id ?? "");
    if (from === undefined || from === newest || spoken) return;
    spoken = true;
    import("../announce.js")
      .then((late) => late.announce(app, from))
      .catch(() => {
        spoken = false;
      });
  });
  let spoken = false;
}

/** Alerts that nobody has acknowledged. @param {Store} store */
export function open(store) {
  const latest = new Map(store.list("alerts").map((a) => [a.id, a]));
  return [...latest.values()].filter((a) => !a.acked_by);
}
