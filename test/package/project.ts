import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
/** What a build reads, and what is packed. */
const SOURCES = [
  ...["src", "node", "web", "scripts", "test/package", "package.json", "vite.config.ts"],
  ...["tsconfig.json", "tsconfig.build.json", "README.md", "FORMAT.md", "CHANGELOG.md", "LICENSE", ".npmrc"],
];

/** A project in a temporary folder that has installed the packed tarball. */
export interface Project {
  readonly folder: string;
  /** Where the package is in it. */
  readonly installed: string;
  /** Paths in the tarball. */
  readonly contents: readonly string[];
  remove(): void;
}

/**
 * Builds and packs a copy of this repository, and unpacks the tarball where npm would have put it. `build`: the arguments of
 * `vite build`; without them it is npm's own `prepack`.
 */
export function installPackage(build?: readonly string[]): Project {
  const folder = mkdtempSync(join(tmpdir(), "sluice-package-"));
  const copy = join(folder, "copy");
  for (const name of SOURCES) cpSync(join(root, name), join(copy, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  const viteCommand = join(root, "node_modules/vite/bin/vite.js");
  if (build !== undefined) run(process.execPath, [viteCommand, "build", ...build], copy);
  const scripts = build === undefined ? [] : ["--ignore-scripts"];
  const packed = run("npm", ["pack", "--json", ...scripts, "--pack-destination", folder], copy);
  const [{ filename, files }] = JSON.parse(packed.slice(packed.indexOf("["))) as [
    { filename: string; files: { path: string }[] },
  ];
  const installed = join(folder, "node_modules/sqlite-sluice");
  mkdirSync(installed, { recursive: true });
  run("tar", ["-xzf", join(folder, filename), "--strip-components=1", "-C", installed], folder);
  rmSync(copy, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "consumer", type: "module" }));
  return {
    folder,
    installed,
    contents: files.map(({ path }) => path),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** What the package asks for in a project. */
export function dependenciesOfPackage(): string[] {
  return Object.keys(JSON.parse(readFileSync(join(root, "package.json"), "utf8")).dependencies);
}

/** Puts packages into a project: as links to ours, or copied, as a server of files wants them. */
export function addPackages({ folder }: Project, names: readonly string[], how: "link" | "copy"): void {
  for (const name of names) {
    const from = join(root, "node_modules", name);
    const to = join(folder, "node_modules", name);
    mkdirSync(dirname(to), { recursive: true });
    if (how === "link") symlinkSync(from, to);
    else cpSync(from, to, { recursive: true });
  }
}

/** Runs a program to its end, and answers what it printed. Throws with all its output when it fails. */
export function run(program: string, args: readonly string[], cwd: string): string {
  try {
    return execFileSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${program} ${args.join(" ")} failed:\n${stdout}\n${stderr}`, { cause: error });
  }
}
