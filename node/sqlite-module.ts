import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";

let module: Promise<Sqlite3Static> | undefined;

/** The instance of sqlite-wasm that all of this process share who bring none of their own. */
export function sharedModule(): Promise<Sqlite3Static> {
  module ??= import("@sqlite.org/sqlite-wasm").then(({ default: init }) => init());
  return module;
}
