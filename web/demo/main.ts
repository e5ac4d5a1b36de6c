// The page: what people see and press. The notes themselves are in a worker, which `session` starts and ends.
import { persistStorage } from "../page.ts";
import { WorkerError } from "./db-client.ts";
import { byId, setText } from "./dom.ts";
import { explain, type Remedy } from "./explain.ts";
import { log } from "./log.ts";
import { type ErrorFields, fieldsOf, type News } from "./messages.ts";
import { query, showFound, showRows, wireNotes } from "./notes-view.ts";
import { Notice } from "./notice.ts";
import { clearPanel, showStatus, summary } from "./panel.ts";
import { clearProgress, showProgress } from "./progress.ts";
import { Session, type State } from "./session.ts";

const session = new Session({ onState, onNews, onError: (error) => notice.error(error) });
const notice = new Notice((remedy) => void attempt(() => remedies[remedy]()));

const remedies: Readonly<Record<Remedy, () => unknown>> = {
  wait: () => session.openWhenFree(),
  "stop-waiting": () => session.stopWaiting(),
  retry: () => session.open(),
  upload: () => session.client.call("upload"),
  restore: () => restore(),
  "adopt-local": () => session.open({ onUnknownLocal: "adopt-local" }),
  "adopt-remote": () => session.open({ onUnknownLocal: "adopt-remote" }),
  reload: () => location.reload(),
};

const actions: Readonly<Record<string, () => unknown>> = {
  write: () => session.client.call("write", 1000),
  offline: toggleNetwork,
  async kill() {
    log("The worker was killed");
    await session.open();
  },
  wipe: wipeBrowser,
  restore,
  upload: () => session.client.call("upload"),
  compare: async () => showFingerprint(await session.client.call("fingerprint")),
  async persist() {
    log(
      (await persistStorage())
        ? "The browser keeps these notes"
        : "The browser does not promise to keep them",
    );
  },
};

for (const [id, act] of Object.entries(actions)) {
  const button = byId(id);
  button.onclick = () => {
    if (button.ariaDisabled !== "true") void attempt(act);
  };
}
wireNotes({
  add: (text) => attempt(() => session.client.call("add", text)),
  remove: (id) => void attempt(() => session.client.call("remove", id)),
  search: () => void refresh(),
});
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) log("Back from the back/forward cache");
});

/** Whether it succeeded; otherwise the page says why not. */
async function attempt(act: () => unknown): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    const fields = error instanceof WorkerError ? error.fields : fieldsOf(error);
    // Of a worker that was ended on purpose.
    if (fields.name !== "AbortError") notice.error(fields);
    return false;
  }
}

const opening: Readonly<Record<State, string>> = {
  opening: "Opening…",
  waiting: "Waiting for the other tab…",
  open: "Open.",
  restoring: "Restoring from the replica…",
  wiping: "Wiping…",
  wiped: "Nothing is left in this browser.",
  shut: "Not open.",
};

function onState(state: State): void {
  document.body.dataset.state = state;
  for (const button of document.querySelectorAll("[data-needs=open]"))
    button.ariaDisabled = `${state !== "open"}`;
  setText("summary", opening[state]);
  notice.clear();
  clearProgress();
  if (state === "open") void refresh();
  else clearPanel();
  if (state === "wiped") {
    showFound({ notes: [], matches: 0, rows: 0 });
    notice.show(
      {
        title: "This browser has forgotten everything",
        advice: "The notes and the queue are deleted, as if its data had been cleared. The replica is left.",
        remedies: ["restore"],
      },
      "wiped",
    );
  }
  if (state === "waiting")
    notice.show(
      {
        title: "Waiting for the other tab",
        advice: "As soon as it is closed these notes open here. What it wrote is here then.",
        remedies: ["stop-waiting"],
      },
      "waiting",
    );
}

function onNews(news: News): void {
  if ("status" in news) {
    const { status } = news;
    showStatus(status);
    if (session.state === "open") setText("summary", summary(status));
    if (status.captured === status.uploaded && status.state === "running") notice.settle();
  } else if ("rows" in news) {
    showRows(news.rows);
    void refresh();
  } else if ("progress" in news) showProgress(news.progress);
  else if ("log" in news) log(news.log);
  else onTrouble(news.trouble);
}

function onTrouble(error: ErrorFields): void {
  const cut = session.offline && error.kind === "network";
  const trouble = cut ? { name: "Offline", message: "" } : error;
  log(explain(trouble).title);
  notice.error(trouble);
}

let refreshing: Promise<void> | null = null;
let stale = false;

/** One search at a time; what changed meanwhile makes one more. */
async function refresh(): Promise<void> {
  stale = true;
  refreshing ??= (async () => {
    while (stale && session.state === "open") {
      stale = false;
      showFound(await session.client.call("search", query()));
    }
  })()
    .catch(() => undefined)
    .finally(() => {
      refreshing = null;
    });
  await refreshing;
}

async function toggleNetwork(): Promise<void> {
  session.offline = !session.offline;
  const button = byId("offline");
  button.ariaPressed = `${session.offline}`;
  button.textContent = session.offline ? "Go online" : "Go offline";
  log(session.offline ? "The network is cut" : "The network is back");
  if (session.state === "open") await session.client.call("setOffline", session.offline);
}

const REMEMBERED = "fingerprint";

async function rememberFingerprint(): Promise<void> {
  if (session.state !== "open") return;
  sessionStorage.setItem(REMEMBERED, await session.client.call("fingerprint"));
}

async function wipeBrowser(): Promise<void> {
  await rememberFingerprint();
  await session.wipe();
  log("Everything in this browser was deleted");
}

async function restore(): Promise<void> {
  await rememberFingerprint();
  if (!(await session.restore())) return;
  const fingerprint = await session.client.call("fingerprint");
  showFingerprint(fingerprint);
  const before = sessionStorage.getItem(REMEMBERED);
  if (before === null) log("Restored from the replica");
  else if (before === fingerprint) log("Restored: every note is as it was");
  else log("Restored. It differs from what was here: some commits had not been uploaded");
}

function showFingerprint(fingerprint: string): void {
  const shown = byId("fingerprint");
  shown.title = fingerprint;
  shown.textContent = fingerprint.slice(0, 12);
}

void attempt(() => session.open());
