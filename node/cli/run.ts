import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import {
  BrokenReplicaError,
  ConfigError,
  CorruptObjectError,
  SluiceError,
  StoreError,
} from "../../src/errors.ts";
import { type Command, EXIT_FAILED, EXIT_OK, EXIT_USAGE, type Options } from "./command.ts";
import { compact } from "./compact.ts";
import { demo } from "./demo.ts";
import { destroy } from "./destroy.ts";
import { follow } from "./follow.ts";
import { gateway } from "./gateway.ts";
import { inspect } from "./inspect.ts";
import { Interrupted } from "./interrupted.ts";
import { ls } from "./ls.ts";
import { prune } from "./prune.ts";
import { restore } from "./restore.ts";
import { status } from "./status.ts";
import { verify } from "./verify.ts";

const commands: Readonly<Record<string, Command>> = {
  restore,
  ls,
  inspect,
  verify,
  status,
  compact,
  prune,
  destroy,
  follow,
  gateway,
  demo,
};

const overview = `sluice: look at, restore and remove replicas of SQLite databases.

  ${Object.values(commands)
    .map(({ usage }) => `sluice ${usage}`)
    .join("\n  ")}

A replica is s3://bucket/prefix/, file:///folder, or https://host/path/ where a gateway is. For a server other than Amazon's add ?endpoint=https://host:port
(and &region=… where it minds), and quote the whole for the shell. Credentials come from where the AWS tools take them:
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, the machine's role. The token of a gateway comes from
SLUICE_GATEWAY_TOKEN.

  --json     one JSON document on standard output (follow: one a line), nothing else; none where the command has no answer, but an error
  --help     what a command does, with examples: sluice restore --help
  --version

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 there is no replica, or (status) it is too old;
130 interrupted (143 by SIGTERM).`;

const commonOptions = { json: { type: "boolean" }, help: { type: "boolean", short: "h" } } as const;

/** Runs the command line. Results go to standard output; progress and errors to standard error. */
export async function runCli(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined) {
    console.error(overview);
    return EXIT_USAGE;
  }
  if (name === "help" && rest[0] !== undefined) return runCli([rest[0], "--help"]);
  if (name === "--help" || name === "-h" || name === "help") {
    console.log(overview);
    return EXIT_OK;
  }
  if (name === "--version") {
    console.log(createRequire(import.meta.url)("sqlite-sluice/package.json").version);
    return EXIT_OK;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined)
    return usageError(`${name} is not a command. Known: ${Object.keys(commands).join(", ")}`);
  try {
    return await runCommand(name, command, rest);
  } catch (error) {
    return explain(error, name);
  }
}

async function runCommand(name: string, command: Command, args: string[]): Promise<number> {
  const options: Command["options"] = { ...commonOptions, ...command.options };
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true, strict: false });
  if (values.help === true) {
    console.log(`sluice ${command.usage}\n\n${command.help}`);
    return EXIT_OK;
  }
  for (const [option, value] of Object.entries(values)) {
    const known = Object.hasOwn(options, option) ? options[option] : undefined;
    if (known === undefined) {
      const names = Object.keys(options).map((known) => `--${known}`);
      return usageError(`${dashed(option)} is not an option of ${name}. Known: ${names.join(", ")}`, name);
    }
    if (typeof value === known.type) continue;
    const wants = known.type === "string" ? "needs a value" : "takes no value";
    return usageError(`${dashed(option)} ${wants}`, name);
  }
  const [min, max] = command.words;
  if (positionals.length < min || positionals.length > max)
    return usageError(
      `${positionals.length < min ? "something is missing" : "too many words"}: sluice ${command.usage}`,
      name,
    );
  return command.run(positionals, values as Options);
}

function dashed(option: string): string {
  return option.length === 1 ? `-${option}` : `--${option}`;
}

function usageError(text: string, command?: string): number {
  console.error(`sluice: ${text}\nSee sluice ${command === undefined ? "" : `${command} `}--help.`);
  return EXIT_USAGE;
}

function explain(error: unknown, command: string): number {
  if (error instanceof ConfigError) return usageError(error.message, command);
  if (error instanceof Interrupted) {
    console.error("sluice: interrupted.");
    return error.exitCode;
  }
  if (error instanceof SluiceError) console.error(`sluice: ${error.message}${hint(error)}`);
  else console.error(error);
  return EXIT_FAILED;
}

/** What to do next, where the message does not say so itself. */
function hint(error: SluiceError): string {
  // At transaction 0 there is no state before.
  if (error instanceof CorruptObjectError || (error instanceof BrokenReplicaError && error.detail.txid))
    return "\nsluice verify says all that is wrong. For a state before it: sluice ls, then sluice restore with --txid.";
  if (!(error instanceof StoreError)) return "";
  if (/Could not load credentials/.test(error.message))
    return "\nSet AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.";
  if (/Region is missing/.test(error.message))
    return "\nAdd ?region=… to the replica's URL, or set AWS_REGION.";
  if (error.kind === "network") return "\nCheck the endpoint and the network, and try again.";
  if (error.transient) return "\nTry again later.";
  return error.kind === "clock-skew" ? "\nSet this machine's clock." : "";
}
