import { forwardLifecycle } from "../../../web/page.ts";
import { Client } from "./client.ts";

export const client = new Client();
const worker = new Worker(new URL("./db.worker.ts", import.meta.url), { type: "module" });
forwardLifecycle(worker); // so that what is committed goes up when the page is left
worker.postMessage(null, [client.connect()]);
