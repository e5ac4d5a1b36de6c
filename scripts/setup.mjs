// Makes a fresh machine ready: the npm packages, and with `--for test` the programs that tests run. Does nothing where all
// is there. Plain JavaScript over node: modules, because nothing else is installed yet.
import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { progress } from "./progress.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const OLDEST_NODE = [20, 19];
const MOST_ERROR_LINES = 15;

/** Programs that tests run, and the Debian packages they come in. */
const required = { chromium: "chromium", sqlite3: "sqlite3", zstd: "zstd" };
/** The S3 server of the tests. Without it those tests are skipped, but not in CI. */
const ceph = {
  radosgw: "radosgw",
  "radosgw-admin": "radosgw",
  "ceph-mon": "ceph-mon",
  "ceph-osd": "ceph-osd",
  setpriv: "util-linux",
};
/** A second browser; its stories are skipped without it. */
const firefox = { "firefox-esr": "firefox-esr" };

async function main() {
  requireNode();
  await installPackages();
  if (process.argv[2] === "--for" && process.argv[3] === "test") await installPrograms();
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return;
  fail(`Node ${OLDEST_NODE.join(".")} or newer is needed, this is ${process.versions.node}.`);
}

async function installPackages() {
  const wanted = wantedPackages();
  if (installed(wanted)) return;
  const bar = progress("npm ci");
  const paths = [...wanted].filter(([, { optional }]) => !optional).map(([path]) => path);
  const report = () => {
    const there = paths.filter((path) => existsSync(join(root, path, "package.json"))).length;
    bar.update(there / paths.length, `${there} of ${paths.length} packages`);
  };
  report();
  const timer = setInterval(report, 250);
  const npm = process.env.npm_execpath;
  const args = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  const { code, errors } = npm?.endsWith(".js")
    ? await run(process.execPath, [npm, ...args])
    : await run("npm", args);
  clearInterval(timer);
  if (code !== 0) fail(`npm ci failed.\n${errors}`);
  bar.done(`${paths.length} packages installed`);
}

/** What package-lock.json names, by path. @returns {Map<string, { version: string, optional?: boolean }>} */
function wantedPackages() {
  const { packages } = readJson("package-lock.json");
  return new Map(Object.entries(packages).filter(([path]) => path !== ""));
}

/** npm keeps a lock file of what it installed; it writes it last. */
function installed(wanted) {
  if (!existsSync(join(root, "node_modules/.package-lock.json"))) return false;
  const there = readJson("node_modules/.package-lock.json").packages;
  return [...wanted].every(([path, { version, optional }]) =>
    there[path] === undefined ? optional === true : there[path].version === version,
  );
}

async function installPrograms() {
  const missing = await missingPackages();
  if (missing.length === 0) return;
  const command = `apt-get install --no-install-recommends ${missing.join(" ")}`;
  if (process.getuid?.() === 0 && onPath("apt-get"))
    // By itself: Ubuntu has no such package, and apt then installs none.
    for (const some of [
      missing.filter((name) => !(name in firefox)),
      missing.filter((name) => name in firefox),
    ])
      if (some.length > 0) await aptInstall(some);
  const still = await missingPackages();
  if (still.length === 0) return;
  const needed = still.filter((name) => Object.values(required).includes(name));
  const text = `The tests run programs that are not here. On Debian or Ubuntu:\n\n    ${command}\n`;
  if (needed.length > 0)
    fail(`${text}\nElsewhere install ${needed.join(", ")} with the system's package manager; for Chromium
"npx playwright install chromium" does as well.`);
  console.warn(`${text}\nWithout them the tests of S3, or in Firefox, are skipped.`);
}

async function missingPackages() {
  const programs = Object.entries({ ...required, ...ceph, ...firefox });
  const missing = new Set(programs.filter(([program]) => !onPath(program)).map(([, name]) => name));
  if (missing.has("chromium") && (await playwrightHasChromium())) missing.delete("chromium");
  return [...missing];
}

async function playwrightHasChromium() {
  const { chromium } = await import("playwright");
  return existsSync(chromium.executablePath());
}

/** @param {string[]} names */
async function aptInstall(names) {
  const bar = progress("apt-get");
  bar.update(0, names.join(" "));
  const timer = setInterval(() => bar.update(0, "reading package lists"), 500);
  const options = ["-qq", "-o", "Dpkg::Use-Pty=0"];
  const update = await run("apt-get", [...options, "update"]);
  clearInterval(timer);
  if (update.code !== 0) return bar.done(`update failed.\n${update.errors}`);
  // https://salsa.debian.org/apt-team/apt, README.progress-reporting: type:package:percent:text on a descriptor of its own
  const status = (line) => {
    const [type, , percent, text = ""] = line.split(":");
    const half = type === "dlstatus" ? 0 : 0.5;
    if (type === "dlstatus" || type === "pmstatus") bar.update(half + Number(percent) / 200, text);
  };
  const install = ["install", "-y", "--no-install-recommends", "-o", "APT::Status-Fd=3"];
  const { code, errors } = await run("apt-get", [...options, ...install, ...names], status);
  bar.done(code === 0 ? `${names.length} packages installed` : `install failed.\n${errors}`);
}

/**
 * Runs a program quietly. What it said on standard error is answered without addresses of package servers.
 * @param {string} program
 * @param {string[]} args
 * @param {(line: string) => void} [onStatus] gets the lines of descriptor 3
 * @returns {Promise<{ code: number, errors: string }>}
 */
function run(program, args, onStatus = () => {}) {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", "ignore", "pipe", "pipe"] });
    let errors = "";
    child.stdio[2].on("data", (data) => {
      errors += data;
    });
    child.stdio[3].on("data", (data) => String(data).split("\n").forEach(onStatus));
    child.on("error", reject);
    child.on("close", (code) =>
      resolve({
        code: code ?? 1,
        errors: firstLines(errors.replace(/https?:\/\/\S+/g, "(a package server)")),
      }),
    );
  });
}

/** npm ends with a page on its usage. @param {string} text */
function firstLines(text) {
  return text.split("\n").slice(0, MOST_ERROR_LINES).join("\n");
}

/** @param {string} program */
function onPath(program) {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** @param {string} path */
function readJson(path) {
  return JSON.parse(readFileSync(join(root, path), "utf8"));
}

/** @param {string} message */
function fail(message) {
  console.error(message);
  process.exit(1);
}

await main();
