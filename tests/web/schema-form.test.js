import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, mergePatch, same } from "../../static/js/schema-form.js";

test("a merge patch holds what differs, null for what is gone, and lists as a whole", () => {
  const old = { a: 1, b: { c: 2, d: [1, 2] }, e: "x" };
  assert.equal(mergePatch(old, structuredClone(old)), undefined);
  assert.deepEqual(mergePatch(old, { a: 1, b: { c: 3, d: [1] }, f: true }), { b: { c: 3, d: [1] }, e: null, f: true });
  assert.deepEqual(mergePatch({ a: 1 }, { a: null }), { a: null });
  assert.deepEqual(mergePatch({}, { a: { b: 1 } }), { a: { b: 1 } });
  assert.deepEqual(mergePatch({ a: null }, { a: [] }), { a: [] });
});

test("values are equal as JSON, whatever the order of keys", () => {
  assert.ok(same({ a: [1, { b: null }], c: 2 }, { c: 2, a: [1, { b: null }] }));
  assert.ok(!same({ a: undefined }, { b: undefined }));
  assert.ok(!same([], {}));
  assert.ok(!same(null, {}));
  assert.ok(!same("1", 1));
});

test("a value in one line says what is missing", () => {
  const said = [undefined, null, "", [], ["a", "b"], { a: 1 }, false, "0.1"].map(brief);
  assert.deepEqual(said, ["not set", "off", "empty", "none", "a, b", '{"a":1}', "false", "0.1"]);
});
