/** Numbers as people say them. */

const BYTES = new Intl.NumberFormat("en");
const PERCENT = new Intl.NumberFormat("en", { style: "percent" });
const LIST = new Intl.ListFormat("en");

export function bytes(size: number): string {
  if (size < 1000) return `${size} bytes`;
  if (size < 1_000_000) return `${Math.round(size / 1000)} kB`;
  return `${(size / 1_000_000).toFixed(1)} MB`;
}

export function exactBytes(size: number): string {
  return `${BYTES.format(size)} bytes`;
}

export function percent(part: number): string {
  return PERCENT.format(part);
}

export function count(number: number, noun: string): string {
  return `${BYTES.format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

export function list(items: readonly string[]): string {
  return LIST.format(items);
}

export function ago(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 1 ? "just now" : `${count(seconds, "second")} ago`;
}
