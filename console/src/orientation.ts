/**
 * Which way up a photo is, by the rules of the enclave (`blindgate/imaging`).
 *
 * Browsers have rules of their own: most ignore the orientation of a WebP. So the page reads it
 * itself, takes it out of the copy that the browser shows, and turns the photo where it draws.
 */

import { crc32 } from "./crc32.js";

export interface Unturned {
  /** The EXIF orientation, 1 to 8. */
  readonly orientation: number;
  /** The file without it. */
  readonly parts: BlobPart[];
}

type Bytes = Uint8Array<ArrayBuffer>;

/** As in `blindgate/imaging`: how far files are read. */
const MAX_SEGMENTS = 10_000;
const MAX_STRAY_BYTES = 1024 * 1024;
const MAX_CHUNKS = 20_000;
const MAX_EXIF_BYTES = 65_536;
const MAX_ENTRIES = 512;
const EXIF = "Exif\0\0";

/** Read a JPEG, PNG or WebP file; what cannot be read is upright. */
export function unturned(content: Bytes, type: string): Unturned {
  try {
    if (type === "image/jpeg") return jpeg(content);
    if (type === "image/png") return png(content);
    if (type === "image/webp") return webp(content);
  } catch (error) {
    // The file ends early: the enclave says what is wrong with it.
    if (!(error instanceof RangeError)) throw error;
  }
  return { orientation: 1, parts: [content] };
}

/** The orientation in an EXIF block, with or without its prefix; 1 if it says none. */
export function readOrientation(exif: Uint8Array): number {
  const tiff = ascii(exif, 0, 6) === EXIF ? exif.subarray(6) : exif;
  const order = ascii(tiff, 0, 4);
  if (order !== "II*\0" && order !== "MM\0*") return 1;
  const little = order === "II*\0";
  const view = viewOf(tiff);
  try {
    const start = view.getUint32(4, little);
    const entries = Math.min(view.getUint16(start, little), MAX_ENTRIES);
    for (let index = 0; index < entries; index++) {
      const at = start + 2 + 12 * index;
      const kind = view.getUint16(at + 2, little);
      const value = view.getUint16(at + 8, little);
      view.getUint16(at + 10, little); // the entry must be whole
      if (view.getUint16(at, little) !== 0x0112) continue;
      return kind === 3 && value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return 1;
}

/** Where the corners of a stored photo go, as the matrix of a canvas for a photo of size 1 × 1. */
export const TURNS: readonly (readonly [number, number, number, number, number, number])[] = [
  [1, 0, 0, 1, 0, 0],
  [-1, 0, 0, 1, 1, 0],
  [-1, 0, 0, -1, 1, 1],
  [1, 0, 0, -1, 0, 1],
  [0, 1, 1, 0, 0, 0],
  [0, 1, -1, 0, 1, 0],
  [0, -1, -1, 0, 1, 1],
  [0, -1, 1, 0, 0, 1],
];

/** Segments up to the first scan; the first EXIF block counts, and all are taken out. */
function jpeg(content: Bytes): Unturned {
  const view = viewOf(content);
  const parts: BlobPart[] = [];
  let kept = 0;
  let at = 2;
  let exif: Uint8Array | null = null;
  let stray = MAX_STRAY_BYTES;
  for (let segment = 0; segment < MAX_SEGMENTS; segment++) {
    // Step to the next marker over fill bytes and stray bytes, as decoders do.
    const from = at;
    while (view.getUint8(at) !== 0xff) at++;
    while (view.getUint8(at) === 0xff) at++;
    stray -= at - from - 1;
    if (stray < 0) break;
    const marker = view.getUint8(at++);
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd7)) continue;
    if (marker === 0xda || marker === 0xd9) break;
    const end = at + view.getUint16(at);
    if (marker === 0xe1 && ascii(content, at + 2, at + 8) === EXIF) {
      exif ??= content.subarray(at + 2, end);
      parts.push(content.subarray(kept, at - 2));
      kept = end;
    }
    at = end;
  }
  parts.push(content.subarray(kept));
  return { orientation: exif ? readOrientation(exif) : 1, parts };
}

/** The first eXIf chunk with a right checksum counts, and all are taken out. */
function png(content: Bytes): Unturned {
  const view = viewOf(content);
  const parts: BlobPart[] = [];
  let kept = 0;
  let exif: Uint8Array | null = null;
  for (let at = 8, chunk = 0; at + 12 <= content.length && chunk <= MAX_CHUNKS; chunk++) {
    const end = at + 12 + view.getUint32(at);
    const kind = ascii(content, at + 4, at + 8);
    if (kind === "IEND") break;
    if (kind === "eXIf" && end <= content.length) {
      const checked = content.subarray(at + 4, end - 4);
      if (crc32(checked) === view.getUint32(end - 4)) {
        exif ??= checked.subarray(4, 4 + MAX_EXIF_BYTES);
      }
      parts.push(content.subarray(kept, at));
      kept = end;
    }
    at = end;
  }
  parts.push(content.subarray(kept));
  return { orientation: exif ? readOrientation(exif) : 1, parts };
}

/** The first EXIF chunk of an extended file counts, and all get another name. */
function webp(content: Bytes): Unturned {
  const view = viewOf(content);
  if (ascii(content, 12, 16) !== "VP8X") return { orientation: 1, parts: [content] };
  const length = Math.min(content.length, 8 + view.getUint32(4, true));
  const copy = content.slice();
  let exif: Uint8Array | null = null;
  for (let at = 12, chunk = 0; at + 8 <= length && chunk < MAX_CHUNKS; chunk++) {
    const size = view.getUint32(at + 4, true);
    if (at + 8 + size > length) break;
    if (ascii(content, at, at + 4) === "EXIF") {
      exif ??= content.subarray(at + 8, at + 8 + Math.min(size, MAX_EXIF_BYTES));
      copy.set([0x78, 0x78, 0x78, 0x78], at);
    }
    at += 8 + size + (size % 2);
  }
  return { orientation: exif ? readOrientation(exif) : 1, parts: [copy] };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function ascii(bytes: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...bytes.subarray(from, to));
}
