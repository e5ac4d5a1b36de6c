import { setTimeout } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { prefetch } from "../../src/prefetch.ts";

test("a failure whose turn has not come yet is no unhandled rejection, which would end the process", async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => void unhandled.push(reason);
  process.on("unhandledRejection", note);
  onTestFinished(() => void process.off("unhandledRejection", note));
  const failure = new Error("second");
  const results = prefetch([1, 2], 2, async (item) => {
    if (item === 2) throw failure;
    return setTimeout(20, item);
  });
  expect(await results.next()).toEqual({ done: false, value: 1 });
  await expect(results.next()).rejects.toBe(failure);
  expect(unhandled).toEqual([]);
});
