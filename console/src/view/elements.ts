/** Making elements without ever handing the browser a string of HTML. */

type Child = Node | string | null | undefined | false;
type Properties = Record<string, string | boolean | number | ((event: Event) => void)>;

/** An element: functions become listeners, `true` an empty attribute, `false` none. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Properties = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== false) element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

const unfolded = new WeakMap<HTMLElement, readonly boolean[]>();

/**
 * Put new content into a part of the page. What was unfolded stays so, and a focus that was in the
 * old content goes to the heading of its section instead of getting lost.
 */
export function renew(part: HTMLElement, ...children: readonly (Node | string)[]): void {
  const focused = part.contains(document.activeElement);
  const before = [...part.querySelectorAll("details")];
  // Remembered through contents that have nothing to unfold.
  if (before.length) unfolded.set(part, before.map((details) => details.open));
  part.replaceChildren(...children);
  part.querySelectorAll("details").forEach((details, at) => {
    details.open = unfolded.get(part)?.[at] ?? false;
  });
  if (focused) part.closest("section")?.querySelector<HTMLElement>("h2")?.focus();
}

/** Text for screen readers only. */
export function unseen(text: string): HTMLElement {
  return h("span", { class: "unseen" }, text);
}

/** Hand the person a file. */
export function save(content: Blob, name: string): void {
  const url = URL.createObjectURL(content);
  const link = h("a", { href: url, download: name });
  link.click();
  // Not at once: the browser reads it after this task.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
