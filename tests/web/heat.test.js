// The map of a search: values gathered into bands, the best of each cell.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bands, grid, varied } from "../../static/js/panels/heat.js";

const row = (fast, slow, value, out = null) => ({
  parameters: { fast, slow, direction: "both", lookback: 3 },
  in_sample_objective: value,
  out_of_sample_objective: out,
});

test("each value has its band, many values share at most twelve", () => {
  assert.deepEqual(bands([9, 3, 3, 0.5]), [
    { low: 0.5, high: 0.5, name: "0.5" },
    { low: 3, high: 3, name: "3" },
    { low: 9, high: 9, name: "9" },
  ]);
  const many = bands(Array.from({ length: 50 }, (_, i) => i));
  assert.equal(many.length, 10);
  assert.deepEqual(many[0], { low: 0, high: 4, name: "0–4" });
  assert.equal(many.at(-1)?.high, 49);
});

test("only numbers that differ can be axes", () => {
  assert.deepEqual(varied([row(1, 10, 0), row(2, 20, 0)]), ["fast", "slow"]);
  assert.deepEqual(varied([row(1, 10, 0), row(1, 20, 0)]), ["slow"]);
  assert.deepEqual(varied([]), []);
});

test("a cell is the best of what falls into it, null where nothing was tried or known", () => {
  const ranking = [row(1, 10, -2, 1), row(2, 20, -1), { ...row(1, 10, -3, 4), place: 3 }];
  const made = grid(ranking, "fast", "slow", "in_sample_objective");
  assert.deepEqual(made.cells, [
    [-2, null],
    [null, -1],
  ]);
  assert.deepEqual(grid(ranking, "fast", "slow", "out_of_sample_objective").cells, [
    [4, null],
    [null, null],
  ]);
});
