import http from "node:http";
import https from "node:https";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { StoreError } from "../../src/errors.ts";
import type {
  GetOptions,
  GetResult,
  ListOptions,
  ObjectInfo,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreCapabilities,
  StoreOptions,
} from "../../src/store/object-store.ts";
import { parseS3Url } from "../../src/store/s3-config.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { openStore } from "../open-store.ts";
import { s3Runtime } from "../s3-runtime.ts";

/** The way to a replica, which the demo can cut. */
export interface Network {
  readonly store: ObjectStore;
  /** From here on nothing gets through, also not what is under way. */
  cut(): void;
  mend(): Promise<void>;
  close(): void;
}

export async function networkTo(replica: string): Promise<Network> {
  return /^s3:/i.test(replica)
    ? new ProxiedNetwork(replica)
    : new PretendedNetwork(await openStore({ replica }));
}

/** Before S3: each host that the SDK connects to is reached through a TCP proxy of ours. TLS passes through untouched. */
class ProxiedNetwork implements Network {
  readonly store: ObjectStore;
  readonly #proxies = new Map<string, TcpProxy>();
  readonly #agents: http.Agent[] = [];

  constructor(replica: string) {
    const requestHandler = {
      httpAgent: this.#through(new http.Agent({ keepAlive: true })),
      httpsAgent: this.#through(new https.Agent({ keepAlive: true })),
    };
    const loadSdk = async () => {
      const sdk = await s3Runtime.loadSdk();
      class S3Client extends sdk.S3Client {
        constructor(config: ConstructorParameters<typeof sdk.S3Client>[0]) {
          super({ ...config, requestHandler });
        }
      }
      return { ...sdk, S3Client };
    };
    this.store = new S3Store(parseS3Url(replica), { ...s3Runtime, loadSdk });
  }

  cut(): void {
    for (const proxy of this.#proxies.values()) proxy.stop();
  }

  async mend(): Promise<void> {
    await Promise.all([...this.#proxies.values()].map((proxy) => proxy.start()));
  }

  close(): void {
    for (const agent of this.#agents) agent.destroy();
    this.cut();
  }

  /** The request keeps the name of its host, for its signature and for TLS; only the connection goes elsewhere. */
  #through<T extends http.Agent>(agent: T): T {
    const createConnection = agent.createConnection.bind(agent);
    agent.createConnection = (options, callback) => {
      const target = options as { host?: string; port?: number | string };
      this.#proxyOf(target.host ?? "localhost", Number(target.port)).then(
        (port) => callback?.(null, createConnection({ ...options, host: "127.0.0.1", port }) as Duplex),
        (error) => callback?.(error, undefined as unknown as Duplex),
      );
      return undefined;
    };
    this.#agents.push(agent);
    return agent;
  }

  #proxyOf(host: string, port: number): Promise<number> {
    const name = `${host}:${port}`;
    const proxy = this.#proxies.get(name) ?? new TcpProxy(host, port);
    this.#proxies.set(name, proxy);
    return proxy.port();
  }
}

/** Passes bytes between connections of its own port and a host. Stopped, it refuses connections and has none open. */
class TcpProxy {
  readonly #host: string;
  readonly #hostPort: number;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #port: Promise<number> | null = null;

  constructor(host: string, port: number) {
    this.#host = host;
    this.#hostPort = port;
  }

  /** Where it listens: the same after a stop and a start. */
  port(): Promise<number> {
    this.#port ??= this.#listen(0);
    return this.#port;
  }

  /** After a stop. */
  async start(): Promise<void> {
    await this.#listen(await this.port());
  }

  #listen(port: number): Promise<number> {
    const server = createServer((near) => {
      const far = connect(this.#hostPort, this.#host);
      this.#join(near, far);
      this.#join(far, near);
    });
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once("error", reject).listen(port, "127.0.0.1", () => {
        resolve((server.address() as AddressInfo).port);
      });
    });
  }

  stop(): void {
    this.#server?.close();
    this.#server = null;
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    from.on("error", () => to.destroy());
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    from.pipe(to);
  }
}

/** Before a folder, which no network leads to: a store that fails as one behind a network would. */
class PretendedNetwork implements Network, ObjectStore {
  readonly store = this;
  readonly url: string;
  readonly #inner: ObjectStore;
  #cut = false;

  constructor(inner: ObjectStore) {
    this.#inner = inner;
    this.url = inner.url;
  }

  cut(): void {
    this.#cut = true;
  }

  async mend(): Promise<void> {
    this.#cut = false;
  }

  close(): void {}

  async put(key: string, body: PutBody, options?: PutOptions): Promise<void> {
    this.#pass(key);
    await this.#inner.put(key, body, options);
    this.#pass(key); // or the answer is lost on its way
  }

  async putStream(key: string, body: AsyncIterable<Uint8Array>, options?: StoreOptions): Promise<void> {
    await this.#inner.putStream(key, this.#each(key, body), options);
  }

  async get(key: string, options?: GetOptions): Promise<GetResult> {
    this.#pass(key);
    const result = await this.#inner.get(key, options);
    return { ...result, body: this.#each(key, result.body) };
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo> {
    return this.#each(prefix, this.#inner.list(prefix, options));
  }

  async delete(keys: readonly string[], options?: StoreOptions): Promise<void> {
    this.#pass(keys[0] ?? "");
    await this.#inner.delete(keys, options);
  }

  async capabilities(options?: StoreOptions): Promise<StoreCapabilities> {
    return this.#inner.capabilities(options);
  }

  async *#each<T>(key: string, items: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    this.#pass(key);
    for await (const item of items) {
      this.#pass(key);
      yield item;
    }
  }

  #pass(key: string): void {
    if (this.#cut) throw new StoreError("network", `${key}: the network is cut`, { key });
  }
}
