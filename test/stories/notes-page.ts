import type { Page } from "playwright";
import type { State } from "../../web/demo/session.ts";

/** Buttons of the page, by id. */
export type Button = "write" | "offline" | "kill" | "wipe" | "restore" | "upload";
type Watermark = "captured" | "cached" | "uploaded" | "rows";

/** What a story asks of a tab, whatever drives it. */
export interface Tab {
  click(selector: string): Promise<void>;
  fill(selector: string, text: string): Promise<void>;
  press(selector: string, key: "Enter"): Promise<void>;
  evaluate<R, A>(act: (argument: A) => R, argument?: A): Promise<R>;
  waitForFunction<A>(wanted: (argument: A) => unknown, argument?: A): Promise<unknown>;
  waitForSelector(selector: string): Promise<unknown>;
  textContent(selector: string): Promise<string | null>;
  getAttribute(selector: string, name: string): Promise<string | null>;
}

/** The demo in a tab, as a person uses it. */
export class NotesPage<T extends Tab = Page> {
  readonly page: T;

  constructor(page: T) {
    this.page = page;
  }

  async press(button: Button): Promise<void> {
    await this.page.click(`#${button}`);
  }

  /** Presses a button of the notice. */
  async remedy(name: string): Promise<void> {
    await this.page.click(`[data-remedy=${name}]`);
  }

  /** Resolves when the note is committed. */
  async add(text: string): Promise<void> {
    await this.page.fill("#text", text);
    await this.page.press("#text", "Enter");
    await this.page.waitForFunction(() => document.querySelector<HTMLInputElement>("#text")!.value === "");
  }

  number(id: Watermark): Promise<number> {
    return this.page.evaluate(
      (name) => Number(document.querySelector<HTMLDataElement>(`#${name}`)!.value),
      id,
    );
  }

  async reaches(id: Watermark, least: number): Promise<void> {
    await this.page.waitForFunction(
      ([name, value]) => Number(document.querySelector<HTMLDataElement>(`#${name}`)!.value) >= value,
      [id, least] as const,
    );
  }

  async is(state: State): Promise<void> {
    await this.page.waitForFunction((wanted) => document.body.dataset.state === wanted, state);
  }

  /** The notice says something of this kind. */
  async says(kind: string): Promise<string> {
    await this.page.waitForSelector(`#notice[data-kind="${kind}"]:not([hidden])`);
    return (await this.page.textContent("#notice")) ?? "";
  }

  async logs(text: string): Promise<void> {
    await this.page.waitForFunction(
      (wanted) => [...document.querySelectorAll("#log li")].some((line) => line.textContent.includes(wanted)),
      text,
    );
  }

  /** All that is committed is in the replica, and there is a snapshot. */
  async settles(): Promise<void> {
    await this.is("open");
    await this.page.waitForFunction(() => {
      const of = (id: string) => document.querySelector<HTMLDataElement>(`#${id}`)!.value;
      const snapshot = document.querySelector("#snapshot")!.textContent ?? "";
      return Number(of("captured")) > 0 && of("captured") === of("uploaded") && snapshot.includes("commit");
    });
  }

  /** SHA-256 over all rows, computed in the worker. */
  async fingerprint(): Promise<string> {
    await this.page.evaluate(() => document.querySelector("#fingerprint")!.removeAttribute("title"));
    await this.page.click("#compare");
    await this.page.waitForSelector("#fingerprint[title]");
    return (await this.page.getAttribute("#fingerprint", "title"))!;
  }
}
