// A form made from a JSON schema: ranges, choices, lists, maps, null and "not set" as they are in the schema. It judges
// nothing: what is typed is sent as typed, and the server's words are put at the field they are about.
//
// To use it: `const form = schemaForm(schema, { at: ["alerts"], changed })`; put `form.root` on the page, `form.set(value)`,
// read `form.get()`, and give the server's mistakes to `form.fault("alerts.max_drawdown", "must be …")`. `form.leaves()`
// are the single fields with `keys`, `get`, `set`, `equal`, `note` and `disable`, for a view that compares each with what is
// in force. Besides JSON schema a part may say `optional: true` (an empty field is not set, and the default counts) and
// `sparse: true` (of an object only the keys that are set are shown, others can be added).
import { cmp, isDecimal } from "./decimal.js";
import { attr, cls, h, hide, text } from "./dom.js";
import { words } from "./format.js";
import { spell } from "./number-field.js";

/** @typedef {Record<string, any>} Schema */

/**
 * @typedef {object} Leaf
 * @property {string[]} keys where its value stands
 * @property {string} path the same, with dots
 * @property {HTMLElement} root
 * @property {() => any} get undefined where it is not set
 * @property {(value: any) => void} set
 * @property {(a: any, b: any) => boolean} equal
 * @property {(why: string, path?: string) => void} fault
 * @property {(tone: "" | "edited" | "conflict", ...parts: (Node | string)[]) => void} note
 * @property {(off: boolean) => void} disable
 * @property {() => void} focus
 */

/**
 * @typedef {object} Form
 * @property {HTMLElement} root
 * @property {() => any} get
 * @property {(value: any) => void} set
 * @property {() => Leaf[]} leaves
 * @property {(path: string, why: string) => boolean} fault whether a field of this form is at the path
 * @property {() => void} clear no field has a fault
 * @property {(off: boolean) => void} disable
 */

/** @typedef {{ at: string[], defs: Schema, changed: () => void, prefix: string }} Context */

let forms = 0;

/**
 * @param {Schema} schema of an object
 * @param {{ at?: string[], defs?: Schema, changed?: () => void }} [how] where its value stands in the whole; definitions that `$ref`
 *   names; told after every change by hand
 * @returns {Form}
 */
export function schemaForm(schema, { at = [], defs = schema.$defs ?? {}, changed = () => {} } = {}) {
  const context = { at, defs, changed, prefix: `sf${++forms}` };
  return group(resolve(schema, defs), context);
}

/** Equal as JSON, whatever the order of keys. @param {any} a @param {any} b @returns {boolean} */
export function same(a, b) {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => name in b && same(a[name], b[name]));
}

/** The JSON merge patch (RFC 7396) that makes `next` of `old`; undefined where they are equal. @param {any} old @param {any} next */
export function mergePatch(old, next) {
  const objects = [old, next].every((x) => typeof x === "object" && x !== null && !Array.isArray(x));
  if (!objects) return same(old, next) ? undefined : (next ?? null);
  /** @type {Record<string, any>} */
  const patch = {};
  for (const name of new Set([...Object.keys(old), ...Object.keys(next)])) {
    const part = name in next ? mergePatch(old[name], next[name]) : null;
    if (part !== undefined) patch[name] = part;
  }
  return Object.keys(patch).length > 0 ? patch : undefined;
}

/** A value in one line. @param {any} value */
export function brief(value) {
  if (value === undefined) return "not set";
  if (value === null) return "off";
  if (value === "") return "empty";
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return value.join(", ") || "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Old → new, one line per path. @param {{ path: string, old: any, new: any }[]} changes */
export function changesTable(changes) {
  return h(
    "table",
    { class: "config-changes" },
    h("caption", { class: "hidden" }, "Changes"),
    h(
      "thead",
      {},
      h("tr", {}, h("th", { scope: "col" }, "Key"), h("th", { scope: "col" }, "Old"), h("th", { scope: "col" }, "New")),
    ),
    h(
      "tbody",
      {},
      ...changes.map((change) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, change.path),
          h("td", {}, brief(change.old)),
          h("td", { class: "new" }, brief(change.new)),
        ),
      ),
    ),
  );
}

/** Follows references and folds "or null". @param {Schema} schema @param {Schema} defs @returns {Schema} */
function resolve(schema, defs) {
  let found = schema;
  if (found.$ref) {
    const name = String(found.$ref).split("/").at(-1) ?? "";
    const { $ref, ...own } = found;
    found = { ...defs[name], ...own };
  }
  if (found.anyOf) {
    const some = found.anyOf.map((/** @type {Schema} */ one) => resolve(one, defs));
    const real = some.filter((/** @type {Schema} */ one) => one.type !== "null");
    const { anyOf, ...own } = found;
    found = { ...real[0], ...own, ...(real.length < some.length ? { nullable: true } : {}) };
  }
  if (Array.isArray(found.type) && found.type.includes("null")) {
    found = { ...found, type: found.type.filter((/** @type {string} */ t) => t !== "null"), nullable: true };
  }
  return found;
}

/** @param {Schema} raw @param {string[]} keys @param {Context} context @returns {Form | Leaf} */
function make(raw, keys, context) {
  const schema = resolve(raw, context.defs);
  const types = [schema.type].flat();
  if (schema.sparse) return sparse(schema, keys, context);
  if (types.includes("object") && schema.properties) return group(schema, { ...context, at: keys });
  if (types.includes("array")) {
    const items = resolve(schema.items ?? {}, context.defs);
    if (items.properties) return list(schema, items, keys, context);
    return items.enum ? several(schema, items.enum, keys, context) : line(schema, keys, context);
  }
  if (schema.enum || types.includes("boolean")) return choice(schema, keys, context);
  if (types.includes("object") || !schema.type) return json(schema, keys, context);
  return line(schema, keys, context);
}

/** Fields under one heading. @param {Schema} schema @param {Context} context @returns {Form} */
function group(schema, context) {
  /** @type {[string, Form | Leaf][]} */
  const parts = Object.entries(schema.properties ?? {}).map(([name, part]) => [
    name,
    make(/** @type {Schema} */ (part), [...context.at, name], context),
  ]);
  const root = h("div", { class: "sf-group" });
  for (const [name, part] of parts) {
    if ("path" in part) root.append(part.root);
    else {
      const about = schema.properties[name].description;
      root.append(
        h(
          "fieldset",
          { class: "sf-set" },
          h("legend", {}, words(name)),
          about ? h("p", { class: "sf-about" }, about) : "",
          part.root,
        ),
      );
    }
  }
  const leaves = () => parts.flatMap(([, part]) => ("path" in part ? [part] : part.leaves()));
  return {
    root,
    leaves,
    get() {
      const found = parts.map(([name, part]) => [name, part.get()]);
      return Object.fromEntries(found.filter(([, value]) => value !== undefined));
    },
    set(value) {
      for (const [name, part] of parts) part.set(value?.[name]);
    },
    fault(path, why) {
      const place = leaves().find((leaf) => path === leaf.path || path.startsWith(`${leaf.path}.`));
      place?.fault(why, path);
      return place !== undefined;
    },
    clear() {
      for (const leaf of leaves()) leaf.fault("");
    },
    disable(off) {
      for (const leaf of leaves()) leaf.disable(off);
    },
  };
}

/**
 * Heading, control, what it is, what is wrong.
 * @param {Schema} schema @param {string[]} keys @param {Context} context @param {HTMLElement} control @param {{ wide?: boolean, box?: boolean }} [how]
 */
function frame(schema, keys, context, control, { wide = false, box = false } = {}) {
  const path = keys.join(".");
  const id = `${context.prefix}-${path}`;
  const [name, unit] = title(keys.at(-1) ?? "");
  const error = h("span", { class: "field-error", id: `${id}-error` });
  const note = h("p", { class: "sf-note", hidden: true });
  const about = h("p", { class: "sf-about" }, sentence(schema));
  if (!about.textContent) hide(about, true);
  control.id = id;
  control.setAttribute("aria-describedby", error.id);
  const labelled = /^(INPUT|SELECT|TEXTAREA)$/.test(control.tagName);
  const heading = h(labelled ? "label" : "span", { class: "sf-name", id: `${id}-name` }, name);
  if (labelled) heading.setAttribute("for", id);
  else {
    control.setAttribute("role", "group");
    control.setAttribute("aria-labelledby", heading.id);
  }
  const head = box
    ? h("div", { class: "check" }, control, heading)
    : h(
        "div",
        { class: "field-head" },
        heading,
        h("span", { class: "unit" }, [range(schema), unit].filter(Boolean).join(" ")),
      );
  const root = h(
    "div",
    { class: `field sf-field${wide ? " sf-wide" : ""}`, "data-path": path },
    head,
    box ? "" : control,
    about,
    note,
    error,
  );
  return {
    keys,
    path,
    root,
    equal: same,
    /** @param {string} why */
    fault(why) {
      text(error, why);
      attr(control, "aria-invalid", why && labelled ? "true" : null);
    },
    /** @param {"" | "edited" | "conflict"} tone @param {(Node | string)[]} parts */
    note(tone, ...parts) {
      hide(note, parts.length === 0);
      note.replaceChildren(...parts);
      cls(note, `sf-note ${tone}`);
      attr(root, "data-tone", tone || null);
    },
    focus: () => control.focus(),
  };
}

/** Units that stand at the end of names. */
const UNITS = /** @type {Record<string, string>} */ ({ ms: "ms", s: "s", minutes: "min", ts: "" });

const SHORT = /** @type {Record<string, string>} */ ({
  ema: "EMA",
  rsi: "RSI",
  atr: "ATR",
  smtp: "SMTP",
  url: "URL",
  pnl: "P/L",
});

/** "retry_delay_s" is "Retry delay" in "s". @param {string} key @returns {[string, string]} */
function title(key) {
  const parts = key.split("_");
  const unit = parts.length > 1 ? UNITS[parts.at(-1) ?? ""] : undefined;
  const bare = (unit === undefined ? parts : parts.slice(0, -1)).map((part) => SHORT[part] ?? part).join(" ");
  return [bare.charAt(0).toUpperCase() + bare.slice(1), unit ?? ""];
}

/** The bounds, as people write them. @param {Schema} schema */
function range(schema) {
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  if (schema.items) return schema.maxItems === undefined ? "" : `at most ${schema.maxItems}`;
  if (low !== undefined && high !== undefined)
    return `${schema.exclusiveMinimum === undefined ? "" : "above "}${low} to ${high}`;
  if (low !== undefined) return schema.exclusiveMinimum === undefined ? `from ${low}` : `above ${low}`;
  return high === undefined ? "" : `to ${high}`;
}

/** @param {Schema} schema */
function sentence(schema) {
  const said = schema.properties && !schema.sparse ? "" : String(schema.description ?? "");
  const known =
    schema.default === undefined || schema.optional || schema.nullable || typeof schema.default === "object";
  const first = known ? "" : `default ${unset(schema.default)}`;
  return [said, first].filter(Boolean).join(" · ");
}

/** @param {any} value */
const unset = (value) => (value === true ? "yes" : value === false ? "no" : brief(value));

/** What an empty field means. @param {Schema} schema */
function blank(schema) {
  if (schema.optional) return schema.default === undefined ? "not set" : `default ${unset(schema.default)}`;
  return schema.nullable ? String(schema.none ?? "off") : "";
}

/** @param {Schema} schema */
const empty = (schema) => (schema.optional ? undefined : schema.nullable ? null : "");

/** A line of text: numbers, decimals, words, and lists of words. @param {Schema} schema @param {string[]} keys @param {Context} context @returns {Leaf} */
function line(schema, keys, context) {
  const types = [schema.type].flat();
  const words_ = types.includes("array");
  const money = schema.format === "decimal";
  const moment = /_ts$/.test(keys.at(-1) ?? "");
  const number = !money && !moment && (types.includes("integer") || types.includes("number"));
  const input = h("input", {
    type: "text",
    inputmode: number || money ? "decimal" : undefined,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: blank(schema) || (words_ ? "none" : moment ? "2026-09-21T14:00Z" : undefined),
    onchange: number || money ? spell : undefined,
  });
  const part = frame(schema, keys, context, input);
  input.addEventListener("input", context.changed);
  /** What was set, and how it is written, so that a value nobody touched comes back as it was. @type {[any, string]} */
  let given = [empty(schema), ""];
  return {
    ...part,
    get() {
      const typed = input.value.trim();
      if (typed === given[1]) return given[0];
      if (words_ && (typed !== "" || !(schema.optional || schema.nullable)))
        return typed.split(",").flatMap((one) => (one.trim() ? [one.trim()] : []));
      if (typed === "") return empty(schema);
      return number && Number.isFinite(Number(typed)) ? Number(typed) : typed;
    },
    set(value) {
      const shown = Array.isArray(value)
        ? value.join(", ")
        : moment && typeof value === "number"
          ? new Date(value).toISOString().replace(/(:00)?\.000Z$/, "Z")
          : String(value ?? "");
      given = [value, shown];
      input.value = shown;
    },
    equal(a, b) {
      const both = [a, b].map(String);
      return same(a, b) || (money && both.every(isDecimal) && cmp(both[0] ?? "", both[1] ?? "") === 0);
    },
    disable(off) {
      input.disabled = off;
    },
  };
}

/** Yes or no, or one of some. @param {Schema} schema @param {string[]} keys @param {Context} context @returns {Leaf} */
function choice(schema, keys, context) {
  if (!schema.enum && !schema.optional && !schema.nullable) {
    const box = h("input", { type: "checkbox" });
    const part = frame(schema, keys, context, box, { box: true });
    box.addEventListener("change", context.changed);
    return {
      ...part,
      get: () => box.checked,
      set: (value) => {
        box.checked = Boolean(value);
      },
      disable: (off) => {
        box.disabled = off;
      },
    };
  }
  /** @type {[string, any][]} */
  const values = schema.enum
    ? schema.enum.map((/** @type {any} */ value) => [words(value), value])
    : [
        ["yes", true],
        ["no", false],
      ];
  if (schema.optional || schema.nullable) values.unshift([blank(schema), empty(schema)]);
  const select = h("select", {}, ...values.map(([shown], i) => h("option", { value: String(i) }, shown)));
  const part = frame(schema, keys, context, select);
  select.addEventListener("change", context.changed);
  return {
    ...part,
    get: () => values[Number(select.value)]?.[1],
    set(value) {
      let at = values.findIndex(([, one]) => one === value);
      if (at < 0 && value !== undefined) {
        at = values.push([String(value), value]) - 1;
        select.append(h("option", { value: String(at) }, String(value)));
      }
      select.value = String(Math.max(0, at));
    },
    disable: (off) => {
      select.disabled = off;
    },
  };
}

/** Some of some. @param {Schema} schema @param {any[]} values @param {string[]} keys @param {Context} context @returns {Leaf} */
function several(schema, values, keys, context) {
  const boxes = values.map((value) => h("input", { type: "checkbox", value: String(value) }));
  const control = h(
    "div",
    { class: "sf-several" },
    ...boxes.map((box, i) => h("label", { class: "check" }, box, String(values[i]))),
  );
  const part = frame(schema, keys, context, control, { wide: true });
  control.addEventListener("change", context.changed);
  return {
    ...part,
    get: () => values.filter((_, i) => boxes[i]?.checked),
    set(value) {
      const wanted = value ?? schema.default ?? [];
      boxes.forEach((box, i) => {
        box.checked = wanted.includes(values[i]);
      });
    },
    disable(off) {
      for (const box of boxes) box.disabled = off;
    },
    focus: () => boxes[0]?.focus(),
  };
}

/** Rows of fields. @param {Schema} schema @param {Schema} items @param {string[]} keys @param {Context} context @returns {Leaf} */
function list(schema, items, keys, context) {
  const rows = h("div", { class: "sf-rows" });
  const add = h("button", { type: "button", class: "small-button" }, `Add ${words(keys.at(-1)).replace(/s$/, "")}`);
  const part = frame(schema, keys, context, h("div", { class: "sf-list" }, rows, add), { wide: true });
  /** @type {Form[]} */
  let forms_ = [];
  let off = false;
  /** @type {any} */
  let none = empty(schema);
  const get = () => (forms_.length === 0 && (schema.optional || schema.nullable) ? none : forms_.map((f) => f.get()));
  /** @param {any[]} values */
  function show(values) {
    forms_ = values.map((value, i) => {
      const form = group(items, { ...context, at: [...keys, String(i)] });
      form.set(value);
      return form;
    });
    rows.replaceChildren(
      ...forms_.map((form, i) => {
        const gone = h(
          "button",
          { type: "button", class: "small-button", "aria-label": `Remove row ${i + 1}` },
          "Remove",
        );
        gone.addEventListener("click", () => {
          show(get().filter((/** @type {any} */ _, /** @type {number} */ at) => at !== i));
          add.focus();
          context.changed();
        });
        return h("div", { class: "sf-row" }, form.root, gone);
      }),
    );
    disable(off);
  }
  /** @param {boolean} now */
  function disable(now) {
    off = now;
    add.disabled = now;
    for (const form of forms_) form.disable(now);
    for (const button of rows.querySelectorAll("button")) button.disabled = now;
  }
  add.addEventListener("click", () => {
    const fresh = Object.entries(items.properties).filter(([, p]) => /** @type {any} */ (p).default !== undefined);
    show([...(get() ?? []), Object.fromEntries(fresh.map(([name, p]) => [name, /** @type {any} */ (p).default]))]);
    forms_.at(-1)?.leaves()[0]?.focus();
    context.changed();
  });
  return {
    ...part,
    get,
    set(value) {
      none = value?.length === 0 ? value : empty(schema);
      show(value ?? []);
    },
    fault(why, path) {
      for (const form of forms_) form.clear();
      const inner = path !== undefined && forms_.some((form) => form.fault(path, why));
      part.fault(inner ? "" : why);
    },
    disable,
    focus: () => add.focus(),
  };
}

/** Only the keys that are set; others can be added. @param {Schema} schema @param {string[]} keys @param {Context} context @returns {Leaf} */
function sparse(schema, keys, context) {
  /** @type {Record<string, Schema>} */
  const known = schema.properties ?? {};
  const rows = h("div", { class: "sf-rows" });
  const pick = h("select", { class: "small", "aria-label": `Add to ${words(keys.at(-1))}` });
  const part = frame(schema, keys, context, h("div", { class: "sf-list" }, rows, pick), { wide: true });
  /** @type {Map<string, Form | Leaf>} */
  const parts = new Map();
  let off = false;
  const get = () => {
    if (parts.size === 0 && schema.nullable) return null;
    if (parts.size === 0 && schema.optional) return undefined;
    const found = [...parts].map(([name, inner]) => [name, inner.get()]);
    return Object.fromEntries(found.filter(([, value]) => value !== undefined));
  };
  /** @param {Record<string, any> | null | undefined} value */
  function show(value) {
    parts.clear();
    rows.replaceChildren();
    for (const [name, one] of Object.entries(value ?? {})) {
      const inner = make(known[name] ?? kindOf(one), [...keys, name], context);
      inner.set(one);
      parts.set(name, inner);
      const gone = h(
        "button",
        { type: "button", class: "small-button", "aria-label": `Remove ${words(name)}` },
        "Remove",
      );
      gone.addEventListener("click", () => {
        const { [name]: _, ...rest } = get() ?? {};
        show(rest);
        pick.focus();
        context.changed();
      });
      const body =
        "path" in inner ? inner.root : h("fieldset", { class: "sf-set" }, h("legend", {}, words(name)), inner.root);
      rows.append(h("div", { class: "sf-row" }, body, gone));
    }
    const left = Object.keys(known).filter((name) => !parts.has(name));
    pick.replaceChildren(
      h("option", { value: "" }, "Add…"),
      ...left.map((name) => h("option", { value: name }, words(name))),
    );
    disable(off);
  }
  /** @param {boolean} now */
  function disable(now) {
    off = now;
    pick.disabled = now;
    for (const inner of parts.values()) inner.disable(now);
    for (const button of rows.querySelectorAll("button")) button.disabled = now;
  }
  pick.addEventListener("change", () => {
    const name = pick.value;
    if (!name) return;
    show({ ...get(), [name]: first(resolve(known[name] ?? {}, context.defs), context.defs) });
    const added = parts.get(name);
    if (added) ("path" in added ? added : added.leaves()[0])?.focus();
    context.changed();
  });
  return {
    ...part,
    get,
    set: show,
    fault(why, path) {
      for (const inner of parts.values())
        if ("clear" in inner) inner.clear();
        else inner.fault("");
      const place = [...parts.values()].find((inner) =>
        "path" in inner ? path === inner.path || path?.startsWith(`${inner.path}.`) : inner.fault(path ?? "", why),
      );
      if (place && "path" in place) place.fault(why, path);
      part.fault(place ? "" : why);
    },
    disable,
    focus: () => pick.focus(),
  };
}

/** What a part holds when it is added. @param {Schema} schema @param {Schema} defs @returns {any} */
function first(schema, defs) {
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.properties && !schema.sparse) {
    const parts = Object.entries(schema.properties).map(([name, part]) => [name, first(resolve(part, defs), defs)]);
    return Object.fromEntries(parts.filter(([, value]) => value !== undefined));
  }
  const type = [schema.type].flat()[0];
  if (type === "array") return [];
  if (type === "object" || schema.sparse) return {};
  if (type === "boolean") return false;
  return schema.enum?.[0] ?? "";
}

/** The schema of a value that no schema tells of. @param {any} value @returns {Schema} */
export function kindOf(value) {
  const simple = ["boolean", "number", "string"].includes(typeof value);
  return simple ? { type: typeof value, optional: true } : { optional: true };
}

/** Anything, as JSON. @param {Schema} schema @param {string[]} keys @param {Context} context @returns {Leaf} */
function json(schema, keys, context) {
  const area = h("textarea", { rows: "3", spellcheck: "false", placeholder: blank(schema) || "{}" });
  const part = frame(schema, keys, context, area, { wide: true });
  area.addEventListener("input", context.changed);
  return {
    ...part,
    get() {
      const typed = area.value.trim();
      if (typed === "") return empty(schema) === "" ? {} : empty(schema);
      try {
        return JSON.parse(typed);
      } catch {
        return typed;
      }
    },
    set(value) {
      area.value = value === undefined || value === null ? "" : JSON.stringify(value, null, 1);
    },
    disable: (off) => {
      area.disabled = off;
    },
  };
}
