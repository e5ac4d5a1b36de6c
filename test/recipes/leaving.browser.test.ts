import { expect, onTestFinished, test } from "vitest";

test("what is left is a database that sqlite-wasm alone opens and writes", async () => {
  const worker = new Worker(new URL("./leaving.worker.ts", import.meta.url), { type: "module" });
  onTestFinished(() => worker.terminate());
  const answer = await new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
  expect(answer).toEqual({ rows: ["hello", "and on"], mode: "delete", integrity: "ok" });
});
