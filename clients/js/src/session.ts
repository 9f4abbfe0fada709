/** The client's order of checks, of docs/protocol.md §3: verify, seal, send, open. */

import {
  decodeUserData,
  verifyAttestation,
  type Attestation,
  type Trust,
  type UserData,
} from "./attestation.js";
import { decodeResponse, encodeRequest, type Fields } from "./bhttp.js";
import { equal, sha256, toBase64Url, type Bytes } from "./bytes.js";
import {
  AnswerRejected,
  AttestationError,
  BinaryHttpError,
  KeyConfigError,
  OpenRejected,
  ProblemError,
  VerificationFailed,
} from "./errors.js";
import { KEYS_TYPE, chooseKey, decodeKeys, type KeyConfig, type Symmetric } from "./keys.js";
import { REQUEST_TYPE, RESPONSE_TYPE, sealRequest } from "./ohttp.js";
import { LARGEST_ANSWER, requestSize } from "./padding.js";

export const GATEWAY_PATH = "/.well-known/ohttp-gateway";
export const ATTESTATION_PATH = "/v1/attestation";
const ATTESTATION_TYPE = "application/cose";
const OHTTP_KEY = "https://iana.org/assignments/http-problem-types#ohttp-key";
const OHTTP_REJECTED = "urn:blindgate:problem:ohttp-rejected";
const DATE = "https://iana.org/assignments/http-problem-types#date";
/** Verify anew after this long. */
const VERIFY_AGAIN_MS = 3_600_000;
const MAX_REPLY = LARGEST_ANSWER + 64;

/** An enclave that was verified, and the key to seal to. */
export interface VerifiedEnclave {
  readonly config: KeyConfig;
  readonly symmetric: Symmetric;
  readonly attestation: Attestation;
  readonly userData: UserData;
  readonly verifiedAt: number;
}

/** One answer: of the enclave, or a problem of the gateway outside the seal. */
export interface Answer {
  readonly status: number;
  readonly headers: Fields;
  readonly content: Uint8Array;
  readonly sealed: boolean;
}

/** What is sealed. */
export interface Inner {
  readonly method: string;
  readonly url: URL;
  readonly headers: Fields;
  readonly content: Uint8Array;
}

/** What the gateway sees beside the sealed bytes. */
export interface Outer {
  readonly headers: Fields;
  readonly credentials?: RequestCredentials;
  readonly signal?: AbortSignal;
}

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly headers: Headers;
  readonly content: Bytes;
}

export interface SessionOptions {
  readonly gateway: URL;
  readonly trust: Trust;
  readonly fetch: typeof fetch;
  readonly now: () => number;
}

export class Session {
  enclave: VerifiedEnclave | null = null;
  private pending: SharedWork<VerifiedEnclave> | null = null;
  /** What to add to our clock for a request's Date; only the enclave may set it. */
  private clockOffset = 0;

  constructor(private readonly options: SessionOptions) {}

  /** The verified enclave; verified anew if there is none, or only `stale`. */
  async verified(stale: VerifiedEnclave | null, outer: Outer): Promise<VerifiedEnclave> {
    const { enclave } = this;
    if (enclave && enclave !== stale && this.options.now() - enclave.verifiedAt < VERIFY_AGAIN_MS) {
      return enclave;
    }
    // Many requests that find a stale key verify once, not each.
    this.pending ??= this.sharedVerification(outer);
    return this.pending.join(outer.signal);
  }

  private sharedVerification(outer: Outer): SharedWork<VerifiedEnclave> {
    const shared = new SharedWork<VerifiedEnclave>(
      (signal) => this.verify({ ...outer, signal }),
      () => {
        if (this.pending === shared) this.pending = null;
      },
    );
    return shared;
  }

  /** Seal one request, send it, open its answer. */
  async exchange(inner: Inner, outer: Outer): Promise<Answer> {
    let stale: VerifiedEnclave | null = null;
    let rejected: Reply | null = null;
    let adjusted = false;
    for (;;) {
      const enclave: VerifiedEnclave = await this.verified(stale, outer);
      if (rejected && stale && sameKey(enclave.config, stale.config)) return outside(rejected);
      const sealed = await sealRequest(enclave.config, enclave.symmetric, this.message(inner));
      const reply = await this.send("POST", GATEWAY_PATH, outer, RESPONSE_TYPE, sealed.encapsulated);
      if (reply.status === 200 && reply.type === RESPONSE_TYPE) {
        const answer = await open(sealed.open, reply.content);
        if (adjusted || answer.status !== 400 || problemType(answer.content) !== DATE) return answer;
        const theirs = Date.parse(answer.headers.find(([name]) => name === "date")?.[1] ?? "");
        if (Number.isNaN(theirs)) return answer;
        this.clockOffset = theirs - this.options.now();
        adjusted = true;
      } else if (reply.status < 400) {
        throw new AnswerRejected(`status ${reply.status} and no sealed answer`);
      } else if (!stale && isProblem(OHTTP_KEY, reply)) {
        stale = enclave;
      } else if (!stale && isProblem(OHTTP_REJECTED, reply)) {
        // There are 256 key ids: the key of an enclave that came since may have ours.
        stale = enclave;
        rejected = reply;
      } else {
        return outside(reply);
      }
    }
  }

  private message(inner: Inner): Bytes {
    const { url } = inner;
    const date = new Date(this.options.now() + this.clockOffset).toUTCString();
    const request = {
      method: inner.method,
      scheme: url.protocol.slice(0, -1),
      authority: url.host,
      path: url.pathname + url.search,
      headers: [...inner.headers, ["date", date]] as Fields,
      content: inner.content,
    };
    const plain = encodeRequest(request);
    const padded = new Uint8Array(requestSize(plain.length));
    padded.set(plain);
    return padded;
  }

  private async verify(outer: Outer): Promise<VerifiedEnclave> {
    this.enclave = null;
    // Keys may rotate, or another enclave may answer, between the two requests: once more.
    for (const last of [false, true]) {
      const keys = expect(await this.send("GET", GATEWAY_PATH, outer, KEYS_TYPE), KEYS_TYPE);
      const [config, symmetric] = chosen(keys);
      const nonce = crypto.getRandomValues(new Uint8Array(32));
      const path = `${ATTESTATION_PATH}?nonce=${toBase64Url(nonce)}&key_id=${config.keyId}`;
      const reply = await this.send("GET", path, outer, ATTESTATION_TYPE);
      if (!last && isProblem(OHTTP_KEY, reply)) continue;
      const document = expect(reply, ATTESTATION_TYPE);
      const enclave = await this.check(document, nonce, config, symmetric);
      if (equal(enclave.userData.keys, await sha256(keys))) {
        this.enclave = enclave;
        return enclave;
      }
    }
    throw new VerificationFailed("the enclave does not vouch for the keys that the gateway gave");
  }

  private async check(
    document: Uint8Array,
    nonce: Uint8Array,
    config: KeyConfig,
    symmetric: Symmetric,
  ): Promise<VerifiedEnclave> {
    const { trust } = this.options;
    const now = this.options.now();
    try {
      const attestation = await verifyAttestation(document, { trust, nonce, now });
      const userData = decodeUserData(attestation.userData);
      return { config, symmetric, attestation, userData, verifiedAt: now };
    } catch (error) {
      if (!(error instanceof AttestationError)) throw error;
      throw new VerificationFailed(error.message, { cause: error });
    }
  }

  private async send(
    method: string,
    path: string,
    outer: Outer,
    accept: string,
    body?: Bytes,
  ): Promise<Reply> {
    const headers = new Headers(outer.headers.map(([name, value]) => [name, value]));
    headers.set("accept", accept);
    if (body) headers.set("content-type", REQUEST_TYPE);
    const response = await this.options.fetch(new URL(path, this.options.gateway), {
      method,
      headers,
      // A gateway that redirects would have the browser send the bytes elsewhere.
      redirect: "manual",
      cache: "no-store",
      ...(body ? { body } : {}),
      ...(outer.credentials ? { credentials: outer.credentials } : {}),
      ...(outer.signal ? { signal: outer.signal } : {}),
    });
    const type = (response.headers.get("content-type") ?? "").split(";")[0]!.trim().toLowerCase();
    return {
      status: response.type === "opaqueredirect" ? 307 : response.status,
      type,
      headers: response.headers,
      content: await readBounded(response),
    };
  }
}

/**
 * Work that several callers wait for, each with a signal of its own. A signal that is aborted rejects
 * its own caller only; the work itself is aborted when nobody waits for it any more.
 */
class SharedWork<T> {
  private readonly controller = new AbortController();
  private readonly result: Promise<T>;
  private waiting = 0;

  /**
   * @param start Starts the work.
   * @param over Called when it has ended, or nobody waits for it: later callers start anew.
   */
  constructor(
    start: (signal: AbortSignal) => Promise<T>,
    private readonly over: () => void,
  ) {
    this.result = start(this.controller.signal).finally(over);
    this.result.catch(() => {}); // each caller gets it through `join`
  }

  async join(signal?: AbortSignal): Promise<T> {
    this.waiting += 1;
    try {
      return await (signal ? abortable(this.result, signal) : this.result);
    } finally {
      this.waiting -= 1;
      if (this.waiting === 0) {
        this.over();
        this.controller.abort();
      }
    }
  }
}

/** The result, or the signal's reason if that comes first. */
async function abortable<T>(result: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let abort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", abort);
  });
  try {
    return await Promise.race([result, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

async function open(
  opener: (answer: Uint8Array) => Promise<Uint8Array>,
  content: Uint8Array,
): Promise<Answer> {
  try {
    const response = decodeResponse(await opener(content));
    const { status, headers } = response;
    return { status, headers, content: new Uint8Array(response.content), sealed: true };
  } catch (error) {
    if (error instanceof OpenRejected || error instanceof BinaryHttpError) {
      throw new AnswerRejected("the answer was not sealed for this request");
    }
    throw error;
  }
}

function chosen(body: Uint8Array): [KeyConfig, Symmetric] {
  try {
    return chooseKey(decodeKeys(body));
  } catch (error) {
    if (!(error instanceof KeyConfigError)) throw error;
    throw new VerificationFailed(`the key configurations: ${error.message}`, { cause: error });
  }
}

function expect(reply: Reply, type: string): Bytes {
  if (reply.status >= 400) throw problemOf(outside(reply));
  if (reply.status !== 200 || reply.type !== type) {
    throw new VerificationFailed(`the gateway answered ${reply.status}, not with ${type}`);
  }
  return reply.content;
}

/** A problem of the gateway, with no more of its fields than a caller may need. */
function outside(reply: Reply): Answer {
  const headers: [string, string][] = [];
  for (const name of ["content-type", "retry-after", "www-authenticate"]) {
    const value = reply.headers.get(name);
    if (value !== null) headers.push([name, value]);
  }
  return { status: reply.status, headers, content: reply.content, sealed: false };
}

/** An answer of status 400 or more as an error. */
export function problemOf(answer: Answer): ProblemError {
  const retry = answer.headers.find(([name]) => name === "retry-after")?.[1];
  const seconds = retry !== undefined && /^\d+$/.test(retry) ? Number(retry) : null;
  return new ProblemError(answer.status, members(answer.content), answer.sealed, seconds);
}

function isProblem(type: string, reply: Reply): boolean {
  return reply.status === 400 && problemType(reply.content) === type;
}

function sameKey(one: KeyConfig, other: KeyConfig): boolean {
  return one.keyId === other.keyId && equal(one.publicKey, other.publicKey);
}

function problemType(content: Uint8Array): unknown {
  return members(content)["type"];
}

function members(content: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(content));
    return value !== null && typeof value === "object" ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

async function readBounded(response: Response): Promise<Bytes> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = response.body?.getReader();
  if (!reader) return new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > MAX_REPLY) {
      await reader.cancel();
      throw new AnswerRejected("the gateway's answer is larger than any can be");
    }
    chunks.push(value);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
