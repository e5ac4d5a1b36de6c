import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../../s3/children.ts";
import { Watch } from "../watch.ts";
import { peersFolder } from "./sql.ts";

export const litestreamBinary = join(peersFolder, "node_modules/@flydotio/litestream-linux-x64/litestream");

/** How long it may take to begin or to end. */
const PATIENCE_MS = 120_000;

/** Where Litestream keeps a replica: lines of its configuration, which is YAML and so takes JSON. */
export type LitestreamReplica = Readonly<Record<string, unknown>>;

export function inFolder(path: string): LitestreamReplica {
  return { type: "file", path };
}

/** A running `litestream replicate`. Databases have to be in WAL mode. */
export class Litestream {
  readonly #child: ChildProcess;
  readonly #metrics: string;
  readonly #watch: Watch;
  readonly #ended: Promise<void>;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.#metrics = `http://127.0.0.1:${port}/metrics`;
    this.#watch = new Watch(child.pid!);
    this.#ended = new Promise((resolve) => child.once("exit", () => resolve()));
  }

  /** Resolves when every database has its first snapshot in its replica. */
  static async start(
    folder: string,
    databases: readonly { readonly path: string; readonly replica: LitestreamReplica }[],
  ): Promise<Litestream> {
    mkdirSync(folder, { recursive: true });
    const port = await freePort();
    const config = {
      addr: `127.0.0.1:${port}`,
      dbs: databases.map(({ path, replica }) => ({ path, replicas: [replica] })),
    };
    const file = join(folder, "litestream.yml");
    writeFileSync(file, JSON.stringify(config));
    const child = spawn(litestreamBinary, ["replicate", "-config", file], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const litestream = new Litestream(child, port);
    await litestream.until((metrics) => {
      const offsets = metrics.filter(({ name }) => name === "litestream_replica_wal_offset");
      return offsets.length === databases.length && offsets.every(({ value }) => value > 0);
    }, 50);
    return litestream;
  }

  /** What it says of itself. */
  async metrics(): Promise<{ readonly name: string; readonly db: string; readonly value: number }[]> {
    const text = await (await fetch(this.#metrics)).text();
    return [...text.matchAll(/^(\w+)\{db="([^"]*)"[^}]*\} (\S+)$/gm)].map(([, name, db, value]) => ({
      name: name!,
      db: db!,
      value: Number(value),
    }));
  }

  async until(
    reached: (metrics: Awaited<ReturnType<Litestream["metrics"]>>) => boolean,
    everyMs: number,
  ): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (performance.now() < end) {
      if (this.#child.exitCode !== null) throw new Error("litestream ended");
      if (await this.metrics().then(reached, () => false)) return;
      await sleep(everyMs);
    }
    throw new Error("litestream took too long");
  }

  /** Has it ship what it has not shipped yet, and end. */
  async stop(): Promise<{ readonly cpuMs: number; readonly peakRss: number }> {
    this.#child.kill("SIGINT");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), PATIENCE_MS);
    await this.#ended;
    clearTimeout(timer);
    return this.#watch.end();
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

/** Objects under a folder, and their bytes. */
export function measureFolder(folder: string, counts: (path: string) => boolean) {
  let objects = 0;
  let bytes = 0;
  for (const path of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const stat = statSync(join(folder, path));
    if (!stat.isFile() || !counts(path)) continue;
    objects += 1;
    bytes += stat.size;
  }
  return { objects, bytes };
}
