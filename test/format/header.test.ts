import { expect, test } from "vitest";
import { CorruptObjectError, UnsupportedFormatError } from "../../src/errors.ts";
import { decodeHeader, encodeHeader, validateHeader } from "../../src/format/header.ts";
import { lineage, segmentHeader, snapshotHeader, someId, writer } from "./objects.ts";

const segment = segmentHeader(4096, 10);
const snapshot = snapshotHeader(4096, 10);

test("a header's fields have one order", () => {
  const shuffled = Object.fromEntries(Object.entries(segment).reverse()) as unknown as typeof segment;
  const json =
    `{"format":1,"features":[],"lineage":"${lineage}","kind":"segment","pageSize":4096,"pageCount":10,` +
    `"from":{"txid":7,"id":"${someId}"},"to":{"txid":9,"id":null},"writer":"${writer}","created":1700000001000,` +
    `"commits":{"first":1700000000000,"last":1700000000500}}`;
  expect(new TextDecoder().decode(encodeHeader(shuffled))).toBe(json);
  expect(decodeHeader(encodeHeader(shuffled), "k")).toEqual(segment);
});

test("unknown fields are dropped", () => {
  expect(validateHeader({ ...snapshot, later: 1 }, "k")).toEqual(snapshot);
});

test.each([
  { ...segment, format: 2 },
  { ...segment, format: 2, lineage: "?" },
  { format: 99 },
  { ...segment, features: ["encryption"] },
  { ...snapshot, features: ["a", "b"] },
])("what this release does not know is named as such %#", (header) => {
  expect(() => validateHeader(header, "k")).toThrow(UnsupportedFormatError);
});

const id = { ...segment.to, id: someId };
test.each<[string, unknown]>([
  ["null", null],
  ["a list", [segment]],
  ["a string", "segment"],
  ["no format", { ...segment, format: undefined }],
  ["format 0", { ...segment, format: 0 }],
  ["format as text", { ...segment, format: "1" }],
  ["no features", { ...segment, features: undefined }],
  ["features of numbers", { ...segment, features: [1] }],
  ["lineage in capitals", { ...segment, lineage: lineage.toUpperCase() }],
  ["lineage too long", { ...segment, lineage: `${lineage}0` }],
  ["another kind", { ...segment, kind: "full" }],
  ["page size 256", { ...segment, pageSize: 256 }],
  ["page size 1", { ...segment, pageSize: 1 }],
  ["page size 4095", { ...segment, pageSize: 4095 }],
  ["page size 131072", { ...segment, pageSize: 131072 }],
  ["page size as text", { ...segment, pageSize: "4096" }],
  ["no pages", { ...segment, pageCount: 0 }],
  ["half a page", { ...segment, pageCount: 1.5 }],
  ["more pages than SQLite has", { ...segment, pageCount: 0xffffffff }],
  ["no from", { ...segment, from: null }],
  ["from without an id", { ...segment, from: { txid: 7, id: null } }],
  ["from at a negative txid", { ...segment, from: { txid: -1, id: someId } }],
  ["no to", { ...segment, to: undefined }],
  ["to behind from", { ...segment, to: { ...id, txid: 6 } }],
  ["to at from", { ...segment, to: { ...id, txid: 7 } }],
  ["to beyond 2^53", { ...segment, to: { ...id, txid: 2 ** 53 } }],
  ["to with another id", { ...segment, to: { txid: 9, id: "x" } }],
  ["a snapshot with from", { ...snapshot, from: segment.from }],
  ["a snapshot without from", { ...snapshot, from: undefined }],
  ["a snapshot without an id", { ...snapshot, to: { txid: 7, id: null } }],
  ["no writer", { ...segment, writer: undefined }],
  ["no created", { ...segment, created: undefined }],
  ["created as a date", { ...segment, created: "2026-01-01" }],
  ["created after the last of all days", { ...segment, created: 8.64e15 + 1 }],
  ["commits after the last of all days", { ...segment, commits: { first: 1, last: 8.64e15 + 1 } }],
  ["no commits", { ...segment, commits: undefined }],
  ["commits backwards", { ...segment, commits: { first: 2, last: 1 } }],
  ["a snapshot with a span", { ...snapshot, commits: { first: 1, last: 2 } }],
])("%s is refused", (_, header) => {
  let error: unknown;
  try {
    validateHeader(header, "k");
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(CorruptObjectError);
  expect(error).toMatchObject({ key: "k", part: "header" });
});
