import { parseArgs } from "node:util";
import { ConfigError, SluiceError, StoreError } from "../../src/errors.ts";
import { destroy } from "./destroy.ts";
import { inspect } from "./inspect.ts";
import { ls } from "./ls.ts";
import { restore } from "./restore.ts";
import { status } from "./status.ts";

/** Exit codes, as `sluice --help` lists them. */
export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
/** `status`: older than --max-age, or no replica. */
export const EXIT_STALE = 3;

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

const commands: Readonly<Record<string, Command>> = { restore, ls, inspect, status, destroy };

const overview = `sluice: look at, restore and remove replicas of SQLite databases.

  ${Object.values(commands)
    .map(({ usage }) => `sluice ${usage}`)
    .join("\n  ")}

A replica is s3://bucket/prefix/ or file:///folder. For a server other than Amazon's add ?endpoint=https://host:port
(and &region=… where it minds). Credentials come from where the AWS tools take them: AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, a profile, the machine's role.

  --json    one JSON document on standard output, nothing else
  --help    what a command does, with examples

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 (status) too old, or no replica.`;

/** Runs the command line. Results go to standard output; progress and errors to standard error. */
export async function runCli(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "--help" || name === "help") {
    console.log(overview);
    return name === undefined ? EXIT_USAGE : EXIT_OK;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined)
    return usageError(`${name} is not a command. Known: ${Object.keys(commands).join(", ")}`);
  try {
    const { values, positionals } = parseArgs({
      args: [...rest],
      options: { json: { type: "boolean" }, help: { type: "boolean", short: "h" }, ...command.options },
      allowPositionals: true,
    });
    if (values.help) {
      console.log(`sluice ${command.usage}\n\n${command.help}`);
      return EXIT_OK;
    }
    const [min, max] = command.words;
    if (positionals.length < min || positionals.length > max)
      return usageError(`usage: sluice ${command.usage}`);
    return await command.run(positionals, values as Options);
  } catch (error) {
    return explain(error);
  }
}

function usageError(text: string): number {
  console.error(`sluice: ${text}\nSee sluice --help.`);
  return EXIT_USAGE;
}

function explain(error: unknown): number {
  if (error instanceof ConfigError) return usageError(error.message);
  if (error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS"))
    return usageError(error.message);
  if (error instanceof SluiceError) console.error(`sluice: ${error.message}${hint(error)}`);
  else console.error(error);
  return EXIT_FAILED;
}

/** What to do next, where the message does not say so itself. */
function hint(error: SluiceError): string {
  if (!(error instanceof StoreError)) return "";
  switch (error.kind) {
    case "access-denied":
      return "\nCheck the credentials, and that their policy allows this on the bucket and prefix.";
    case "no-such-bucket":
      return "\nCheck the bucket's name, the region and the endpoint.";
    case "network":
    case "unavailable":
    case "throttled":
      return "\nThe store could not be reached or was busy. Try again.";
    case "clock-skew":
      return "\nSet this machine's clock.";
    default:
      return "";
  }
}
