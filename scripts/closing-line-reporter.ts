import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Reporter, TestModule } from "vitest/node";

/** Writes `N passed, N failed, N skipped` of a run to a file, for `.ci/run` to close with. */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const path = process.env.CLOSING_LINE;
    if (path === undefined) return;
    let failed = unhandled.length;
    let passed = 0;
    let skipped = 0;
    for (const module of modules) {
      // A module that cannot be loaded has no test that could fail.
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed += 1;
        else if (state === "skipped") skipped += 1;
        else failed += 1;
      }
    }
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  }
}
