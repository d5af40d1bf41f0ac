// A search for parameters as a map over two of them: a table with the numbers, its cells shaded from worst to best.
import { cls, h, hide, text } from "../dom.js";
import { words } from "../format.js";
import { figure } from "./backtest-form.js";

/** Rows and columns at most; more values than these share a cell. */
const MOST = 12;

/** @typedef {{ low: number, high: number, name: string }} Band */

/** Values in order, gathered into bands where there are many. @param {number[]} values @returns {Band[]} */
export function bands(values) {
  const all = [...new Set(values)].sort((a, b) => a - b);
  const size = Math.ceil(all.length / MOST);
  /** @type {Band[]} */
  const made = [];
  for (let at = 0; at < all.length; at += size) {
    const part = all.slice(at, at + size);
    const low = part[0] ?? 0;
    const high = part.at(-1) ?? low;
    made.push({ low, high, name: low === high ? short(low) : `${short(low)}–${short(high)}` });
  }
  return made;
}

const short = (/** @type {number} */ value) => String(Number(value.toPrecision(4)));

/** Parameters that are numbers and differ. @param {Row[]} ranking @returns {string[]} */
export function varied(ranking) {
  const first = ranking[0]?.parameters ?? {};
  return Object.keys(first).filter(
    (name) => typeof first[name] === "number" && new Set(ranking.map((r) => r.parameters[name])).size > 1,
  );
}

/** The best of each cell. @param {Row[]} ranking @param {string} x @param {string} y @param {string} value field of a row */
export function grid(ranking, x, y, value) {
  const columns = bands(ranking.map((r) => r.parameters[x]));
  const rows = bands(ranking.map((r) => r.parameters[y]));
  const within = (/** @type {Band} */ band, /** @type {number} */ v) => v >= band.low && v <= band.high;
  const cells = rows.map((row) =>
    columns.map((column) => {
      const found = ranking
        .filter((r) => within(row, r.parameters[y]) && within(column, r.parameters[x]))
        .map((r) => r[value])
        .filter((v) => typeof v === "number");
      return found.length === 0 ? null : Math.max(...found);
    }),
  );
  return { columns, rows, cells };
}

/** @param {HTMLElement} root */
export function heat(root) {
  /** @type {Row | undefined} */
  let shown;
  const xs = h("select", { "aria-label": "Across" });
  const ys = h("select", { "aria-label": "Down" });
  const side = h(
    "select",
    { "aria-label": "Part of the bars" },
    h("option", { value: "in_sample_objective" }, "in-sample"),
    h("option", { value: "out_of_sample_objective" }, "out-of-sample"),
  );
  const choices = h("div", { class: "heat-choices" }, "down", ys, "across", xs, side);
  const about = h("p", { class: "dim" });
  const box = h("div", { class: "heat-box", tabindex: "0", role: "group", "aria-label": "Heat map" });
  root.append(choices, box, about);
  choices.addEventListener("change", () => draw());

  function draw() {
    const results = shown?.results;
    /** @type {Row[]} */
    const ranking = results?.ranking ?? [];
    const two = xs.value && ys.value && xs.value !== ys.value;
    hide(box, !two);
    if (!two) {
      text(about, "A map needs two different parameters that were searched.");
      return;
    }
    const { columns, rows, cells } = grid(ranking, xs.value, ys.value, side.value);
    const known = cells.flat().filter((v) => v !== null);
    const low = Math.min(...known);
    const high = Math.max(...known);
    const objective = words(results.objective);
    const head = h("tr", {}, h("td"), ...columns.map((c) => h("th", { scope: "col" }, c.name)));
    const body = rows.map((row, i) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, row.name),
        ...(cells[i] ?? []).map((v) => {
          if (v === null) return h("td", { class: "heat-none" }, "·");
          const cell = h("td", {}, `${v === high ? "★ " : ""}${figure(results.objective, v)}`);
          cell.style.setProperty("--share", `${Math.round(high > low ? ((v - low) / (high - low)) * 48 : 48)}%`);
          cls(cell, v === high ? "heat-cell best" : "heat-cell");
          return cell;
        }),
      ),
    );
    box.replaceChildren(
      h(
        "table",
        { class: "heat" },
        h("caption", { class: "hidden" }, `${objective} over ${words(ys.value)} and ${words(xs.value)}`),
        h("thead", {}, head),
        h("tbody", {}, ...body),
      ),
    );
    const part =
      ranking.length < results.tried ? `the best ${ranking.length} of ${results.tried}` : `all ${results.tried}`;
    text(
      about,
      `${objective}, ${side.selectedOptions[0]?.text ?? ""}: the best of each cell, of ${part} combinations. ★ is the best, stronger colour is better, · was not tried.`,
    );
  }

  return {
    /** @param {Row} row of an optimisation that is done */
    show(row) {
      if (shown?.id !== row.id) {
        const names = varied(row.results.ranking);
        for (const [select, at] of /** @type {const} */ ([
          [ys, 0],
          [xs, 1],
        ])) {
          select.replaceChildren(...names.map((n) => h("option", { value: n }, words(n))));
          select.value = names[at] ?? "";
        }
      }
      shown = row;
      draw();
    },
  };
}
