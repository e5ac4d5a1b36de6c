// The entry `sqlite-sluice/gateway`: the server half, for any server.
export type { Timer } from "./body.ts";
export { createGateway, type Gateway } from "./gateway.ts";
export type { GatewayOptions, Grant } from "./options.ts";
