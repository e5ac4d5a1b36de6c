import type { Codecs } from "../../src/format/codecs.ts";
import { browserUser } from "./patterns.ts";
import { type DayReport, simulateDay } from "./simulate.ts";

const figures = {
  uploads: ({ uploads }) => uploads,
  PUT: ({ requests }) => requests.puts,
  LIST: ({ requests }) => requests.lists,
  GET: ({ requests }) => requests.gets,
  DELETE: ({ requests }) => requests.deletes,
  "bytes read": ({ bytesRead }) => bytesRead,
  "bytes stored": ({ level0, higher, snapshots }) => level0 + higher + snapshots,
} satisfies Record<string, (day: DayReport) => number>;
export type Figure = keyof typeof figures;

/** Of one figure: all users together, and how they differ. */
export interface Spread {
  readonly total: number;
  readonly least: number;
  readonly median: number;
  /** 95 of 100 have no more. */
  readonly high: number;
  readonly most: number;
}

/** A day of many users, each with a replica and a store of its own. */
export async function simulateUsers(
  count: number,
  pageSize: number,
  codecs: Codecs,
): Promise<Record<Figure, Spread>> {
  const days: DayReport[] = [];
  for (let user = 1; user <= count; user++)
    days.push(await simulateDay({ ...browserUser(user), pageSize }, codecs, user));
  const spreads = Object.entries(figures).map(([name, of]) => [name, spreadOf(days.map(of))]);
  return Object.fromEntries(spreads);
}

function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.floor((sorted.length - 1) * part)]!;
  return {
    total: values.reduce((sum, value) => sum + value, 0),
    least: at(0),
    median: at(0.5),
    high: at(0.95),
    most: at(1),
  };
}
