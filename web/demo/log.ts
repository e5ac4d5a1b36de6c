import { byId, element, timeElement } from "./dom.ts";
import { clock } from "./format.ts";

const KEPT = 100;

let last = "";

/** What happened, newest first. What happens again and again is said once. */
export function log(text: string): void {
  if (text === last) return;
  last = text;
  const list = byId("log");
  const now = Date.now();
  list.prepend(element("li", timeElement(now, clock(now)), element("span", text)));
  while (list.children.length > KEPT) list.lastChild?.remove();
}
