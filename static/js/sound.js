// Tones, made in the page: one switch per event, all off at first. Nothing is fetched and nothing plays before a click.
import { remember, settings } from "./settings.js";

/** Events, what they are called, and their tones: pitch [Hz], start and length [s]. @type {Record<string, { name: string, tones: [number, number, number][] }>} */
export const SOUNDS = {
  fill: {
    name: "Fill",
    tones: [
      [660, 0, 0.09],
      [880, 0.09, 0.14],
    ],
  },
  refusal: {
    name: "Refused order",
    tones: [
      [240, 0, 0.12],
      [180, 0.12, 0.2],
    ],
  },
  alert: {
    name: "Alert",
    tones: [
      [740, 0, 0.1],
      [740, 0.18, 0.1],
    ],
  },
  halt: {
    name: "Trading halted or reducing",
    tones: [
      [520, 0, 0.18],
      [390, 0.2, 0.18],
      [290, 0.4, 0.3],
    ],
  },
  link: {
    name: "Connection lost",
    tones: [
      [420, 0, 0.12],
      [320, 0.14, 0.24],
    ],
  },
};
const VOLUME = 0.12;
/** A sound is not repeated sooner [ms]: ten fills at once are one. */
const REST = 400;

/** @type {AudioContext | undefined} */
let context;
/** @type {Map<string, number>} */
const played = new Map();

/** Plays the tones of an event, whatever the switches say. @param {string} event */
export function play(event) {
  const found = SOUNDS[event];
  if (!found) return;
  context ??= new AudioContext();
  // The browser lets it sound only after somebody has clicked or typed; until then this waits.
  void context.resume().catch(() => {});
  const start = context.currentTime + 0.02;
  for (const [pitch, at, length] of found.tones) {
    const tone = new OscillatorNode(context, { frequency: pitch, type: "sine" });
    const loudness = new GainNode(context, { gain: 0 });
    tone.connect(loudness).connect(context.destination);
    loudness.gain.setValueAtTime(0, start + at);
    loudness.gain.linearRampToValueAtTime(VOLUME, start + at + 0.012);
    loudness.gain.setTargetAtTime(0, start + at + length * 0.6, length * 0.2);
    tone.start(start + at);
    tone.stop(start + at + length * 1.6);
  }
}

/** @param {string} event */
function tell(event) {
  if (settings.sounds[event] !== true) return;
  const now = performance.now();
  if (now - (played.get(event) ?? Number.NEGATIVE_INFINITY) < REST) return;
  played.set(event, now);
  play(event);
}

/** All sounds off, or those on again that were; false where none was chosen yet. @param {App} app */
export function hush(app) {
  const { sounds, silenced } = settings;
  const on = Object.values(sounds).includes(true);
  if (!on && !Object.values(silenced).includes(true)) return false;
  remember(on ? { sounds: {}, silenced: sounds } : { sounds: silenced });
  app.store.touch("settings");
  return true;
}

/** Listens for the events, from now on. @param {App} app */
export function listen(app) {
  const { store } = app;
  /** Tells of entries that are newer than those of the first look. @param {string} channel @param {(row: any) => boolean} counts @param {string} event */
  const fresh = (channel, counts, event) => {
    /** @type {number | undefined} */
    let newest;
    const look = () => {
      const list = store.channel(channel)?.list;
      if (!list) return;
      const last = Math.max(0, ...list.map((row) => Number(row.ts)));
      if (newest !== undefined && list.some((row) => row.ts > /** @type {number} */ (newest) && counts(row)))
        tell(event);
      newest = Math.max(newest ?? 0, last);
    };
    store.watch([channel], look);
    look();
  };
  fresh("fills", () => true, "fill");
  fresh("alerts", (row) => row.level !== "info" && !row.acked_by, "alert");

  store.watch(["refusal"], () => tell("refusal"));

  let halted = app.tradingState();
  store.watch(["status", "risk"], () => {
    const now = app.tradingState();
    if (halted === "active" && (now === "halted" || now === "reducing")) tell("halt");
    halted = now;
  });

  let link = app.link.state.state;
  store.watch(["link"], () => {
    const now = app.link.state.state;
    if (now !== link && (now === "lost" || now === "stopped")) tell("link");
    link = now;
  });
}
