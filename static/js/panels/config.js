// Config: what is in force, section by section, as forms of the server's schema. Edits are collected, shown as old → new,
// and saved as one patch at the version they were made for. What others change meanwhile is shown and takes no edit away.
import { told } from "../commands.js";
import { dialog } from "../dialog.js";
import { attr, h, hide, text } from "../dom.js";
import { stamp, words } from "../format.js";
import { painter } from "../pace.js";
import { brief, changesTable, kindOf, mergePatch, same, schemaForm } from "../schema-form.js";
import { settings } from "../settings.js";
import { botsSection } from "./config-bots.js";
import { historySection } from "./config-history.js";

/** @typedef {import("../schema-form.js").Leaf} Leaf */
/** @typedef {import("../schema-form.js").Form} Form */
/** @typedef {{ version: number, by?: string, config: Row }} InForce */

const SECTIONS = /** @type {const} */ ([
  "strategy",
  "strategies",
  "probability",
  "risk",
  "trading_window",
  "market_checks",
  "portfolio",
  "bots",
  "notifications",
  "alerts",
  "timezone",
  "history",
]);
/** Titles that are not the section's own name. */
const TITLES = /** @type {Record<string, string>} */ ({ timezone: "general" });
/** The server judges what is typed after so long a pause [ms]. */
const PAUSE = 400;

/** @param {HTMLElement} root @param {App} app */
export function mount(root, app) {
  const { store, commands, link } = app;
  /** What edits are compared with. @type {InForce | undefined} */
  let base;
  /** @type {Map<string, Form>} */
  const forms = new Map();
  /** Paths that others changed while they are edited here. @type {Map<string, string>} */
  const conflicts = new Map();
  let shown = "strategy";

  const state = h("p", { class: "config-state dim" });
  const said = h("p", { class: "config-said", role: "status" });
  const refused = h("ul", { class: "rules", role: "alert" });
  const rights = h("p", { class: "config-rights", hidden: true });
  const nav = h("div", { class: "config-nav", role: "group", "aria-label": "Sections" });
  const body = h("div", { class: "config-body" });
  const save = h("button", { type: "button", class: "small-button", disabled: true }, "Review and save…");
  const discard = h("button", { type: "button", class: "quiet", disabled: true }, "Discard");
  save.addEventListener("click", () => void review());
  discard.addEventListener("click", () => void drop());
  root.append(
    h(
      "div",
      { class: "config" },
      nav,
      h(
        "div",
        { class: "config-main" },
        h("div", { class: "config-bar" }, state, discard, save),
        rights,
        said,
        refused,
        body,
      ),
    ),
  );

  const panes = new Map(
    SECTIONS.map((name) => [name, h("section", { class: "config-section", hidden: true, "aria-label": words(name) })]),
  );
  const buttons = new Map(
    SECTIONS.map((name) => [
      name,
      h(
        "button",
        { type: "button", class: "config-pick", "data-section": name, onclick: () => open(name) },
        h("span", {}, words(TITLES[name] ?? name)),
        h("span", { class: "count" }),
      ),
    ]),
  );
  nav.append(...buttons.values());
  body.append(...panes.values());

  const history = historySection(app, () => base);
  panes.get("history")?.append(history.root);
  const bots = botsSection(app);
  panes.get("bots")?.append(bots.root);

  /** @param {typeof SECTIONS[number]} name */
  function open(name) {
    shown = name;
    for (const [one, pane] of panes) hide(pane, one !== name);
    for (const [one, button] of buttons) attr(button, "aria-current", one === name ? "true" : null);
    if (name === "history") void history.load();
    body.scrollTo?.(0, 0);
  }

  const may = () => store.get("welcome")?.scopes?.includes("admin") ?? false;
  /** @returns {Leaf[]} */
  const leaves = () => [...forms.values()].flatMap((form) => form.leaves());
  /** Single fields that differ from what is in force. @returns {{ leaf: Leaf, old: any, now: any }[]} */
  const edits = () =>
    leaves()
      .map((leaf) => ({ leaf, old: at(base?.config, leaf.keys), now: leaf.get() }))
      .filter(({ leaf, old, now }) => !leaf.equal(old, now));

  // -- building --------------------------------------------------------------------------------

  async function build() {
    text(said, "Loading…");
    const [schema, config, strategies] = await Promise.all([
      commands.call("config.schema"),
      commands.call("config.get"),
      commands.call("strategy.list"),
    ]);
    const wrong = [schema, config].find((reply) => !reply.ok);
    if (wrong) {
      text(said, told(wrong.error));
      const again = h("button", { type: "button", class: "small-button", onclick: () => void build() }, "Try again");
      said.append(" ", again);
      return;
    }
    text(said, "");
    base = /** @type {InForce} */ (config.result);
    const whole = completed(schema.result.schema, base.config, strategies.result?.strategies ?? []);
    for (const [name, part] of Object.entries(whole.properties)) {
      const pane = panes.get(/** @type {any} */ (name));
      if (!pane) continue;
      const single = !(/** @type {Row} */ (part).properties) && !(/** @type {Row} */ (part).$ref);
      const form = single
        ? schemaForm({ properties: { [name]: part } }, { defs: whole.$defs, changed })
        : schemaForm(/** @type {Row} */ (part), { at: [name], defs: whole.$defs, changed });
      form.set(single ? base.config : base.config[name]);
      forms.set(name, form);
      const about =
        /** @type {Row} */ (part).description ??
        whole.$defs[
          String(/** @type {Row} */ (part).$ref)
            .split("/")
            .at(-1) ?? ""
        ]?.description;
      if (about && !single) pane.append(h("p", { class: "dim" }, plain(about)));
      pane.append(form.root);
    }
    bots.schema(strategies.result?.strategies ?? [], whole.$defs);
    allow();
    follow();
    mark();
    paint(true);
  }

  function allow() {
    const allowed = may();
    hide(rights, allowed);
    const role = store.get("welcome")?.role;
    text(
      rights,
      allowed
        ? ""
        : `Read only: changing the configuration needs scope admin${role ? `, and your role is ${role}` : ""}.`,
    );
    for (const form of forms.values()) form.disable(!allowed);
    bots.allow(store.get("welcome")?.scopes?.includes("bots") ?? false);
    history.allow(allowed);
  }

  // -- editing ---------------------------------------------------------------------------------

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let asked = 0;
  function changed() {
    text(said, "");
    asked++; // a judgement that is still to come is of what was there before
    mark();
    clearTimeout(timer);
    timer = setTimeout(() => void judge(), PAUSE);
  }

  /** Marks what differs, counts it, and offers to take it back. */
  function mark() {
    const found = edits();
    const edited = new Set(found.map(({ leaf }) => leaf.path));
    for (const path of [...conflicts.keys()]) if (!edited.has(path)) conflicts.delete(path);
    for (const leaf of leaves()) {
      if (!edited.has(leaf.path)) {
        leaf.note("");
        continue;
      }
      const undo = h("button", { type: "button", class: "sf-undo" }, conflicts.has(leaf.path) ? "Take theirs" : "Undo");
      undo.addEventListener("click", () => {
        leaf.set(at(base?.config, leaf.keys));
        leaf.focus();
        changed();
      });
      const who = conflicts.get(leaf.path);
      const now = brief(at(base?.config, leaf.keys));
      leaf.note(who ? "conflict" : "edited", who ? `${who} set ${now} meanwhile ` : `was ${now} `, undo);
    }
    for (const [name, button] of buttons) {
      const count = found.filter(({ leaf }) => leaf.keys[0] === name).length;
      text(/** @type {HTMLElement} */ (button.lastElementChild), count ? String(count) : "");
    }
    const none = found.length === 0;
    save.disabled = none || !may();
    discard.disabled = none;
    text(save, none ? "Review and save…" : `Review and save ${found.length}…`);
    if (none) complain([]);
  }

  /** What is typed, as the whole it would make. */
  function candidate() {
    const next = structuredClone(base?.config ?? {});
    for (const { leaf, now } of edits()) put(next, leaf.keys, now);
    return next;
  }

  const patch = () => mergePatch(base?.config ?? {}, candidate());

  async function judge() {
    const mine = ++asked;
    const wanted = patch();
    if (!wanted) return complain([]);
    const reply = await commands.call("config.validate", { candidate: wanted });
    if (mine !== asked) return;
    if (reply.ok) complain(reply.result.errors);
  }

  /** Each mistake at its field; what belongs to none stands above. @param {{ path: string, message: string }[]} faults */
  function complain(faults) {
    for (const form of forms.values()) form.clear();
    /** @type {string[]} */
    const rest = [];
    for (const { path, message } of faults) {
      const found = [...forms.values()].some((form) => form.fault(path, message));
      if (!found || path.split(".")[0] !== shown) rest.push(`${path} ${message}`);
    }
    refused.replaceChildren(...rest.map((line) => h("li", {}, line)));
    return faults.length;
  }

  async function drop() {
    const found = edits();
    const answer = await dialog({
      title: found.length === 1 ? "Discard one edit?" : `Discard ${found.length} edits?`,
      body: [changesTable(found.map(({ leaf, old, now }) => ({ path: leaf.path, old: now, new: old })))],
      yes: "Discard",
      tone: "danger",
    });
    if (answer) takeBack(found.map(({ leaf }) => leaf));
  }

  /** @param {Leaf[]} some */
  function takeBack(some) {
    for (const leaf of some) leaf.set(at(base?.config, leaf.keys));
    changed();
  }

  // -- saving ----------------------------------------------------------------------------------

  async function review() {
    for (;;) {
      if (conflicts.size > 0 && !(await settle())) return;
      const found = edits();
      if (found.length === 0) return;
      const wanted = patch();
      const version = base?.version;
      const judged = await commands.call("config.validate", { candidate: wanted });
      const wrong = judged.ok ? complain(judged.result.errors) : 0;
      const answer = await dialog({
        title: found.length === 1 ? "Save one change?" : `Save ${found.length} changes?`,
        body: [
          changesTable(found.map(({ leaf, old, now }) => ({ path: leaf.path, old, new: now }))),
          wrong
            ? h(
                "p",
                { class: "warn", role: "alert" },
                `The server would refuse this: ${judged.result.errors.map((/** @type {Row} */ e) => `${e.path} ${e.message}`).join("; ")}`,
              )
            : "",
          h("p", { class: "dim" }, `Made for version ${version}. It holds at once, also for running bots.`),
        ],
        yes: "Save",
        focus: wrong ? "no" : "yes",
      });
      if (!answer) return;
      const reply = await commands.confirmed("config.update", { patch: wanted, version }, "Change the configuration?");
      if (reply.ok) return saved(reply.result, found);
      if (reply.error?.code !== "conflict") return fail(reply.error);
      // Somebody was faster: take what is in force, say so, and ask again with the new differences.
      const now = await commands.call("config.get");
      if (!now.ok) return fail(now.error);
      adopt({ ...now.result, by: store.value("config")?.by });
      if (conflicts.size === 0)
        text(said, `Version ${base?.version} came in between and changed nothing that you edit.`);
    }
  }

  /** Reload or overwrite. @returns {Promise<boolean>} whether to go on with saving */
  async function settle() {
    const theirs = edits().filter(({ leaf }) => conflicts.has(leaf.path));
    const option = (/** @type {string} */ value, /** @type {string} */ label, checked = false) =>
      h("label", { class: "check" }, h("input", { type: "radio", name: "how", value, checked }), label);
    const who = [...new Set(conflicts.values())].join(", ");
    const answer = await dialog({
      title: "Changed meanwhile",
      body: [
        h(
          "p",
          {},
          `While you edited, ${who} changed the same keys; version ${base?.version} is in force. Below: their value → yours.`,
        ),
        changesTable(theirs.map(({ leaf, old, now }) => ({ path: leaf.path, old, new: now }))),
        option("reload", "Reload: take their values, keep my other edits", true),
        option("overwrite", "Overwrite: mine replace theirs"),
      ],
      yes: "Go on",
      no: "Keep editing",
    });
    if (!answer) return false;
    conflicts.clear();
    if (answer.get("how") === "reload") takeBack(theirs.map(({ leaf }) => leaf));
    else mark();
    return true;
  }

  /** @param {Row} result @param {ReturnType<typeof edits>} sent */
  function saved(result, sent) {
    const value = store.value("config");
    const config = candidate();
    adopt(value && value.version >= result.version ? value : { version: result.version, config });
    // As the server writes them: a time typed as text is a number there. What was typed meanwhile stays.
    for (const { leaf, now } of sent) if (same(leaf.get(), now)) leaf.set(at(base?.config, leaf.keys));
    mark();
    text(said, result.changed ? `Saved as version ${result.version}.` : "Nothing to change: it is so already.");
    if (shown === "history") void history.load();
  }

  /** @param {ErrorBody | undefined} error */
  function fail(error) {
    const fields = (error?.details?.fields ?? []).map((/** @type {Row} */ f) => ({
      path: f.field,
      message: f.message,
    }));
    if (fields.length > 0) complain(fields);
    text(said, told(error));
  }

  // -- what others do --------------------------------------------------------------------------

  /** Takes a newer version: untouched fields follow, edits stay. @param {InForce} next */
  function adopt(next) {
    if (!base || next.version < base.version) return;
    const old = base.config;
    for (const { leaf, old: was, now } of edits()) {
      const theirs = at(next.config, leaf.keys);
      if (!leaf.equal(theirs, was) && !leaf.equal(theirs, now)) conflicts.set(leaf.path, next.by ?? "somebody");
    }
    const edited = new Set(edits().map(({ leaf }) => leaf.path));
    base = next;
    for (const leaf of leaves()) {
      const value = at(next.config, leaf.keys);
      if (!edited.has(leaf.path) && !same(value, at(old, leaf.keys))) leaf.set(value);
    }
    mark();
    if (!save.disabled) changed();
  }

  function follow() {
    const value = store.value("config");
    if (!base || !value) return;
    if (value.version > base.version) {
      adopt(value);
      text(said, `Version ${value.version} by ${value.by}: ${(value.changed ?? []).join(", ") || "no keys"} changed.`);
      if (shown === "history") void history.load();
    }
    if (!same(base.config.bots, value.config.bots)) base.config.bots = value.config.bots;
  }

  const paint = painter(root, 4, () => {
    follow();
    const value = store.value("config");
    text(
      state,
      base
        ? `Version ${base.version}${value?.version === base.version ? ` · ${value.by} · ${stamp(value.ts, settings.utc)}` : ""}`
        : "",
    );
    bots.show(value?.config.bots ?? base?.config.bots ?? []);
  });
  store.watch(["config", "settings", "bots"], paint);
  store.watch(["welcome"], () => {
    allow();
    mark();
  });
  link.watch(["config"]);
  open("strategy");
  allow();
  void build();
  return {};
}

/** @param {any} whole @param {string[]} keys */
const at = (whole, keys) =>
  keys.reduce((value, key) => (value === null || value === undefined ? undefined : value[key]), whole);

/** Writes a value deep inside; undefined takes the key away. @param {Row} whole @param {string[]} keys @param {any} value */
function put(whole, keys, value) {
  let place = whole;
  for (const key of keys.slice(0, -1)) {
    if (typeof place[key] !== "object" || place[key] === null) place[key] = {};
    place = place[key];
  }
  const last = keys.at(-1) ?? "";
  if (value === undefined) delete place[last];
  else place[last] = value;
}

/** Markup of the source is not for people. @param {string} about */
const plain = (about) =>
  about
    .replaceAll("`", "")
    .replace(/ \(feature\S* F\d+\)/, "")
    .split("\n\n")[0] ?? "";

/**
 * The schema with what it leaves open: strategies by name with their own parameters, limits of each profile.
 * @param {Row} schema @param {Row} config @param {Row[]} strategies of strategy.list
 */
function completed(schema, config, strategies) {
  const whole = structuredClone(schema);
  const use = whole.$defs?.StrategyUse?.properties ?? {};
  const names = [...Object.keys(config.strategies ?? {}), ...strategies.map((s) => String(s.id))];
  const each = [...new Set(names)].map((name) => {
    const known = strategies.find((s) => s.id === name);
    const own = config.strategies?.[name];
    const parameters = Object.entries(known?.parameters?.properties ?? {}).map(([key, part]) => [
      key,
      {
        .../** @type {Row} */ (part),
        optional: true,
        default: known?.defaults?.[key] ?? /** @type {Row} */ (part).default,
      },
    ]);
    const common = Object.entries(use).map(([key, part]) => [
      key,
      own ? part : { .../** @type {Row} */ (part), optional: true },
    ]);
    const all = Object.fromEntries([...common, ...parameters]);
    for (const [key, value] of Object.entries(own ?? {})) all[key] ??= kindOf(value);
    return [name, { type: "object", description: known?.description, properties: all }];
  });
  whole.properties.strategies = {
    type: "object",
    description: "Which strategies vote, how much each counts, and their parameters; weights of those in use sum to 1.",
    properties: Object.fromEntries(each),
  };
  const { profiles, ...limits } = whole.properties.risk.properties;
  const profile = { type: "object", sparse: true, optional: true, properties: limits };
  const levels = profiles?.propertyNames?.enum ?? Object.keys(config.risk?.profiles ?? {});
  whole.properties.risk.properties = {
    ...limits,
    profiles: {
      type: "object",
      description: "Limits that replace those above while the portfolio's risk profile is the named one.",
      properties: Object.fromEntries(levels.map((/** @type {string} */ level) => [level, profile])),
    },
  };
  return whole;
}
