// The demo in a browser: a gateway over a folder, and the page, on one free port of this machine. `npm run dev -- folder`
// keeps the replica there; otherwise it is in a temporary folder, gone with Ctrl-C.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createServer } from "vite";

const given = process.argv[2];
const folder = given === undefined ? mkdtempSync(join(tmpdir(), "sluice-replica-")) : resolve(given);
mkdirSync(folder, { recursive: true });
process.env.SLUICE_DEMO_REPLICA = folder;

const server = await createServer({
  configFile: join(import.meta.dirname, "../web/demo/vite.config.ts"),
  logLevel: "warn",
  server: { host: "127.0.0.1", port: 0 },
});
// Vite ends the process itself, when it is done with SIGTERM.
process.on("exit", () => {
  if (given === undefined) rmSync(folder, { recursive: true, force: true });
});
const end = async () => {
  await server.close();
  process.exit();
};
process.once("SIGINT", end).once("SIGTERM", end);

await server.listen();
console.log(`The demo is at ${server.resolvedUrls?.local[0]}`);
console.log(`Its replica is in ${folder}; Ctrl-C stops it${given === undefined ? " and removes that" : ""}.`);
