/** The element with an id, which index.html has. */
export function byId<T extends Element = HTMLElement>(id: string): T {
  return document.getElementById(id) as unknown as T;
}

/** Changes a text only where it differs: a screen reader would read it again. */
export function setText(id: string, text: string): void {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

/** A number for people, and for programs as `value`. */
export function setNumber(id: string, value: number, text: string): void {
  byId<HTMLDataElement>(id).value = `${value}`;
  setText(id, text);
}

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

export function timeElement(time: number, text: string): HTMLTimeElement {
  const made = element("time", text);
  made.dateTime = new Date(time).toISOString();
  return made;
}
