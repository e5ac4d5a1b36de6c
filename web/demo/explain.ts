import type { ErrorFields } from "./messages.ts";

/** What a person can do about it; each is a button. */
export type Remedy =
  | "wait"
  | "stop-waiting"
  | "retry"
  | "upload"
  | "restore"
  | "adopt-local"
  | "adopt-remote"
  | "reload";

export interface Explanation {
  readonly title: string;
  readonly advice: string;
  /** In Sluice's own words. */
  readonly detail?: string;
  readonly remedies: readonly Remedy[];
}

const SQLITE_FULL = 13;

/** An error in words, and the way out. */
export function explain(error: ErrorFields): Explanation {
  if (error.resultCode !== undefined && (error.resultCode & 0xff) === SQLITE_FULL) return noRoomToWrite;
  if (error.full === true) return noRoomToQueue;
  return (
    byCode[error.code ?? error.name]?.(error) ?? {
      title: "Something failed",
      advice: error.message,
      remedies: ["retry"],
    }
  );
}

const NO_ROOM = "This browser has no more room";

const noRoomToWrite: Explanation = {
  title: NO_ROOM,
  advice:
    "The last note was not saved; all others are. Delete notes or free disk space, then write it again.",
  remedies: [],
};

const noRoomToQueue: Explanation = {
  title: NO_ROOM,
  advice: "Your notes are safe here, but cannot be queued for upload. Free disk space; it is tried again.",
  remedies: ["upload"],
};

const byCode: Readonly<Record<string, (error: ErrorFields) => Explanation>> = {
  SLUICE_IN_USE: ({ holder = "" }) => ({
    title: "These notes are open in another tab",
    advice: "Only one tab can have them. Close the other one, and they open here.",
    detail: `In use by ${holder}.`,
    remedies: ["wait", "retry"],
  }),
  SLUICE_OPFS_UNAVAILABLE: ({ reason }) => ({
    title: "There is no place for a database here",
    advice: places[reason ?? ""] ?? places["old-browser"]!,
    remedies: [],
  }),
  SLUICE_LOCK_UNAVAILABLE: () => ({
    title: "Nothing here would keep two tabs apart",
    advice: "This browser has no Web Locks. Use a current one, over https or from localhost.",
    remedies: [],
  }),
  SLUICE_FENCED: () => ({
    title: "Another browser writes to this replica",
    advice:
      "Uploading has stopped. What you write stays here and goes nowhere. Take the replica's notes, or make yours the replica's.",
    remedies: ["adopt-remote", "adopt-local"],
  }),
  SLUICE_UNKNOWN_LOCAL_HISTORY: () => ({
    title: "Notes here, and other notes in the replica",
    advice: "The record of what was uploaded is gone, so nothing proves which are newer. You decide.",
    remedies: ["adopt-local", "adopt-remote"],
  }),
  SLUICE_BROKEN_REPLICA: brokenReplica,
  SLUICE_CORRUPT_OBJECT: brokenReplica,
  SLUICE_CACHE: ({ message }) => ({
    title: "The queue of uploads is gone, or cannot be used",
    advice: "Your notes are safe in this browser. Reload, and they are compared with the replica.",
    detail: message,
    remedies: ["reload"],
  }),
  SLUICE_CODE_UNAVAILABLE: ({ message }) => ({
    title: "A part of this page could not be loaded",
    advice: "What you write is kept here, and it is tried again. If the page has a new release, reload.",
    detail: message,
    remedies: ["reload"],
  }),
  Offline: () => ({
    title: "You are offline",
    advice: "What you write is kept here and goes up when you are back.",
    remedies: [],
  }),
  NotUploaded: () => ({
    title: "Some notes are only here",
    advice: "To restore now would lose them. Go online, wait until everything is uploaded, then restore.",
    remedies: ["upload"],
  }),
  SLUICE_STORE: ({ kind, message }) => ({
    title: kind === "access-denied" ? "The gateway does not let us in" : "The replica cannot be reached",
    advice: "What you write is kept here and goes up later; it is tried again and again.",
    detail: message,
    remedies: ["upload"],
  }),
};

function brokenReplica({ message }: ErrorFields): Explanation {
  return {
    title: "The replica is damaged",
    advice: "Nothing here was touched.",
    detail: message,
    remedies: ["retry"],
  };
}

const places: Readonly<Record<string, string>> = {
  "insecure-context": "Open this page over https, or from localhost.",
  "old-browser":
    "This browser has no origin private file system with synchronous handles. Use a current one.",
  blocked:
    "Private windows and blocked site data have no storage. Use an ordinary window, or allow site data.",
};
