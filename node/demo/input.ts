import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, extname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** A file that an npm package ships. */
export interface InputFile {
  readonly path: string;
  readonly package: string;
  /** Text for the full-text index, or bytes. */
  readonly content: string | Uint8Array;
}

/** Bytes of text, and of binary files, that the demo takes. */
const TEXT_BYTES = 9e6;
const BINARY_BYTES = 3e6;
/** What it takes at least, to be worth showing. */
const LEAST_BYTES = 10e6;
/** Files above this are generated code and say little. */
const LARGEST_TEXT = 400_000;

const TEXT = new Set([".ts", ".mts", ".js", ".mjs", ".cjs", ".json", ".md", ".c", ".h"]);
const BINARY = new Set([".wasm", ".node", ".png"]);

/** Real data that is there wherever this package is installed: the files of the packages beside it, in a fixed order. */
export function readInput(): InputFile[] {
  const folder = nodeModules();
  const files: InputFile[] = [];
  let text = 0;
  let binary = 0;
  for (const path of walk(folder)) {
    const extension = extname(path);
    const { size } = statSync(path);
    const name = relative(folder, path).split(sep).join("/");
    const from = /^(@[^/]+\/)?[^/]+/.exec(name)![0];
    if (TEXT.has(extension) && size <= LARGEST_TEXT && text + size <= TEXT_BYTES) {
      text += size;
      files.push({ path: name, package: from, content: readFileSync(path, "utf8") });
    } else if (BINARY.has(extension) && binary + size <= BINARY_BYTES) {
      binary += size;
      files.push({ path: name, package: from, content: new Uint8Array(readFileSync(path)) });
    }
  }
  if (text + binary < LEAST_BYTES) throw new Error(`${folder} holds only ${text + binary} bytes of input`);
  return files;
}

function nodeModules(): string {
  let folder = fileURLToPath(import.meta.resolve("@sqlite.org/sqlite-wasm"));
  while (basename(folder) !== "node_modules") {
    if (dirname(folder) === folder) throw new Error("the demo needs the packages in a node_modules folder");
    folder = dirname(folder);
  }
  return folder;
}

function* walk(folder: string): Generator<string> {
  const entries = readdirSync(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith(".")) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (entry.isFile()) yield path;
  }
}
