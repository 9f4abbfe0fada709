/** Writes down what leaves this page, as the gateway gets it. */

/** The network did not carry a request, as opposed to a fault in this page. */
export class Unreachable extends Error {}

export type Kind = "keys" | "attestation" | "sealed";

export interface Exchange {
  readonly kind: Kind;
  readonly line: string;
  /** Bytes of the request's body. */
  readonly sent: number;
  status: number | null;
  /** Bytes of the answer's body, if the answer says how many. */
  received: number | null;
}

/** The largest attestation document; more is not looked at. */
const MAX_DOCUMENT = 16 * 1024;

export class Traffic {
  readonly exchanges: Exchange[] = [];
  /** The attestation document that came last, whoever wrote it. */
  document: Uint8Array | null = null;

  constructor(private readonly changed: () => void) {}

  /** What the client calls instead of the global `fetch`. */
  readonly fetch: typeof fetch = async (input, init) => {
    const request = new URL(input instanceof Request ? input.url : input);
    const body = init?.body;
    const exchange: Exchange = {
      kind: kindOf(request.pathname, init?.method),
      line: `${init?.method ?? "GET"} ${request.pathname}`,
      sent: body instanceof Uint8Array ? body.length : 0,
      status: null,
      received: null,
    };
    this.exchanges.push(exchange);
    if (exchange.kind === "attestation") this.document = null;
    this.changed();
    const response = await globalThis.fetch(input, init).catch((error: unknown) => {
      if (error instanceof DOMException) throw error;
      throw new Unreachable(String(error));
    });
    const length = response.headers.get("content-length");
    exchange.status = response.status;
    exchange.received = length === null ? null : Number(length);
    if (exchange.kind === "attestation" && response.ok && Number(length) <= MAX_DOCUMENT) {
      this.document = new Uint8Array(await response.clone().arrayBuffer());
    }
    this.changed();
    return response;
  };
}

function kindOf(path: string, method = "GET"): Kind {
  if (method === "POST") return "sealed";
  return path.startsWith("/.well-known/") ? "keys" : "attestation";
}
