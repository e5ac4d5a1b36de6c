import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { toNodeListener } from "../../node/node-listener.ts";

export interface Listening {
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

/** Listens on a free port of 127.0.0.1, or on `port`. */
export async function listen(handler: (request: Request) => Promise<Response>, port = 0): Promise<Listening> {
  const server: Server = createServer(toNodeListener(handler));
  await new Promise<void>((resolve, reject) =>
    server.once("error", reject).listen(port, "127.0.0.1", resolve),
  );
  const address = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${address.port}/replica/`,
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Everybody is who they say: `Authorization: Bearer alice` may use alice/. */
export function byName({ headers }: Request): { prefix: string } | null {
  const name = headers.get("authorization")?.replace("Bearer ", "");
  return name === undefined ? null : { prefix: name };
}
