import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { Random } from "../faults/random.ts";

/** What the network does to the bytes that pass. */
export type Weather =
  | { readonly kind: "fair" }
  /** Connections are reset, and new ones too. */
  | { readonly kind: "cut" }
  | { readonly kind: "delay"; readonly ms: number }
  | { readonly kind: "throttle"; readonly bytesPerSecond: number }
  /** Each connection is reset in the middle of what it carries. */
  | { readonly kind: "reset"; readonly afterBytes: number }
  /** A byte is another, in one of so many pieces, both ways. */
  | { readonly kind: "corrupt"; readonly oneIn: number };

/** A TCP proxy on 127.0.0.1, before a server on the same machine. */
export class TcpProxy {
  readonly #sockets = new Set<Socket>();
  readonly #random: Random;
  readonly #server;
  #weather: Weather = { kind: "fair" };
  bytes = 0;
  /** Pieces with a byte changed. */
  corrupted = 0;

  constructor(targetPort: number, random: Random) {
    this.#random = random;
    this.#server = createServer({ allowHalfOpen: true }, (client) => {
      const upstream = connect({ port: targetPort, host: "127.0.0.1", allowHalfOpen: true });
      this.#carry(client, upstream);
      this.#carry(upstream, client);
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  set weather(weather: Weather) {
    this.#weather = weather;
    if (weather.kind === "cut") this.#resetAll();
  }

  close(): void {
    this.#resetAll();
    this.#server.close();
  }

  #resetAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  #carry(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    let carried = 0;
    from.on("error", () => to.resetAndDestroy());
    from.on("close", () => {
      this.#sockets.delete(from);
      if (from.destroyed && !from.readableEnded) to.destroy();
    });
    from.on("end", () => to.end());
    from.on("data", (piece) => {
      const weather = this.#weather;
      this.bytes += piece.length;
      carried += piece.length;
      const fails = weather.kind === "cut" || (weather.kind === "reset" && carried > weather.afterBytes);
      if (fails) {
        to.write(piece.subarray(0, piece.length >> 1), () => to.resetAndDestroy());
        from.resetAndDestroy();
        return;
      }
      if (weather.kind === "corrupt" && this.#random.chance(1 / weather.oneIn)) {
        piece[this.#random.integer(0, piece.length - 1)]! ^= 1 << this.#random.integer(0, 7);
        this.corrupted += 1;
      }
      const ms =
        weather.kind === "delay"
          ? weather.ms
          : weather.kind === "throttle"
            ? (piece.length / weather.bytesPerSecond) * 1000
            : 0;
      if (ms === 0 && to.write(piece)) return;
      from.pause();
      if (ms === 0) to.once("drain", () => from.resume());
      else
        setTimeout(() => {
          if (!to.destroyed) to.write(piece);
          from.resume();
        }, ms);
    });
  }
}
