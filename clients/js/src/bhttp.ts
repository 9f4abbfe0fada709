/** Binary HTTP messages (RFC 9292): written in the known-length form, read in that form. */

import { concat, fromLatin1, toLatin1, type Bytes } from "./bytes.js";
import { BinaryHttpError } from "./errors.js";
import { Reader, encodeVarint } from "./varint.js";

/** Names in lower case and values, in order. */
export type Fields = ReadonlyArray<readonly [string, string]>;

export interface BinaryRequest {
  readonly method: string;
  readonly scheme: string;
  readonly authority: string;
  readonly path: string;
  readonly headers: Fields;
  readonly content: Uint8Array;
  readonly trailers?: Fields;
}

export interface BinaryResponse {
  readonly status: number;
  readonly headers: Fields;
  readonly content: Uint8Array;
  readonly trailers: Fields;
  readonly informational: ReadonlyArray<readonly [number, Fields]>;
}

/** What a decoder takes before it refuses; the same as in the other implementations. */
export const LIMITS = {
  content: 32 * 1024 * 1024,
  target: 8 * 1024,
  section: 16 * 1024,
  lines: 64,
  informational: 4,
} as const;

const REQUEST = 0;
const RESPONSE = 1;
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*$/;
const VISIBLE = /^[\x21-\x7e\x80-\xff]*$/;
const BAD_VALUE = /[\0\r\n]|^[ \t]|[ \t]$/;
const CONNECTION = new Set([
  "connection",
  "proxy-connection",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
]);

export function encodeRequest(request: BinaryRequest, paddedTo = 0): Bytes {
  checkTarget(request.method, request.scheme, request.authority, request.path);
  const control = [request.method, request.scheme, request.authority, request.path];
  return assemble(
    REQUEST,
    control.map((part) => prefixed(latin1(part))),
    request.headers,
    request.content,
    request.trailers ?? [],
    paddedTo,
  );
}

export function encodeResponse(response: BinaryResponse, paddedTo = 0): Bytes {
  const control = response.informational.flatMap(([status, headers]) => [
    encodeVarint(status),
    section(headers),
  ]);
  control.push(encodeVarint(response.status));
  const { headers, content, trailers } = response;
  return assemble(RESPONSE, control, headers, content, trailers, paddedTo);
}

export function decodeRequest(message: Uint8Array): Required<BinaryRequest> {
  const reader = new Reader(message);
  if (reader.integer() !== REQUEST) throw new BinaryHttpError("this is no known-length request");
  const part = (): string => toLatin1(reader.prefixed(LIMITS.target));
  const [method, scheme, authority, path] = [part(), part(), part(), part()];
  checkTarget(method, scheme, authority, path);
  return { method, scheme, authority, path, ...sections(reader) };
}

export function decodeResponse(message: Uint8Array): BinaryResponse {
  const reader = new Reader(message);
  if (reader.integer() !== RESPONSE) throw new BinaryHttpError("this is no known-length response");
  const informational: [number, Fields][] = [];
  let status = reader.integer();
  while (status >= 100 && status <= 199) {
    if (informational.length === LIMITS.informational) {
      throw new BinaryHttpError("too many informational responses");
    }
    informational.push([status, readSection(reader)]);
    status = reader.integer();
  }
  if (status < 200 || status > 599) throw new BinaryHttpError("not a status code of HTTP");
  return { status, informational, ...sections(reader) };
}

function sections(reader: Reader): { headers: Fields; content: Uint8Array; trailers: Fields } {
  // Empty sections at the end may be cut off (§3.8).
  const headers = reader.left ? readSection(reader) : [];
  const content = reader.left ? reader.prefixed(LIMITS.content) : new Uint8Array();
  const trailers = reader.left ? readSection(reader) : [];
  if (reader.rest().some((byte) => byte !== 0)) {
    throw new BinaryHttpError("the padding is not zero");
  }
  checkLength(headers, content);
  return { headers, content, trailers };
}

function readSection(outer: Reader): Fields {
  const reader = new Reader(outer.prefixed(LIMITS.section));
  const lines: [string, string][] = [];
  while (reader.left) {
    if (lines.length === LIMITS.lines) throw new BinaryHttpError("too many field lines");
    const name = toLatin1(reader.prefixed(LIMITS.section));
    const value = toLatin1(reader.prefixed(LIMITS.section));
    checkField(name, value);
    lines.push([name, value]);
  }
  return lines;
}

function assemble(
  framing: number,
  control: Uint8Array[],
  headers: Fields,
  content: Uint8Array,
  trailers: Fields,
  paddedTo: number,
): Bytes {
  checkLength(headers, content);
  const parts = [
    encodeVarint(framing),
    ...control,
    section(headers),
    encodeVarint(content.length),
    content,
    section(trailers),
  ];
  const size = parts.reduce((length, part) => length + part.length, 0);
  return concat(...parts, new Uint8Array(Math.max(0, paddedTo - size)));
}

function section(fields: Fields): Bytes {
  const lines = fields.map(([name, value]) => {
    const lower = name.toLowerCase();
    checkField(lower, value);
    return concat(prefixed(latin1(lower)), prefixed(latin1(value)));
  });
  return prefixed(concat(...lines));
}

function prefixed(part: Uint8Array): Bytes {
  return concat(encodeVarint(part.length), part);
}

function latin1(text: string): Bytes {
  const bytes = fromLatin1(text);
  if (bytes === null) throw new BinaryHttpError("a character outside Latin-1");
  return bytes;
}

function checkField(name: string, value: string): void {
  if (!NAME.test(name)) throw new BinaryHttpError("a field name is not a lower-case token");
  if (CONNECTION.has(name) || (name === "te" && value !== "trailers")) {
    throw new BinaryHttpError("a field speaks about a connection");
  }
  if (BAD_VALUE.test(value)) throw new BinaryHttpError("a field value holds a bad character");
}

function checkLength(headers: Fields, content: Uint8Array): void {
  for (const [name, value] of headers) {
    if (name.toLowerCase() === "content-length" && value !== String(content.length)) {
      throw new BinaryHttpError("Content-Length is not the length of the content");
    }
  }
}

function checkTarget(method: string, scheme: string, authority: string, path: string): void {
  if (!METHOD.test(method) || method === "CONNECT") {
    throw new BinaryHttpError("the method is not one that can be sealed");
  }
  if (!SCHEME.test(scheme) || !VISIBLE.test(authority)) {
    throw new BinaryHttpError("the scheme or the authority is not valid");
  }
  if (!VISIBLE.test(path) || !(path.startsWith("/") || path === "*")) {
    throw new BinaryHttpError("the path is not valid");
  }
}
