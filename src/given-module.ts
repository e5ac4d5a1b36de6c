import type { Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { checkObject } from "./config.ts";
import { ConfigError } from "./errors.ts";

/**
 * The application's own module of sqlite-wasm, which may be another release than the one that Sluice depends on: a tree of
 * packages can hold two.
 * @throws ConfigError it is no such module, or one from before the functions that `Abi` needs.
 */
export function checkModule(given: Sqlite3Static | undefined): Sqlite3Static | undefined {
  const sqlite3 = checkObject("sqlite3", given);
  if (sqlite3 === undefined) return undefined;
  if (typeof sqlite3.oo1?.DB !== "function")
    throw new ConfigError("sqlite3", "must be what sqlite-wasm's init function resolves to");
  if (!("ptr" in sqlite3.wasm))
    throw new ConfigError(
      "sqlite3",
      `SQLite ${sqlite3.version.libVersion} is too old. Install the release of @sqlite.org/sqlite-wasm that sqlite-sluice depends on`,
    );
  return sqlite3;
}
