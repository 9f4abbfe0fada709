/** The published vectors, shared by every implementation. */

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the checkout. */
export function checkout(): string {
  let at = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(at, "tests", "vectors"))) at = dirname(at);
  return at;
}

// The vectors are the specification of their own shape.
export function vectors(name: string): any {
  return JSON.parse(readFileSync(join(checkout(), "tests", "vectors", `${name}.json`), "utf8"));
}

/** SHA-256 of the certificate in a PEM file. */
export async function fingerprintOf(pem: string): Promise<string> {
  const der = Buffer.from(pem.replace(/-----[^-]+-----/g, ""), "base64");
  return Buffer.from(await crypto.subtle.digest("SHA-256", der)).toString("hex");
}
