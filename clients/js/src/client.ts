/** `BlindgateClient`: photos in, detections out; and `sealedFetch`, with fetch's signature. */

import type { Trust } from "./attestation.js";
import type { Fields } from "./bhttp.js";
import { AnswerRejected, NotSealed, ProblemError } from "./errors.js";
import { Session, problemOf, type Answer, type Outer, type VerifiedEnclave } from "./session.js";

/** What travels outside the seal, because the gateway is who reads it. */
const OUTER = new Set([
  "authorization",
  "request-timeout",
  "traceparent",
  "tracestate",
  "x-api-key",
]);
const DROPPED = new Set([
  "host",
  "content-length",
  "accept-encoding",
  "connection",
  "keep-alive",
  "te",
  "date",
  "transfer-encoding",
  "upgrade",
  "expect",
  "user-agent",
]);

export interface ClientOptions {
  /** The gateway's origin, such as `https://gateway.example`. */
  readonly gateway: string | URL;
  /** Which enclaves to believe. There is no default and no way around it. */
  readonly trust: Trust;
  /** What carries the sealed bytes; the global `fetch` if left out. */
  readonly fetch?: typeof fetch;
  /** Headers for the gateway, such as `authorization`; they travel outside the seal. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds since the epoch; the clock if left out. */
  readonly now?: () => number;
}

export interface DetectOptions {
  readonly minScore?: number;
  readonly maxDetections?: number;
  readonly classes?: readonly string[];
  readonly tiles?: number;
  readonly signal?: AbortSignal;
}

export interface Detection {
  readonly label: string;
  readonly class_id: number;
  readonly score: number;
  readonly box: {
    readonly x_min: number;
    readonly y_min: number;
    readonly x_max: number;
    readonly y_max: number;
  };
}

export interface Detections {
  readonly model: { readonly name: string; readonly version: string };
  readonly image: { readonly width: number; readonly height: number };
  readonly detections: readonly Detection[];
}

export class BlindgateClient {
  private readonly gateway: URL;
  private readonly session: Session;
  private readonly outerHeaders: Fields;

  constructor(options: ClientOptions) {
    this.gateway = new URL(options.gateway);
    const { protocol, pathname, search, username, hash } = this.gateway;
    if (!/^https?:$/.test(protocol) || pathname !== "/" || search || username || hash) {
      throw new TypeError("a gateway is named by scheme, host and port alone (RFC 9540)");
    }
    this.outerHeaders = Object.entries(options.headers ?? {});
    this.session = new Session({
      gateway: this.gateway,
      trust: options.trust,
      // Looked up late, so that a page may replace it, and called without a receiver.
      fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
      now: options.now ?? Date.now,
    });
  }

  /** The enclave that was verified last, or null. */
  get enclave(): VerifiedEnclave | null {
    return this.session.enclave;
  }

  /** Verify the enclave now. Throws VerificationFailed if it is not one that we trust. */
  async verify(): Promise<VerifiedEnclave> {
    return this.session.verified(this.session.enclave, { headers: this.outerHeaders });
  }

  /** As the global `fetch`, but sealed. Header `blindgate-sealed` says who answered. */
  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init);
    const url = new URL(request.url);
    if (url.origin !== this.gateway.origin) {
      throw new NotSealed(`${url.origin} is not the gateway; nothing was sent`);
    }
    const pairs = [...request.headers];
    const outer: Outer = {
      headers: [...this.outerHeaders, ...pairs.filter(([name]) => OUTER.has(name))],
      credentials: request.credentials,
      signal: request.signal,
    };
    const inner = {
      method: request.method,
      url,
      headers: pairs.filter(([name]) => !OUTER.has(name) && !DROPPED.has(name)),
      content: new Uint8Array(await request.arrayBuffer()),
    };
    return asResponse(await this.exchange(inner, outer));
  };

  /** Find objects in one photo: an image, or an encrypted file. */
  async detect(
    photo: Blob | ArrayBuffer | Uint8Array,
    options: DetectOptions = {},
  ): Promise<Detections> {
    const content = new Uint8Array(photo instanceof Blob ? await photo.arrayBuffer() : photo);
    const url = new URL("/v1/detections", this.gateway);
    const query: [string, number | string | undefined][] = [
      ["min_score", options.minScore],
      ["max_detections", options.maxDetections],
      ["classes", options.classes?.map((label) => label.trim()).join(",")],
      ["tiles", options.tiles],
    ];
    for (const [name, value] of query) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const answer = await this.exchange(
      {
        method: "POST",
        url,
        headers: [
          ["accept", "application/json"],
          ["content-type", mediaType(content)],
        ],
        content,
      },
      { headers: this.outerHeaders, ...(options.signal ? { signal: options.signal } : {}) },
    );
    if (answer.status >= 400) throw problemOf(answer);
    if (!answer.sealed || answer.status !== 200) {
      throw new AnswerRejected(`the answer has the unexpected status ${answer.status}`);
    }
    return JSON.parse(new TextDecoder().decode(answer.content)) as Detections;
  }

  private async exchange(inner: Parameters<Session["exchange"]>[0], outer: Outer): Promise<Answer> {
    try {
      return await this.session.exchange(inner, outer);
    } catch (error) {
      // A gateway that has no enclave to verify answers like any service that is away.
      if (!(error instanceof ProblemError)) throw error;
      const headers: [string, string][] = [["content-type", "application/problem+json"]];
      if (error.retryAfter !== null) headers.push(["retry-after", String(error.retryAfter)]);
      const content = new TextEncoder().encode(JSON.stringify(error.members));
      return { status: error.status, headers, content, sealed: false };
    }
  }
}

/** A function with fetch's signature that seals every request to one gateway. */
export function sealedFetch(options: ClientOptions): typeof fetch {
  return new BlindgateClient(options).fetch;
}

/** The type by the first bytes; an envelope and anything else are octets. */
export function mediaType(content: Uint8Array): string {
  const start = String.fromCharCode(...content.subarray(0, 12));
  if (start.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (start.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (start.startsWith("RIFF") && start.slice(8, 12) === "WEBP") return "image/webp";
  return "application/octet-stream";
}

function asResponse(answer: Answer): Response {
  const headers = new Headers(answer.headers.map(([name, value]) => [name, value]));
  headers.set("blindgate-sealed", String(answer.sealed));
  const empty = [204, 205, 304].includes(answer.status);
  const body = empty ? null : (answer.content as Uint8Array<ArrayBuffer>);
  return new Response(body, { status: answer.status, headers });
}
