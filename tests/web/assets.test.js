import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const page = join(root, "static");
const read = (name) => readFileSync(join(page, name), "utf8");

function files(folder) {
  return readdirSync(join(page, folder), { withFileTypes: true }).flatMap((f) =>
    f.isDirectory() ? files(join(folder, f.name)) : [join(folder, f.name)],
  );
}

/** Modules reached by static imports. */
function reached(start, seen = new Set()) {
  if (seen.has(start)) return seen;
  seen.add(start);
  for (const [, to] of read(start).matchAll(/^(?:import|export)[^;]*?from "(\.[^"]+)";/gms)) {
    reached(normalize(join(dirname(start), to)), seen);
  }
  return seen;
}

test("the lock carries hashes and no download addresses", () => {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  for (const [name, entry] of Object.entries(lock.packages)) {
    if (name === "") continue;
    assert.equal(entry.resolved, undefined, name);
    assert.match(entry.integrity, /^sha512-/, name);
  }
});

test("the preload list is the import graph", () => {
  const listed = [...read("index.html").matchAll(/rel="modulepreload" href="([^"]+)"/g)].map(([, href]) => href).sort();
  const wanted = [...reached("js/app.js")].filter((name) => name !== "js/app.js").sort();
  assert.deepEqual(listed, wanted);
});

test("no inline script, style or handler in the page, no innerHTML and no foreign address in its code", () => {
  const html = read("index.html");
  assert.doesNotMatch(html, /<script(?![^>]* src=)|<style|\sstyle=|\son\w+=/);
  for (const name of files("js")) {
    assert.doesNotMatch(read(name), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(/, name);
    assert.doesNotMatch(read(name).replaceAll("http://www.w3.org/2000/svg", ""), /["'`]http:|@import/, name);
  }
});

test("our own code of the first load stays light; views are loaded when they are opened", () => {
  const worker = reached("js/socket.worker.js");
  const own = new Set([
    ...reached("js/app.js"),
    ...worker,
    "index.html",
    "app.css",
    "panels.css",
    "tokens.css",
    "icon.svg",
  ]);
  const bytes = [...own].reduce((sum, name) => sum + statSync(join(page, name)).size, 0);
  assert.ok(bytes < 250_000, `${bytes} bytes`);
  assert.ok(own.size < 45, `${own.size} files`);
});
