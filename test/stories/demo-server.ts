import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { DirectoryStore } from "../../node/directory-store.ts";
import { toNodeListener } from "../../node/node-listener.ts";
import { createGateway } from "../../src/gateway/gateway.ts";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
};
const EMPTY_PAGE = "/empty.html";

/** An answer of the gateway that waits. */
export interface Held {
  /** Resolves when the gateway has done what it was asked and its answer waits. */
  readonly reached: Promise<void>;
  release(): void;
}

/** The built demo and its gateway, on one origin of its own, over a folder. */
export class DemoServer {
  readonly #demo: string;
  readonly #gateway: (request: Request) => Promise<Response>;
  readonly #server = createServer(toNodeListener((request) => this.#answer(request)));
  readonly #holds: { matches(key: string): boolean; reach(): void; released: Promise<void> }[] = [];
  /** Files that are not there, by their paths. */
  missing: RegExp | null = null;
  /** The caller's token has expired: 401. */
  expired = false;

  constructor(demo: string, replica: string) {
    this.#demo = demo;
    const store = new DirectoryStore(pathToFileURL(replica));
    this.#gateway = createGateway({ store, authorize: () => (this.expired ? null : { prefix: "" }) });
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) =>
      this.#server.once("error", reject).listen(0, "127.0.0.1", resolve),
    );
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** A page of this origin without the app. */
  get emptyPage(): string {
    return this.origin + EMPTY_PAGE;
  }

  /** Lets the answers wait to what changes objects under a prefix. */
  hold(prefix: string): Held {
    let release = () => {};
    let reach = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const reached = new Promise<void>((resolve) => {
      reach = resolve;
    });
    this.#holds.push({ matches: (key) => key.startsWith(prefix), reach, released });
    return { reached, release };
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname !== "/replica/") return this.#file(pathname);
    const response = await this.#gateway(request);
    const key = searchParams.get("key") ?? "";
    const hold = request.method === "POST" ? this.#holds.find(({ matches }) => matches(key)) : undefined;
    hold?.reach();
    await hold?.released;
    return response;
  }

  async #file(pathname: string): Promise<Response> {
    if (pathname === EMPTY_PAGE) return new Response("", { headers: { "content-type": "text/html" } });
    const name = pathname === "/" ? "index.html" : pathname.slice(1);
    const bytes = await readFile(join(this.#demo, name)).catch(() => null);
    if (bytes === null || this.missing?.test(pathname)) return new Response(null, { status: 404 });
    return new Response(new Uint8Array(bytes), { headers: { "content-type": TYPES[extname(name)] ?? "" } });
  }
}
