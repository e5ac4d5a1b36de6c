import type { RestoreProgress, SqliteReplicatorConfig, WebReplicationStatus } from "../index.ts";

/** How the worker is to open the notes. */
export interface OpenOptions {
  /** The gateway's URL. */
  readonly replica: string;
  /** How long to wait for another tab, milliseconds. */
  readonly waitMs: number;
  /** Put the replica's state in place of what is here. */
  readonly overwrite: boolean;
  readonly offline: boolean;
  readonly onUnknownLocal: NonNullable<SqliteReplicatorConfig["onUnknownLocal"]>;
}

export interface Note {
  readonly id: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** In pieces; those at odd places are what was searched for. */
  readonly pieces: readonly string[];
}

/** Notes that match a search, newest first, and how many there are. */
export interface Found {
  readonly notes: readonly Note[];
  readonly matches: number;
  readonly rows: number;
}

/** What the worker tells without being asked. `rows`: so many are committed now. */
export type News =
  | { readonly status: WebReplicationStatus }
  | { readonly rows: number }
  | { readonly progress: RestoreProgress }
  | { readonly log: string }
  | { readonly trouble: ErrorFields };

/** An error as it goes from one realm to another. */
export interface ErrorFields {
  readonly name: string;
  readonly message: string;
  /** Of a SluiceError. */
  readonly code?: string;
  readonly kind?: string;
  readonly reason?: string;
  readonly full?: boolean;
  readonly holder?: string;
  /** Of SQLite. */
  readonly resultCode?: number;
}

export function fieldsOf(thrown: unknown): ErrorFields {
  if (!(thrown instanceof Error)) return { name: "Error", message: String(thrown) };
  return { ...JSON.parse(JSON.stringify(thrown)), name: thrown.name, message: thrown.message };
}

export type Question = { readonly number: number; readonly call: string; readonly parameters: unknown[] };
export type Answer = { readonly number: number } & (
  | { readonly result: unknown }
  | { readonly thrown: ErrorFields }
);
