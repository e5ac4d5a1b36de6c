import { byId, element, setText } from "./dom.ts";
import { type Explanation, explain, type Remedy } from "./explain.ts";
import type { ErrorFields } from "./messages.ts";

const WORDS: Readonly<Record<Remedy, string>> = {
  wait: "Take over when the other closes",
  "stop-waiting": "Stop waiting",
  retry: "Try again",
  upload: "Try now",
  restore: "Restore",
  "adopt-local": "Keep what is here",
  "adopt-remote": "Take the replica’s",
  reload: "Reload",
};

/** Kinds of trouble that uploads have. */
const UPLOADING = ["SLUICE_STORE", "SLUICE_CACHE", "Offline", "NotUploaded"];

/** The one place where the page says what is wrong, with buttons for what can be done. */
export class Notice {
  readonly #act: (remedy: Remedy) => void;

  constructor(act: (remedy: Remedy) => void) {
    this.#act = act;
  }

  error(error: ErrorFields): void {
    this.show(explain(error), error.code ?? error.name);
  }

  /** `kind`: what it is about, for who looks at the page from outside. */
  show({ title, advice, detail = "", remedies }: Explanation, kind: string): void {
    const notice = byId("notice");
    if (!notice.hidden && notice.dataset.kind === kind) return;
    notice.dataset.kind = kind;
    setText("notice-title", title);
    setText("notice-advice", advice);
    setText("notice-detail", detail);
    byId("remedies").replaceChildren(...remedies.map((remedy) => this.#button(remedy)));
    notice.hidden = false;
  }

  clear(): void {
    byId("notice").hidden = true;
  }

  /** All is uploaded: what stood in the way of that is over. */
  settle(): void {
    if (UPLOADING.includes(byId("notice").dataset.kind ?? "")) this.clear();
  }

  #button(remedy: Remedy): HTMLButtonElement {
    const button = element("button", WORDS[remedy]);
    button.dataset.remedy = remedy;
    button.onclick = () => this.#act(remedy);
    return button;
  }
}
