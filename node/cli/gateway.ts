import { readFileSync } from "node:fs";
import { ConfigError, LocalDatabaseError } from "../../src/errors.ts";
import { serveGateway } from "../gateway-server.ts";
import { type Command, EXIT_OK, type Options } from "./command.ts";
import { interrupted } from "./interrupted.ts";
import { openReplica } from "./replica-word.ts";

export const gateway: Command = {
  usage:
    "gateway <replica> [--port <n>] [--host <name>] [--token <token> | --token-file <file>] [--allow-origin <origins>]",
  help: `Serves a replica over HTTP, so that programs and pages without credentials of its store can use it: as replica
they name this server's URL. Runs until it is interrupted. Where others than this machine shall reach it, it needs a
token, which they send as "Authorization: Bearer …", and a proxy before it that ends TLS.

  sluice gateway file:///mnt/backup/app --port 8787
  sluice gateway s3://my-bucket/app/ --host 0.0.0.0 --port 8787 --token-file /run/secrets/sluice
  sluice gateway file:///tmp/replica --allow-origin http://localhost:5173,https://app.example

  --port           default: a free one
  --host           default 127.0.0.1
  --token-file     holds the token, which does not show in the list of processes then, as it does with --token
  --allow-origin   origins of the pages that may call, with commas between

An app with users of its own mounts createGateway in its server instead, and says there whose requests may go where.

JSON: { url, store }, when it listens.`,
  options: {
    port: { type: "string" },
    host: { type: "string" },
    token: { type: "string" },
    "token-file": { type: "string" },
    "allow-origin": { type: "string" },
  },
  words: [1, 1],
  async run([replica], options) {
    const store = await openReplica(replica!);
    const token = tokenOf(options);
    const { host, port, "allow-origin": origins } = options;
    const server = await serveGateway({
      store,
      onError: (error) => console.error(`sluice: ${error instanceof Error ? error.message : error}`),
      ...(typeof host === "string" && { host }),
      ...(typeof port === "string" && { port: portOf(port) }),
      ...(token !== null && { token }),
      ...(typeof origins === "string" && {
        allowedOrigins: origins.split(",").map((origin) => origin.trim()),
      }),
    });
    if (options.json) console.log(JSON.stringify({ url: server.url, store: store.url }));
    else console.log(`${store.url} is served at ${server.url}`);
    if (token === null)
      console.error("Without a token it listens on this machine only, and to every program of it.");
    await interrupted();
    await server.close();
    return EXIT_OK;
  },
};

function portOf(text: string): number {
  if (/^\d{1,5}$/.test(text)) return Number(text);
  throw new ConfigError("port", "must be a number from 0 to 65535");
}

function tokenOf({ token, "token-file": file }: Options): string | null {
  if (typeof file !== "string") return typeof token === "string" ? token : null;
  if (token !== undefined)
    throw new ConfigError("token", "and token-file are two ways to say the same; give one");
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw new LocalDatabaseError(file, "cannot be read as the token's file", { cause });
  }
}
