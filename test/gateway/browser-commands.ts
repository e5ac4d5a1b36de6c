import type { BrowserCommand } from "vitest/node";
import { createGatewayOver } from "../../src/gateway/gateway.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { byName, type Listening, listen } from "./listen.ts";

declare module "vitest/browser" {
  interface BrowserCommands {
    /** Starts a gateway outside, for callers of any name and keys of any kind, and answers its URL. */
    startGateway(allowedOrigins: string[], partBytes: number): Promise<string>;
    stopGateways(): Promise<void>;
  }
}

const listening: Listening[] = [];

const startGateway: BrowserCommand<[string[], number]> = async (_, allowedOrigins, partBytes) => {
  const options = { store: new MemoryStore(), authorize: byName, allowedOrigins, partBytes };
  const server = await listen(createGatewayOver(options, () => true));
  listening.push(server);
  return server.url;
};

const stopGateways: BrowserCommand<[]> = async () => {
  for (const server of listening.splice(0)) await server.close();
};

/** What tests in a browser have done for them outside. */
export const gatewayCommands = { startGateway, stopGateways };
