import { createHash, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { checkNumber, checkString, refuseUnknown } from "../src/config.ts";
import { ConfigError } from "../src/errors.ts";
import { createGateway } from "../src/gateway/gateway.ts";
import type { ObjectStore } from "../src/store/object-store.ts";
import { toNodeListener } from "./node-listener.ts";

/** Milliseconds without a byte after which a connection is closed: above all that the gateway waits for itself. */
const SOCKET_IDLE_MS = 120_000;
/** Milliseconds that requests under way have to end when the server closes. */
const CLOSE_MS = 5000;
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/** A gateway with a server of its own: for one replica, behind one token. */
export interface GatewayServerOptions {
  readonly store: ObjectStore;
  /** Default "127.0.0.1". Another needs a token. */
  readonly host?: string;
  /** Default: a free one. */
  readonly port?: number;
  /** What `Authorization: Bearer …` must say. Without one every program of this machine may use the store. */
  readonly token?: string;
  readonly allowedOrigins?: readonly string[];
  readonly onError?: (error: unknown) => void;
}

export interface GatewayServer {
  /** For GatewayStore. */
  readonly url: string;
  /** Ends uploads that are open, and resolves when no connection is left. */
  close(): Promise<void>;
}

const fields = ["store", "host", "port", "token", "allowedOrigins", "onError"] as const;

/** Listens by plain http: before another host put a proxy that ends TLS. Throws ConfigError, or what `listen` says. */
export async function serveGateway(options: GatewayServerOptions): Promise<GatewayServer> {
  refuseUnknown(options, fields, "gateway server");
  const { store, allowedOrigins, onError } = options;
  const host = options.host === undefined ? "127.0.0.1" : checkString("host", options.host);
  const port = checkNumber("port", options.port, 0, 0, 65_535);
  const token = options.token === undefined ? null : checkToken(options.token);
  if (token === null && !LOOPBACK.includes(bracketed(host)))
    throw new ConfigError("token", `is needed where others can connect: ${host} is not this machine alone`);
  const stopping = new AbortController();
  const gateway = createGateway({
    store,
    authorize: ({ headers, url }) =>
      (token === null ? isLoopback(url) : isBearer(headers, token)) ? { prefix: "" } : null,
    signal: stopping.signal,
    ...(allowedOrigins !== undefined && { allowedOrigins }),
    ...(onError !== undefined && { onError }),
  });
  const server = createServer(toNodeListener(gateway)).setTimeout(SOCKET_IDLE_MS);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(port, host, resolve);
  });
  const { port: actual } = server.address() as AddressInfo;
  return {
    url: `http://${bracketed(host)}:${actual}/`,
    close: () =>
      new Promise((resolve) => {
        stopping.abort();
        const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS);
        server.close(() => {
          clearTimeout(timer);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

/** A page can have its own name resolve to this machine, and is then of the gateway's origin: the name gives it away. */
function isLoopback(url: string): boolean {
  return LOOPBACK.includes(new URL(url).hostname);
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function checkToken(token: unknown): Buffer {
  const text = checkString("token", token);
  if (!/^[\x21-\x7e]{16,}$/.test(text))
    throw new ConfigError("token", "must have 16 characters or more, printable and without spaces");
  return hash(text);
}

function isBearer(headers: Headers, token: Buffer): boolean {
  const [, given = ""] = /^Bearer +(\S+)$/i.exec(headers.get("authorization") ?? "") ?? [];
  return timingSafeEqual(hash(given), token);
}

function hash(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
