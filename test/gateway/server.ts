import { afterAll } from "vitest";
import { createGatewayOver } from "../../src/gateway/gateway.ts";
import type { GatewayOptions } from "../../src/gateway/options.ts";
import { type KeyGrammar, replicaKeys } from "../../src/gateway/scope.ts";
import { PROTOCOL_HEADER, PROTOCOL_VERSION } from "../../src/store/gateway-protocol.ts";
import { byName, type Listening, listen } from "./listen.ts";

/** Servers that are stopped after the tests of the file. */
export function useServers() {
  const servers: Listening[] = [];
  afterAll(async () => {
    for (const server of servers) await server.close();
  });
  return {
    async listen(handler: (request: Request) => Promise<Response>, port = 0): Promise<Listening> {
      const server = await listen(handler, port);
      servers.push(server);
      return server;
    },
    /** A gateway for callers by name. */
    gateway(options: Omit<GatewayOptions, "authorize">, isKey: KeyGrammar = replicaKeys): Promise<Listening> {
      return this.listen(createGatewayOver({ authorize: byName, ...options }, isKey));
    },
  };
}

export function as(name: string): { headers: () => Record<string, string> } {
  return { headers: () => ({ authorization: `Bearer ${name}` }) };
}

/** What the client sends, for tests that send what it would not. */
export const protocol = { [PROTOCOL_HEADER]: PROTOCOL_VERSION };
