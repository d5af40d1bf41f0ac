import assert from "node:assert/strict";
import { test } from "node:test";
import { Book, checksum, crc32, cumulated, middle } from "../../static/js/book.js";

const V1 = {
  bids: [
    ["64012.00", "0.51230"],
    ["64011.50", "1.00000"],
    ["64010.00", "0.25000"],
    ["64009.90", "2.00000"],
    ["64008.00", "0.10000"],
  ],
  asks: [
    ["64012.10", "1.20410"],
    ["64013.00", "0.25000"],
    ["64013.50", "0.40000"],
    ["64014.00", "3.00000"],
    ["64015.20", "0.05000"],
  ],
};

test("the checksum vectors of the protocol", () => {
  assert.equal(checksum(V1.bids, V1.asks), 1982769241);
  assert.equal(crc32("0.00001423:120000;"), 3463151058);
  assert.equal(checksum([], []), 1661535913);
  const twelve = (from, sign) =>
    Array.from({ length: 12 }, (_, i) => [((from * 10 + sign * i) / 10).toFixed(1), String(i + 1)]);
  assert.equal(checksum(twelve(99.9, -1), twelve(100.1, 1)), 250733557);
});

test("updates set, delete and enter levels as in the protocol's example", () => {
  const book = new Book();
  book.apply(V1, true);
  book.apply(
    {
      bids: [["64012.00", "0.40000"]],
      asks: [
        ["64012.10", "0"],
        ["64016.00", "0.75000"],
      ],
    },
    false,
  );
  let { bids, asks } = book.levels();
  assert.equal(checksum(bids, asks), 3907327660);
  book.apply(
    {
      bids: [
        ["64012.05", "0.30000"],
        ["64008.00", "0"],
      ],
      asks: [],
    },
    false,
  );
  ({ bids, asks } = book.levels());
  assert.equal(checksum(bids, asks), 1935010589);
  assert.equal(bids[0][0], "64012.05");
});

test("a snapshot replaces: no ghost level stays", () => {
  const book = new Book();
  book.apply(V1, true);
  book.apply({ bids: [["1.0", "1"]], asks: [["2.0", "1"]] }, true);
  assert.deepEqual(book.levels(), { bids: [["1.0", "1"]], asks: [["2.0", "1"]] });
});

test("levels sort by value, not by text", () => {
  const book = new Book();
  book.apply(
    {
      bids: [
        ["9.5", "1"],
        ["10.5", "1"],
        ["100", "1"],
      ],
      asks: [],
    },
    true,
  );
  assert.deepEqual(
    book.levels().bids.map(([p]) => p),
    ["100", "10.5", "9.5"],
  );
});

test("totals run from the best level", () => {
  assert.deepEqual(cumulated(V1.bids, 2), [
    ["64012.00", "0.51230", "0.51230"],
    ["64011.50", "1.00000", "1.51230"],
  ]);
});

test("mid and spread are exact text", () => {
  const m = middle(V1.bids, V1.asks);
  assert.equal(m.mid, "64012.050");
  assert.equal(m.spread, "0.10");
  assert.equal(middle([], V1.asks), null);
  assert.equal(middle([["0.00000001", "1"]], [["0.00000002", "1"]]).mid, "0.000000015");
});
