/** What a person brought: a photo, a file that was encrypted before, or neither. */

import { mediaType } from "@client/client.js";
import { requestSize } from "@client/padding.js";
import { otherFormat } from "./formats.js";
import { unturned } from "./orientation.js";

export interface Upload {
  readonly kind: "photo" | "envelope";
  readonly name: string;
  readonly content: Uint8Array<ArrayBuffer>;
  /** An address of the photo without its orientation; null for what is encrypted. */
  readonly preview: string | null;
  /** The photo's EXIF orientation, 1 to 8. */
  readonly orientation: number;
}

/** The file is not sent, and why, in words for a person. */
export class NotSent extends Error {}

/** More than sealing adds: the request's line and fields, the encapsulated key, the tags. */
const OVERHEAD = 4096;
/** Bytes that tell what a file is: a data key of the AWS sample's layout, then its token. */
const HEAD = 6154;

/** Read a file and see that it is something that the enclave can open. */
export async function read(file: File, maxBody: number): Promise<Upload> {
  if (file.size === 0) throw new NotSent(`${file.name} is empty.`);
  if (requestSize(file.size + OVERHEAD) + OVERHEAD > maxBody) {
    throw new NotSent(`${file.name} is too large: this gateway takes ${largest(maxBody)}.`);
  }
  let content: Uint8Array<ArrayBuffer>;
  try {
    content = new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new NotSent(`${file.name} cannot be read.`);
  }
  const name = file.name || "photo";
  const type = mediaType(content);
  if (type !== "application/octet-stream") {
    const { orientation, parts } = unturned(content, type);
    const preview = URL.createObjectURL(new Blob(parts, { type }));
    return { kind: "photo", name, content, preview, orientation };
  }
  if (isEnvelope(content)) return { kind: "envelope", name, content, preview: null, orientation: 1 };
  const other = otherFormat(content);
  throw new NotSent(
    other
      ? `${other} is not a format that the enclave opens. Save it as JPEG, PNG or WebP first.`
      : `${name} is neither a photo (JPEG, PNG, WebP) nor a file that Blindgate encrypted.`,
  );
}

/** What to promise a person: padding rounds a size up by at most a sixteenth from 64 KiB on. */
export function largest(maxBody: number): string {
  const megabytes = (maxBody * 15) / 16 / 1_000_000;
  return `${megabytes < 10 ? Math.floor(megabytes * 10) / 10 : Math.floor(megabytes)} MB`;
}

/** As `blindgate.envelope.recognise`: the two formats that the enclave opens. */
function isEnvelope(content: Uint8Array): boolean {
  const start = content.subarray(0, HEAD);
  const [version, high, low] = start;
  // The AWS Encryption SDK's message format 2, with one of the suites that commit to their key.
  if (version === 2 && (high === 4 || high === 5) && low === 0x78) return true;
  const length = new DataView(content.buffer, 0, Math.min(4, content.length));
  if (content.length < 4) return false;
  const token = 4 + length.getUint32(0);
  return String.fromCharCode(...start.subarray(token, token + 6)) === "gAAAAA";
}
