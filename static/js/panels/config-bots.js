// Bots in the configuration: each with the form of `bot.configure`, saved by that op, because a bot has a version of its own.
import { told } from "../commands.js";
import { dialog, field } from "../dialog.js";
import { h, hide, keyed, text } from "../dom.js";
import { changesTable, same, schemaForm } from "../schema-form.js";

/** Keys whose null means "as the configuration says"; null of another is no value. */
const INHERITED = new Set(["symbols", "timeframe", "strategies", "budget"]);
const ID = /^[a-z0-9-]{1,32}$/;

/** @param {App} app */
export function botsSection(app) {
  const { commands } = app;
  const said = h("p", { class: "warn", role: "status" });
  const rights = h("p", { class: "dim", hidden: true }, "Read only: changing bots needs scope bots.");
  const rows = h("div", { class: "config-bots" });
  const add = h("button", { type: "button", class: "small-button", onclick: () => void create() }, "New bot…");
  const root = h(
    "div",
    {},
    h("p", { class: "dim" }, "Each bot has a version of its own. A running bot takes changes at its next cycle."),
    rights,
    said,
    rows,
    add,
  );
  /** @type {Row | undefined} */
  let schema;
  /** @type {Row} */
  let defs = {};
  let allowed = false;
  /** @type {Map<string, ReturnType<typeof card>>} */
  const cards = new Map();

  /** @param {Row[]} strategies @param {Row} sections definitions of config.schema */
  async function learn(strategies, sections) {
    const reply = await commands.call("help", { about: "bot.configure" });
    if (!reply.ok) return text(said, told(reply.error));
    defs = { ...sections, ...reply.result.schema.$defs };
    const patch = structuredClone(defs.PatchParams);
    for (const [name, part] of Object.entries(patch.properties)) {
      // Null stands for "not given" there; a bot that exists has a value.
      if (!INHERITED.has(name))
        patch.properties[name] = {
          .../** @type {Row} */ (part).anyOf?.[0],
          description: /** @type {Row} */ (part).description,
        };
      else
        patch.properties[name] = {
          .../** @type {Row} */ (part),
          none: name === "budget" ? "no budget" : "as configured",
        };
    }
    const use = (/** @type {Row} */ strategy) => ({
      type: "object",
      properties: {
        ...defs.UseParams?.properties,
        params: { type: "object", sparse: true, properties: strategy.parameters?.properties ?? {} },
      },
      default: { weight: 1, min_confidence: 0, params: {} },
    });
    patch.properties.strategies = {
      type: "object",
      sparse: true,
      nullable: true,
      description: "none: those of the configuration",
      properties: Object.fromEntries(strategies.map((strategy) => [strategy.id, use(strategy)])),
    };
    patch.properties.window = {
      ...defs.TradingWindow,
      sparse: true,
      description: "keys that differ from section trading window",
    };
    schema = patch;
  }

  /** @param {Row} bot */
  function card(bot) {
    const id = String(bot.id);
    let base = bot;
    /** @type {import("../schema-form.js").Form | undefined} */
    let form;
    const about = h("span", { class: "dim" });
    const problem = h("p", { class: "row-error", role: "alert" });
    const save = h(
      "button",
      { type: "button", class: "small-button", disabled: true, onclick: () => void review() },
      "Review and save…",
    );
    const gone = h(
      "button",
      { type: "button", class: "small-button danger-text", onclick: () => void remove(id, problem) },
      "Delete…",
    );
    const place = h("div", {});
    const details = h(
      "details",
      { class: "config-bot" },
      h("summary", {}, h("strong", {}, id), " ", about),
      place,
      problem,
      h("div", { class: "row-acts" }, save, gone),
    );
    details.addEventListener("toggle", () => {
      if (!details.open || form || !schema) return;
      form = schemaForm(schema, { defs, changed: mark });
      form.set(base);
      form.disable(!allowed);
      place.replaceChildren(form.root);
      mark();
    });
    const edits = () =>
      (form?.leaves() ?? [])
        .map((leaf) => ({ leaf, path: leaf.path, old: value(base, leaf.keys), new: leaf.get() }))
        .filter((e) => !e.leaf.equal(e.old, e.new));
    function mark() {
      const found = edits();
      for (const leaf of form?.leaves() ?? []) {
        const edit = found.find((e) => e.leaf === leaf);
        leaf.fault("");
        if (edit) leaf.note("edited", `was ${edit.old === null ? "as configured" : JSON.stringify(edit.old)}`);
        else leaf.note("");
      }
      save.disabled = found.length === 0 || !allowed;
      gone.disabled = !allowed;
      text(problem, "");
    }
    async function review() {
      const found = edits();
      const { version } = base; // the one that is looked at
      const answer = await dialog({ title: `Change bot ${id}?`, body: [changesTable(found)], yes: "Save" });
      if (!answer) return;
      const patch = Object.fromEntries(found.map((e) => [e.path, e.new]));
      const reply = await commands.confirmed(
        "bot.configure",
        { bot_id: id, patch: /** @type {any} */ (patch), version },
        `Change bot ${id}?`,
      );
      if (reply.ok) {
        update({ ...base, ...patch, version: reply.result.version }, true);
        return;
      }
      if (reply.error?.code === "conflict") {
        text(
          problem,
          `Somebody changed this bot meanwhile; the form has the new values beside your edits. Save again to overwrite. (${told(reply.error)})`,
        );
        return;
      }
      text(problem, told(reply.error));
      for (const { field, message } of reply.error?.details?.fields ?? [])
        form?.fault(String(field).replace(/^patch\./, ""), message);
    }
    /** @param {Row} next @param {boolean} [all] */
    function update(next, all = false) {
      const edited = new Set(all ? [] : edits().map((e) => e.path));
      const moved = !same(base, next);
      base = next;
      text(
        about,
        [
          next.symbols?.join(", ") ?? "symbol of the configuration",
          next.timeframe,
          next.dry_run ? "dry run" : "",
          `version ${next.version}`,
        ]
          .filter(Boolean)
          .join(" · "),
      );
      if (!moved && !all) return;
      for (const leaf of form?.leaves() ?? []) if (!edited.has(leaf.path)) leaf.set(value(base, leaf.keys));
      mark();
    }
    update(bot);
    return {
      root: details,
      update,
      allow() {
        form?.disable(!allowed);
        mark();
      },
    };
  }

  async function create() {
    const answer = await dialog({
      title: "New bot",
      body: [
        field("Name: lower case letters, digits and hyphens", { name: "id", maxlength: "32" }),
        h(
          "p",
          { class: "dim" },
          "It is made stopped and in dry run, with everything else as configured; open it here to change that.",
        ),
      ],
      yes: "Create",
      focus: "field",
      ready: (form) =>
        ID.test(String(new FormData(form).get("id"))) && !cards.has(String(new FormData(form).get("id"))),
    });
    if (!answer) return;
    const reply = await commands.confirmed(
      "bot.configure",
      { bot_id: String(answer.get("id")), patch: { dry_run: true } },
      "New bot?",
    );
    text(said, reply.ok ? "" : told(reply.error));
  }

  /** @param {string} id @param {HTMLElement} problem */
  async function remove(id, problem) {
    const answer = await dialog({
      title: `Delete bot ${id}?`,
      body: [h("p", {}, "It is forgotten; its orders and fills stay in the history.")],
      yes: "Delete",
      tone: "danger",
    });
    if (!answer) return;
    const reply = await commands.confirmed("bot.delete", { bot_id: id }, `Delete bot ${id}?`);
    if (!reply.ok) text(problem, told(reply.error));
  }

  return {
    root,
    schema: learn,
    /** @param {Row[]} bots */
    show(bots) {
      for (const id of [...cards.keys()]) if (!bots.some((bot) => bot.id === id)) cards.delete(id);
      keyed(
        rows,
        bots,
        (bot) => String(bot.id),
        (bot) => {
          const made = card(bot);
          cards.set(String(bot.id), made);
          return made.root;
        },
        (_, bot) => cards.get(String(bot.id))?.update(bot),
      );
    },
    /** @param {boolean} yes */
    allow(yes) {
      allowed = yes;
      add.disabled = !yes;
      hide(rights, yes);
      for (const one of cards.values()) one.allow();
    },
  };
}

/** @param {Row} bot @param {string[]} keys */
const value = (bot, keys) => keys.reduce((found, key) => found?.[key], /** @type {any} */ (bot));
