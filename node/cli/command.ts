/** Exit codes, as `sluice --help` lists them. */
export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
/** There is no replica, or nothing in it to restore; for `status` also: it is older than --max-age. */
export const EXIT_NOTHING = 3;

/** One command: its options beside --json and --help, and what it does. Returns the exit code. */
export interface Command {
  readonly usage: string;
  readonly help: string;
  readonly options: Record<string, { type: "string" | "boolean"; short?: string }>;
  /** How many words follow the command. */
  readonly words: readonly [min: number, max: number];
  run(words: readonly string[], options: Options): Promise<number>;
}
export type Options = Readonly<Record<string, string | boolean | undefined>>;
