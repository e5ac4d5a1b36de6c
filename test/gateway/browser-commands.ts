import type { BrowserCommand } from "vitest/node";
import { createGatewayOver } from "../../src/gateway/gateway.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { ServersOfFiles } from "../web/servers-of-files.ts";
import { byName, listen } from "./listen.ts";

declare module "vitest/browser" {
  interface BrowserCommands {
    /** Starts a gateway outside, for callers of any name and keys of any kind, and answers its URL. */
    startGateway(allowedOrigins: string[], partBytes: number): Promise<string>;
    /** Those that the test file has started. */
    stopGateways(): Promise<void>;
  }
}

const servers = new ServersOfFiles();

const startGateway: BrowserCommand<[string[], number]> = async ({ testPath }, allowedOrigins, partBytes) => {
  const options = { store: new MemoryStore(), authorize: byName, allowedOrigins, partBytes };
  const server = await listen(createGatewayOver(options, () => true));
  servers.add(testPath, () => server.close());
  return server.url;
};

const stopGateways: BrowserCommand<[]> = ({ testPath }) => servers.stop(testPath);

/** What tests in a browser have done for them outside. */
export const gatewayCommands = { startGateway, stopGateways };
