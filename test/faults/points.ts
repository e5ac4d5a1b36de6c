import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = new URL("../..", import.meta.url).pathname;

/** Every fault point in the source, by name. */
export function faultPoints(): string[] {
  const points = ["src", "node"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .flatMap((name) => [
        ...readFileSync(join(root, folder, name), "utf8").matchAll(/\bfault\("([^"]+:[^"]+)"\)/g),
      ])
      .map(([, point]) => point!),
  );
  return [...new Set(points)].sort();
}
