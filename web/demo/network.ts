import type { GatewayStoreOptions } from "../../src/gateway/index.ts";

type Fetch = NonNullable<GatewayStoreOptions["fetch"]>;

/** The worker's way to the gateway, which a button cuts: what is under way ends, and nothing more goes out. */
export class Network {
  #cut = new AbortController();

  get offline(): boolean {
    return this.#cut.signal.aborted;
  }

  set offline(offline: boolean) {
    if (offline === this.offline) return;
    if (offline) this.#cut.abort(new TypeError("the network is cut"));
    else this.#cut = new AbortController();
  }

  readonly fetch: Fetch = (url, init) =>
    fetch(url, { ...init, signal: AbortSignal.any([init.signal, this.#cut.signal]) });
}
