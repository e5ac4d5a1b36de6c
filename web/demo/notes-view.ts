import { byId, element, setNumber, setText, timeElement } from "./dom.ts";
import { count, day } from "./format.ts";
import type { Found, Note } from "./messages.ts";

export interface NotesActions {
  /** Resolves with whether it is committed. */
  add(text: string): Promise<boolean>;
  remove(id: number): void;
  /** The words to search for have changed. */
  search(): void;
}

/** What to search for. */
export function query(): string {
  return byId<HTMLInputElement>("query").value;
}

export function wireNotes({ add, remove, search }: NotesActions): void {
  const text = byId<HTMLInputElement>("text");
  byId("add").onsubmit = async (event) => {
    event.preventDefault();
    const { value } = text;
    // It leaves the field when it is committed, not before.
    if ((await add(value)) && text.value === value) text.value = "";
  };
  byId("find").onsubmit = (event) => event.preventDefault();
  byId("query").oninput = search;
  byId("notes").onclick = ({ target }) => {
    const { id } = (target as HTMLElement).dataset;
    if (id !== undefined) remove(Number(id));
  };
}

export function showRows(rows: number): void {
  setNumber("rows", rows, count(rows));
}

export function showFound({ notes, matches, rows }: Found): void {
  showRows(rows);
  setText("matches", query() === "" ? "" : `, ${count(matches)} found`);
  byId("notes").dataset.empty = query() === "" ? "No notes yet. Keep one, or write 1,000." : "Nothing found.";
  byId("notes").replaceChildren(...notes.map(item));
}

function item({ id, time, pieces }: Note): HTMLLIElement {
  const text = element("p", ...pieces.map((piece, i) => (i % 2 === 1 ? element("mark", piece) : piece)));
  const remove = element("button", "Delete");
  remove.dataset.id = `${id}`;
  remove.ariaLabel = `Delete “${pieces.join("")}”`;
  return element("li", text, remove, timeElement(time, day(time)));
}
