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

/** The service answered with a problem (RFC 9457). */
export class ProblemError extends BlindgateError {
  readonly type: string;
  readonly title: string;
  readonly detail: string;

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
    super(`${title} (${status})${detail ? `: ${detail}` : ""}`);
    this.type = text("type", "about:blank");
    this.title = title;
    this.detail = detail;
  }
}
