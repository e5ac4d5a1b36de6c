import type { ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { endChild, freePort, STEP_TIMEOUT_MS, startChild } from "./children.ts";

/** One radosgw over the cluster in `folder`. It can fail in the ways that servers fail, and come back. */
export class Gateway {
  readonly endpoint: string;
  #child: ChildProcess | null = null;

  private constructor(
    readonly folder: string,
    readonly port: number,
    readonly options: readonly string[],
  ) {
    this.endpoint = `http://127.0.0.1:${port}`;
  }

  /** Starts one on a free port. It ends with this process at the latest. */
  static async start(folder: string, options: readonly string[] = []): Promise<Gateway> {
    const gateway = new Gateway(folder, await freePort(), options);
    await gateway.start();
    return gateway;
  }

  /** Starts it again where it was, and resolves when it answers. */
  async start(): Promise<void> {
    const child = startChild(this.folder, "radosgw", [
      ...["-n", "client.rgw", "-f", "--rgw-dns-name=localhost", ...this.options],
      // Or an answer of two packets waits 40 ms for the acknowledgement of the first.
      `--rgw-frontends=beast endpoint=127.0.0.1:${this.port} tcp_nodelay=1`,
    ]);
    this.#child = child;
    for (const end = Date.now() + STEP_TIMEOUT_MS; Date.now() < end; await sleep(50)) {
      if (child.exitCode !== null) throw new Error(`radosgw ended with ${child.exitCode}`);
      if (await this.#answers()) return;
    }
    await this.stop();
    throw new Error("radosgw did not answer in time");
  }

  /** Kills it, as a crash would: open connections are reset, new ones refused. */
  async stop(): Promise<void> {
    if (this.#child !== null) await endChild(this.#child);
    this.#child = null;
  }

  /** It hangs: connections stay open and are taken, and nothing is answered. */
  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  async #answers(): Promise<boolean> {
    try {
      const response = await fetch(this.endpoint, { signal: AbortSignal.timeout(2000) });
      return (await response.text()).includes("ListAllMyBucketsResult");
    } catch {
      return false;
    }
  }
}
