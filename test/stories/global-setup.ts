import { mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "vite";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    /** The demo's page, built. */
    readonly demo: string;
    /** The command `sluice`, built. */
    readonly sluice: string;
  }
}

const root = join(import.meta.dirname, "../..");

/** Builds the demo and the command as they are shipped, once for all stories. */
export default async function setup(project: TestProject): Promise<() => void> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "sluice-stories-")));
  for (const name of ["node_modules", "package.json"]) symlinkSync(join(root, name), join(folder, name));
  const demo = join(folder, "demo");
  const configFile = join(root, "web/demo/vite.config.ts");
  await build({ configFile, logLevel: "error", build: { outDir: demo } });
  await build({ root, logLevel: "error", build: { outDir: join(folder, "dist"), sourcemap: false } });
  project.provide("demo", demo);
  project.provide("sluice", join(folder, "dist/cli.js"));
  return () => rmSync(folder, { recursive: true, force: true });
}
