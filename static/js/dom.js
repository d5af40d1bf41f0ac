// Elements, never from HTML text: `h` makes, `text` writes only what changed, `keyed` keeps rows in place, `table` is both.

import { settings } from "./settings.js";

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * h("button", { class: "quiet", onclick }, "Cancel")
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, any>} [attributes] @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Writes text only when it changed. @param {Element} element @param {string} value */
export function text(element, value) {
  const node = element.firstChild;
  if (node instanceof Text && element.childNodes.length === 1) {
    if (node.data !== value) node.data = value;
  } else if (element.textContent !== value) element.textContent = value;
}

/** Sets the class only when it changed. @param {Element} element @param {string} value */
export function cls(element, value) {
  if (element.className !== value) element.className = value;
}

/** @param {HTMLElement} element @param {boolean} away */
export function hide(element, away) {
  if (element.hidden !== away) element.hidden = away;
}

/** Sets or removes an attribute only when it changed. @param {Element} element @param {string} name @param {string | null} value */
export function attr(element, name, value) {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/**
 * Keeps children of `parent` equal to `items` by key, moving nothing that stands right.
 * @template T
 * @param {HTMLElement} parent @param {T[]} items @param {(item: T) => string} key
 * @param {(item: T) => HTMLElement} make @param {(element: HTMLElement, item: T) => void} update
 */
export function keyed(parent, items, key, make, update) {
  /** @type {Map<string, HTMLElement>} */
  const old = new Map();
  for (const child of /** @type {HTMLElement[]} */ ([...parent.children])) old.set(child.dataset.key ?? "", child);
  const focus = document.activeElement;
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = key(item);
    let element = old.get(id);
    if (element) old.delete(id);
    else {
      element = make(item);
      element.dataset.key = id;
    }
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const gone of old.values()) gone.remove();
  if (focus instanceof HTMLElement && focus !== document.activeElement && focus.isConnected) focus.focus();
}

/**
 * @typedef {object} Column
 * @property {string} head heading; empty for a column of buttons
 * @property {string} [kind] class of heading and cells: "num" aligns right
 * @property {(row: Row) => string} [text]
 * @property {(row: Row) => string} [tone] class of the value: up, down, dim
 * @property {(row: Row, cell: HTMLElement) => void} [cell] writes the cell itself
 * @property {(row: Row) => HTMLElement} [make] makes what the cell holds, once
 */

/**
 * A table with keyed rows, and a line of text when it is empty. Returns a function that shows rows, and a line below where
 * they are not all, with what a person may choose: columns stand or fall with the screen's width unless settings say more.
 * @param {HTMLElement} root @param {string} caption @param {Column[]} columns @param {(row: Row) => string} key
 * @param {string} empty
 */
export function table(root, caption, columns, key, empty) {
  const body = h("tbody");
  const heads = columns.map(({ head, kind }) =>
    head ? h("th", { scope: "col", class: kind }, head) : h("td", { class: kind }),
  );
  const grid = h(
    "table",
    { class: "rows" },
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, ...heads)),
    body,
  );
  const nothing = h("p", { class: "empty" });
  root.append(grid, nothing);
  /** @type {Record<string, boolean> | undefined} */
  let chosen;
  /** @param {Element} line */
  const fit = (line) =>
    columns.forEach(({ head, kind = "" }, i) => {
      const cell = /** @type {HTMLElement} */ (line.children[i]);
      hide(cell, chosen?.[head] === false);
      cls(cell, chosen?.[head] ? kind.replace("wide", "") : kind);
    });
  /** @param {Row} row */
  const make = (row) => {
    const line = h(
      "tr",
      {},
      ...columns.map(({ head, kind, make: inner }) =>
        h("td", { class: kind, "data-head": head || undefined }, inner ? inner(row) : h("span")),
      ),
    );
    if (chosen) fit(line);
    return line;
  };
  /** @param {HTMLElement} element @param {Row} row */
  const update = (element, row) => {
    columns.forEach((column, i) => {
      const cell = /** @type {HTMLElement} */ (element.children[i]);
      const value = /** @type {HTMLElement} */ (cell.firstElementChild);
      if (column.text) text(value, column.text(row));
      if (column.tone) cls(value, column.tone(row));
      column.cell?.(row, value);
    });
  };
  const show = (/** @type {Row[]} */ rows, cut = "") => {
    grid.hidden = rows.length === 0;
    text(nothing, cut || (grid.hidden ? empty : ""));
    nothing.hidden = nothing.textContent === "";
    if (chosen !== settings.columns[caption]) {
      chosen = settings.columns[caption];
      for (const line of grid.querySelectorAll("tr")) fit(line);
    }
    keyed(body, rows, key, make, update);
  };
  return Object.assign(show, { choice: { caption, heads: columns.map(({ head }) => head).filter(Boolean), grid } });
}

/** @typedef {{ caption: string, heads: string[], grid: HTMLElement }} Choice  columns of a table, by their headings */

/** Height of a row of book and tape, px; a high screen has higher ones. @param {Element} element */
export const rowHeight = (element) => Number.parseFloat(getComputedStyle(element).getPropertyValue("--row")) || 20;

/** Colours by theme: asking makes the browser compute styles anew. @type {Map<string, string>} */
const colours = new Map();
/** @type {MediaQueryList | undefined} */
let dark;

/** A colour of the theme, as canvases want it. @param {Element} element @param {string} name */
export function colour(element, name) {
  const { theme, palette } = element.ownerDocument.documentElement.dataset;
  dark ??= matchMedia("(prefers-color-scheme: dark)");
  const key = `${name} ${theme} ${palette} ${dark.matches}`;
  const known = colours.get(key);
  if (known) return known;
  const probe = element.ownerDocument.createElement("span");
  probe.style.color = `var(${name})`;
  element.parentElement?.append(probe);
  const told = getComputedStyle(probe).color;
  probe.remove();
  if (told) colours.set(key, told);
  return told;
}

/** Style sheets of what is loaded late. @type {Record<string, Promise<void>>} */
const sheets = {};

/** Resolves when a style sheet is in force; without it what it is for is plain, but works. */
export function styles(name = "views.css") {
  sheets[name] ??= new Promise((resolve) => {
    const done = () => resolve();
    document.head.append(h("link", { rel: "stylesheet", href: name, onload: done, onerror: done }));
  });
  return sheets[name];
}
