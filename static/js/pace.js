// One requestAnimationFrame loop for the page. A painter runs only when dirty, visible and due at its own pace.

/** @typedef {{ paint: () => void, gap: number, dirty: boolean, last: number, visible: () => boolean }} Painter */

/** @type {Painter[]} */
const painters = [];
/** @type {(() => void)[]} */
const before = [];
/** @type {(() => void)[]} */
const after = [];
let scheduled = false;

function frame(/** @type {number} */ now) {
  scheduled = false;
  for (const task of before) task();
  let left = false;
  for (const painter of painters) {
    if (!painter.dirty || !painter.visible()) continue;
    if (now - painter.last < painter.gap) {
      left = true;
      continue;
    }
    painter.dirty = false;
    painter.last = now;
    painter.paint();
  }
  for (const task of after) task();
  if (left) wake();
}

/** Asks for one frame. */
export function wake() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(frame);
}

/** Runs at the start of each frame. @param {() => void} task */
export const onFrame = (task) => void before.push(task);
/** Runs at the end of each frame. @param {() => void} task */
export const afterFrame = (task) => void after.push(task);

/**
 * Registers a panel's paint; the function returned marks it dirty. Hidden elements are not painted: they stay dirty
 * and are painted when shown. Called with true it does not wait for its pace: a change of symbol leaves nothing behind.
 * @param {HTMLElement} element @param {number} hz @param {() => void} paint
 */
export function painter(element, hz, paint) {
  /** @type {Painter} */
  const mine = {
    paint,
    gap: 1000 / hz - 4,
    dirty: true,
    last: 0,
    visible: () => element.checkVisibility(),
  };
  painters.push(mine);
  wake();
  return (urgent = false) => {
    mine.dirty = true;
    if (urgent) mine.last = 0;
    wake();
  };
}
