import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../node/clock.ts";
import { DirectoryStore } from "../../node/directory-store.ts";
import { collect } from "../../src/store/object-store.ts";
import { PatientStore } from "../../src/store/patient-store.ts";

const SIZE = 300_000;

async function storeWithObject() {
  const folder = mkdtempSync(join(tmpdir(), "sluice-patient-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const store = new PatientStore(new DirectoryStore(`file://${folder}`), systemClock);
  await store.put("key", new Uint8Array(SIZE));
  return store;
}

test("many reads under one signal are no leak that Node warns of", async () => {
  const warnings: Error[] = [];
  const note = (warning: Error) => warnings.push(warning);
  process.on("warning", note);
  onTestFinished(() => void process.off("warning", note));
  const store = await storeWithObject();
  const { signal } = new AbortController();
  const reads = await Promise.all(Array.from({ length: 20 }, () => store.get("key", { signal })));
  for (const { body } of reads) expect((await collect(body, SIZE)).length).toBe(SIZE);
  await new Promise((resolve) => setImmediate(resolve));
  expect(warnings).toEqual([]);
});

test("a read ends with its signal's reason, before and in the middle", async () => {
  const store = await storeWithObject();
  const controller = new AbortController();
  const { signal } = controller;
  const { body } = await store.get("key", { signal });
  const rest = body[Symbol.asyncIterator]();
  await rest.next();
  controller.abort(new Error("enough"));
  await expect(rest.next()).rejects.toThrow("enough");
  await expect(store.get("key", { signal })).rejects.toThrow("enough");
});
