import { forwardLifecycle } from "../../../web/page.ts";
import { Client } from "./client.ts";

/** The database, in whichever tab of this site it is. */
export const client = new Client();
const { port: broker } = new SharedWorker(new URL("./broker.ts", import.meta.url), { type: "module" });
let worker: Worker | null = null;

broker.onmessage = ({ data, ports }) => {
  if (data === "connect") broker.postMessage("serve", [client.connect()]);
  else worker?.postMessage(null, [...ports]); // "serve"
};

// One tab has it, until it ends. Then another one of those that wait here.
navigator.locks.request("app.db", () => {
  worker = new Worker(new URL("./db.worker.ts", import.meta.url), { type: "module" });
  forwardLifecycle(worker);
  broker.postMessage("holding");
  return new Promise(() => {});
});
