// One requestAnimationFrame loop for the page. A painter runs only when dirty, visible and due at its own pace.

/** @typedef {{ paint: () => void, gap: number, dirty: boolean, last: number, visible: () => boolean }} Painter */

/** What is due waits so long for the next batch of the socket: one frame, not two [ms]. */
const GRACE = 25;

/** @type {Painter[]} */
const painters = [];
/** @type {(() => void)[]} */
const before = [];
/** @type {(() => void)[]} */
const after = [];
let scheduled = false;
let told = false;
/** Until a painter is due: no frames in between. @type {ReturnType<typeof setTimeout> | undefined} */
let nap;

function frame(/** @type {number} */ now) {
  clearTimeout(nap);
  for (const task of before) run(task);
  // Not before: what the tasks make dirty is looked at now, and needs no frame of its own.
  scheduled = false;
  let next = Number.POSITIVE_INFINITY;
  const due = [];
  // All are asked before any is painted: a question after a change computes all styles again.
  for (const painter of painters) {
    if (!painter.dirty) continue;
    const wait = painter.gap - (now - painter.last);
    if (wait > 0) next = Math.min(next, wait);
    else if (painter.visible()) due.push(painter);
  }
  for (const painter of due) {
    painter.dirty = false;
    painter.last = now;
    run(painter.paint);
  }
  for (const task of after) run(task);
  if (next < Number.POSITIVE_INFINITY) nap = setTimeout(wake, next + GRACE);
}

/** One panel that fails must not stop all others. @param {() => void} task */
function run(task) {
  try {
    task();
  } catch (error) {
    reportError(error);
  }
}

/** A hidden page gets no frames: sounds and title are told, nothing is painted. */
function unseen() {
  told = false;
  for (const task of [...before, ...after]) run(task);
}

/** Asks for one frame; with `urgent` no painter waits for its pace in it. */
export function wake(urgent = false) {
  if (urgent === true) for (const painter of painters) painter.last = Number.NEGATIVE_INFINITY;
  if (document.hidden) {
    if (!told) queueMicrotask(unseen);
    told = true;
    return;
  }
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(frame);
}

/** Runs at the start of each frame. @param {() => void} task */
export const onFrame = (task) => void before.push(task);
/** Runs at the end of each frame. @param {() => void} task */
export const afterFrame = (task) => void after.push(task);

/**
 * Registers a panel's paint; the function returned marks it dirty. Hidden elements are painted when shown. Called with
 * true it does not wait for its pace: a change of symbol leaves nothing behind.
 * @param {HTMLElement} element @param {number} hz @param {() => void} paint
 */
export function painter(element, hz, paint) {
  /** @type {Painter} */
  const mine = {
    paint,
    gap: 1000 / hz - 4,
    dirty: true,
    last: Number.NEGATIVE_INFINITY,
    visible: () => element.checkVisibility(),
  };
  painters.push(mine);
  wake();
  return (urgent = false) => {
    mine.dirty = true;
    if (urgent) mine.last = Number.NEGATIVE_INFINITY;
    wake();
  };
}
