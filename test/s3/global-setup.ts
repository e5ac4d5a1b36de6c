import type { TestProject } from "vitest/node";
import { type Ceph, type S3Server, startCeph } from "./ceph.ts";
import { installCeph } from "./ceph-packages.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** The S3 server of this run; null where none can be had. */
    s3: S3Server | null;
  }
}

let ceph: Ceph | null = null;

/** Starts the S3 server once for all test files. Without one the run fails in CI, and says so loudly elsewhere. */
export async function setup(project: TestProject): Promise<void> {
  const reason = installCeph();
  if (reason !== null) {
    if (process.env.CI) throw new Error(`The S3 tests need Ceph. ${reason}`);
    console.warn(
      `\n${"!".repeat(80)}\nTHE S3 TESTS ARE SKIPPED. They need Ceph: ${reason}\n${"!".repeat(80)}\n`,
    );
    project.provide("s3", null);
    return;
  }
  ceph = await startCeph();
  project.provide("s3", ceph.server);
}

export async function teardown(): Promise<void> {
  await ceph?.stop();
  ceph = null;
}
