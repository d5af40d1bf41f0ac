// Which columns of a table are shown: the first always, the others as a person chose, else as the screen has room.
import { dialog } from "../dialog.js";
import { h, styles } from "../dom.js";
import { remember, settings } from "../settings.js";

/** @param {App} app @param {import("../dom.js").Choice} choice */
export async function choose(app, { caption, heads, grid }) {
  /** @param {Record<string, boolean> | undefined} chosen */
  const keep = (chosen) => {
    remember({ columns: { ...settings.columns, [caption]: chosen } });
    app.store.touch("settings");
  };
  /** By the first row, which cards have too; the columns of an empty table count as shown. @param {string} head */
  const shown = (head) => {
    const cell = grid.querySelector(`tbody tr:not(.heading) td[data-head="${head}"]`);
    return settings.columns[caption]?.[head] ?? (grid.hidden || (cell?.checkVisibility() ?? true));
  };
  const boxes = heads.slice(1).map((head) => {
    const box = h("input", { type: "checkbox", name: head, checked: shown(head) });
    box.addEventListener("change", () => keep({ ...settings.columns[caption], [head]: box.checked }));
    return h("label", { class: "check" }, box, head);
  });
  const again = h("button", { type: "button", class: "small-button" }, "As the screen has room");
  again.addEventListener("click", () => {
    keep(undefined);
    // The table is fitted in the next frame.
    setTimeout(() => {
      for (const [i, label] of boxes.entries()) box(label).checked = shown(heads[i + 1] ?? "") === true;
    }, 250);
  });
  await styles();
  await dialog({
    title: `Columns of ${caption.toLowerCase()}`,
    body: [h("div", { class: "pref-columns" }, ...boxes), again],
    yes: "Done",
    no: null,
    focus: "field",
  });
}

/** @param {Element} label */
const box = (label) => /** @type {HTMLInputElement} */ (label.querySelector("input"));
