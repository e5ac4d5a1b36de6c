import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { type BrowserContext, chromium } from "playwright";

const INSTALLED = "/usr/bin/chromium";
const FLAGS = [
  "--headless=new",
  "--remote-debugging-port=0",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--no-default-browser-check",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];

/** Chromium with a profile on disk, in a group of processes of its own, so that all of it can be killed. */
export class RunningBrowser {
  readonly context: BrowserContext;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  private constructor(child: ChildProcess, context: BrowserContext, ended: Promise<void>) {
    this.#child = child;
    this.context = context;
    this.#ended = ended;
  }

  static async start(profile: string): Promise<RunningBrowser> {
    const program = existsSync(INSTALLED) ? INSTALLED : chromium.executablePath();
    const child = spawn(program, [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    try {
      const browser = await chromium.connectOverCDP(await addressOf(child));
      return new RunningBrowser(child, browser.contexts()[0]!, ended);
    } catch (error) {
      killGroup(child);
      throw error;
    }
  }

  /** SIGKILL for all its processes at once. */
  async kill(): Promise<void> {
    killGroup(this.#child);
    await this.#ended;
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

function addressOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    child.once("exit", (code) => reject(new Error(`Chromium ended with ${code}: ${said}`)));
    child.stderr!.on("data", (data) => {
      said += data;
      const [, address] = /DevTools listening on (\S+)/.exec(said) ?? [];
      if (address !== undefined) resolve(address);
    });
  });
}
