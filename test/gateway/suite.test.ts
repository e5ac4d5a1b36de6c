import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll } from "vitest";
import { DirectoryStore } from "../../node/directory-store.ts";
import { GatewayStore } from "../../src/store/gateway-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { objectStoreSuite } from "../suites/object-store.ts";
import { as, useServers } from "./server.ts";

const servers = useServers();
const base = mkdtempSync(join(tmpdir(), "sluice-gateway-"));
afterAll(() => rmSync(base, { recursive: true }));

const anyKey = () => true;
let stores = 0;
const fresh = () => `caller-${stores++}`;

const overMemory = servers.gateway({ store: new MemoryStore() }, anyKey);
objectStoreSuite(
  "GatewayStore over a MemoryStore",
  async () => new GatewayStore((await overMemory).url, as(fresh())),
);

const overDirectory = servers.gateway({ store: new DirectoryStore(pathToFileURL(base)) }, anyKey);
objectStoreSuite(
  "GatewayStore over a DirectoryStore",
  async () => new GatewayStore((await overDirectory).url, as(fresh())),
);

const smallParts = servers.gateway({ store: new MemoryStore(), partBytes: 64 * 1024 }, anyKey);
objectStoreSuite(
  "GatewayStore in small parts",
  async () => new GatewayStore((await smallParts).url, as(fresh())),
  { manyKeys: 20 },
);
