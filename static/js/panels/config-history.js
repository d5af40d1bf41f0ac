// Versions of the configuration: who, when, why, what; and the way back to one of them.
import { told } from "../commands.js";
import { dialog } from "../dialog.js";
import { h, hide, table, text } from "../dom.js";
import { stamp } from "../format.js";
import { brief, changesTable } from "../schema-form.js";
import { settings } from "../settings.js";

/** Versions asked for. */
const SHOWN = 100;

/** @param {App} app @param {() => { version: number } | undefined} inForce */
export function historySection(app, inForce) {
  const { commands } = app;
  const said = h("p", { class: "warn", role: "status" });
  const place = h("div", {});
  const root = h("div", {}, said, place);
  /** @type {Row[]} */
  let versions = [];
  let allowed = false;
  const show = table(
    place,
    "Versions of the configuration",
    [
      { head: "Version", kind: "num left", text: (v) => String(v.version) },
      { head: "Time", kind: "num left", text: (v) => stamp(v.ts, settings.utc) },
      { head: "Who", text: (v) => [v.by, v.client].filter(Boolean).join(" / ") },
      { head: "By", text: (v) => (v.why === "update" ? v.source : v.why), tone: () => "dim" },
      {
        head: "Changes",
        kind: "long",
        text: (v) =>
          v.changes.map((/** @type {Row} */ c) => `${c.path}: ${brief(c.old)} → ${brief(c.new)}`).join("\n") || "–",
      },
      {
        head: "",
        kind: "act",
        make: (v) =>
          h(
            "button",
            {
              type: "button",
              class: "small-button",
              "aria-label": `Roll back to version ${v.version}`,
              onclick: () => void back(v),
            },
            "Roll back…",
          ),
        cell: (v, cell) => {
          hide(cell, v.version === inForce()?.version);
          /** @type {HTMLButtonElement} */ (cell).disabled = !allowed;
          cell.title = allowed ? "" : "needs scope admin";
        },
      },
    ],
    (v) => String(v.version),
    "No versions.",
  );

  async function load() {
    const reply = await commands.call("config.history", { limit: SHOWN });
    text(said, reply.ok ? "" : told(reply.error));
    versions = reply.result?.versions ?? versions;
    show(versions, versions.length < SHOWN ? "" : `The newest ${SHOWN}. More: realtime call config.history limit=1000`);
  }

  /** What going back would change, from the changes made since. @param {number} version */
  function since(version) {
    /** @type {Map<string, { path: string, old: any, new: any }>} */
    const found = new Map();
    for (const later of versions.filter((v) => v.version > version)) {
      for (const { path, old, new: now } of later.changes) {
        const known = found.get(path);
        if (known) known.new = old ?? undefined;
        else found.set(path, { path, old: now ?? undefined, new: old ?? undefined });
      }
    }
    return [...found.values()].filter((change) => JSON.stringify(change.old) !== JSON.stringify(change.new));
  }

  /** @param {Row} row */
  async function back(row) {
    const changes = since(row.version);
    const answer = await dialog({
      title: `Roll back to version ${row.version}?`,
      body: [
        h(
          "p",
          {},
          `Version ${row.version} of ${stamp(row.ts, settings.utc)} by ${row.by} is put in force again, as a new version.`,
        ),
        changes.length > 0 ? changesTable(changes) : h("p", { class: "dim" }, "It says the same as what is in force."),
      ],
      yes: "Roll back",
      tone: "danger",
    });
    if (!answer) return;
    const reply = await commands.confirmed(
      "config.rollback",
      { version: row.version },
      `Roll back to version ${row.version}?`,
    );
    await load();
    text(said, reply.ok ? `Version ${reply.result.version} is version ${row.version} again.` : told(reply.error));
  }

  return {
    root,
    load,
    /** @param {boolean} yes */
    allow(yes) {
      allowed = yes;
      show(versions);
    },
  };
}
