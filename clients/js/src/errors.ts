/** What can go wrong; every error of this package is a `BlindgateError`. */

export class BlindgateError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The bytes are not a valid Binary HTTP message (RFC 9292 §4), or are over a limit. */
export class BinaryHttpError extends BlindgateError {}

/** The bytes are not a valid list of key configurations (RFC 9458 §3), or none is usable. */
export class KeyConfigError extends BlindgateError {}

/** An encapsulated message could not be opened. There is deliberately no reason. */
export class OpenRejected extends BlindgateError {
  constructor() {
    super("the encapsulated message could not be opened");
  }
}

/** An attestation document is refused; `rule` is the stable name of what is broken. */
export class AttestationError extends BlindgateError {
  constructor(
    readonly rule: string,
    message: string,
  ) {
    super(message);
  }
}

/** The enclave could not be verified, so nothing was sent to it. `cause` says which rule. */
export class VerificationFailed extends BlindgateError {}

/** What came back is neither an answer sealed for this request nor a problem. */
export class AnswerRejected extends BlindgateError {}

/** The request goes somewhere else than to the gateway, so it was not sent at all. */
export class NotSealed extends BlindgateError {}

/** One of the things that are wrong with a request; `invalid-request` lists them. */
export interface Fault {
  /** The name of the parameter. */
  readonly parameter?: string;
  readonly message?: string;
  readonly [member: string]: unknown;
}

/** How many faults the text of an error names. */
const MAX_LISTED = 3;

/** The service answered with a problem (RFC 9457). */
export class ProblemError extends BlindgateError {
  readonly type: string;
  readonly title: string;
  readonly detail: string;
  /** What is wrong with the request, one entry each; empty if the problem lists nothing. */
  readonly errors: readonly Fault[];
  /** The id under which the operator's logs have the request, or null. */
  readonly requestId: string | null;

  /**
   * @param status The HTTP status code.
   * @param members The whole problem object.
   * @param sealed Whether the enclave said it; outside the seal it is the gateway's word.
   * @param retryAfter Seconds to wait before trying again, if the service said so.
   */
  constructor(
    readonly status: number,
    readonly members: Readonly<Record<string, unknown>>,
    readonly sealed: boolean,
    readonly retryAfter: number | null = null,
  ) {
    const text = (name: string, otherwise: string): string =>
      typeof members[name] === "string" ? (members[name] as string) : otherwise;
    const title = text("title", `HTTP status ${status}`);
    const detail = text("detail", "");
    const listed: unknown = members["errors"];
    const errors = (Array.isArray(listed) ? listed : []).filter(isFault);
    // What `errors` says is what a general advice about it stands for.
    const said = errors.slice(0, MAX_LISTED).map(({ parameter, message }) =>
      [parameter, message].filter((part) => typeof part === "string").join(": "),
    );
    if (errors.length > MAX_LISTED) said.push(`and ${errors.length - MAX_LISTED} more`);
    const reason = said.join("; ") || detail;
    super(`${title} (${status})${reason ? `: ${reason}` : ""}`);
    this.type = text("type", "about:blank");
    this.title = title;
    this.detail = detail;
    this.errors = errors;
    this.requestId = text("request_id", "") || null;
  }
}

function isFault(value: unknown): value is Fault {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
