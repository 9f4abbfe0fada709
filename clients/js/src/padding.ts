/** The sizes that sealed messages are padded to; see docs/protocol.md §4. */

const SMALLEST_REQUEST = 1024;
/** The largest answer that there can be, before it is sealed. */
export const LARGEST_ANSWER = 16 * 1024 * 1024;

/** What a request of this length is padded to: Padmé, but never under 1 KiB. */
export function requestSize(length: number): number {
  if (length <= SMALLEST_REQUEST) return SMALLEST_REQUEST;
  const exponent = Math.floor(Math.log2(length));
  const step = 2 ** (exponent - (Math.floor(Math.log2(exponent)) + 1));
  return Math.ceil(length / step) * step;
}
