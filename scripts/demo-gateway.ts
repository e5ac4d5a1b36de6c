import { pathToFileURL } from "node:url";
import type { Plugin } from "vite";
import { DirectoryStore } from "../node/directory-store.ts";
import { toNodeListener } from "../node/node-listener.ts";
import { createGateway } from "../src/gateway/gateway.ts";

/** Mounts a gateway at /replica/ of Vite's server, over the folder that SLUICE_DEMO_REPLICA names. */
export function demoGateway(): Plugin {
  return {
    name: "sluice:demo-gateway",
    apply: "serve",
    configureServer({ middlewares, config }) {
      const folder = process.env.SLUICE_DEMO_REPLICA;
      if (folder === undefined)
        throw new Error("Start the demo with `npm run dev`: it chooses a folder for the replica.");
      const gateway = createGateway({
        store: new DirectoryStore(pathToFileURL(folder)),
        // Pages of other sites are refused by their origin; and this server listens on this machine only.
        authorize: () => ({ prefix: "" }),
        onError: (error) => config.logger.error(`sluice: ${error}`),
      });
      middlewares.use("/replica/", toNodeListener(gateway));
    },
  };
}
