// The entry `sqlite-sluice/gateway`: the server half, for any server, and the client as a class. Replicators need that only
// for a `fetch` of one's own: a URL is enough for them otherwise.
export type { GatewayStoreOptions } from "../store/gateway-config.ts";
export { GatewayStore } from "../store/gateway-store.ts";
export type { Timer } from "./body.ts";
export { createGateway, type Gateway } from "./gateway.ts";
export type { GatewayOptions, Grant } from "./options.ts";
