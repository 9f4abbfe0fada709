/** What to tell a person when it did not work. */

import { AnswerRejected, ProblemError } from "@client/errors.js";
import { Unreachable } from "./traffic.js";
import { NotSent } from "./upload.js";
import { count } from "./words.js";

export interface Failure {
  readonly title: string;
  readonly text: string;
  /** Whether trying the very same again may help. */
  readonly again: boolean;
  /** Whether the gateway asks who is calling. */
  readonly signIn: boolean;
  /** Whether nothing went wrong: a sign-in that is asked for the first time. */
  readonly expected?: boolean;
}

/**
 * `carried`: whether sealed bytes left this page in this attempt.
 * `signedIn`: whether a key or token went along.
 */
export function failureOf(error: unknown, carried: boolean, signedIn = false): Failure {
  const unread = carried
    ? "The photo left this page only sealed; nobody but the enclave can open it."
    : "Nothing of the photo left this page.";
  if (error instanceof NotSent) {
    return { title: "Not sent.", text: error.message, again: false, signIn: false };
  }
  if (error instanceof DOMException && error.name === "AbortError") {
    return { title: "Cancelled.", text: unread, again: true, signIn: false };
  }
  if (error instanceof Unreachable) {
    const text = `Check the network, then try again. ${unread}`;
    return { title: "The gateway cannot be reached.", text, again: true, signIn: false };
  }
  if (error instanceof ProblemError) return problem(error, unread, signedIn);
  if (error instanceof AnswerRejected) {
    const text = `What came back was not sealed for this page, so it is not shown. ${unread}`;
    return { title: "The answer is refused.", text, again: true, signIn: false };
  }
  const words = error instanceof Error ? error.message : String(error);
  const text = `${words}. ${unread} Blindgate needs Chrome 133, Firefox 130 or Safari 17, or newer.`;
  return { title: "This browser could not do it.", text, again: true, signIn: false };
}

function problem(error: ProblemError, unread: string, signedIn: boolean): Failure {
  const { status, sealed, title, detail, retryAfter } = error;
  if (!sealed && status === 401) {
    return signedIn
      ? {
          title: "This key or token is not accepted.",
          text: `It may be mistyped, expired or revoked. The gateway says: ${detail || title} ${unread}`,
          again: false,
          signIn: true,
        }
      : {
          title: "Sign in to use this gateway.",
          text: `It asks for an API key or an access token. ${unread}`,
          again: false,
          signIn: true,
          expected: true,
        };
  }
  const who = sealed ? "The enclave says: " : "The gateway says: ";
  const wait = retryAfter === null ? "" : ` Wait ${count(retryAfter, "second")}.`;
  return {
    title: `${title}.`,
    text: `${who}${detail || `status ${status}`}${wait} ${unread}`,
    // Inside the seal it is about the photo, and the photo stays the same.
    again: !sealed || status >= 500,
    signIn: !sealed && (status === 401 || status === 403),
  };
}

/** An API key of Blindgate's own goes into its own field; anything else is a bearer token. */
export function credentials(text: string): Record<string, string> {
  const value = text.trim();
  if (!value) return {};
  return value.startsWith("bgk_") ? { "x-api-key": value } : { authorization: `Bearer ${value}` };
}
