import { expect, test } from "vitest";
import type { CoreReport } from "./core.worker.ts";

test("the shim over opfs-sahpool replicates, and restores the same bytes", async () => {
  const worker = new Worker(new URL("./core.worker.ts", import.meta.url), { type: "module" });
  const report = await new Promise<CoreReport>((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.report ? resolve(data.report) : reject(new Error(data.error)));
    worker.onerror = (event) => reject(new Error(event.message));
  }).finally(() => worker.terminate());
  expect(report.captured).toBe(2 + 300 + 1);
  expect(report.cached).toBe(report.captured);
  expect(report.uploaded).toBe(report.captured);
  expect(report.stopped).toBe(true);
  expect(report.rows[0]).toBe(300 - 42);
  expect(report.restoredRows).toEqual(report.rows);
  expect(report.integrity).toBe("ok");
  expect(report.size).toBeGreaterThan(500_000);
  expect(report.firstDifference).toBe(-1);
  expect(report.inspected).toEqual(["absent", "present", "present"]);
  expect(report.uploadedByCopy).toBe(report.captured + 1);
});
