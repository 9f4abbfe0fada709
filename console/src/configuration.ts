/** What the page was told: which gateway, which root, which images. */

import { AWS_NITRO_ROOT, pcrSetFromJson, type PcrSet, type Trust } from "@client/attestation.js";

/** One image that is accepted, under the name that people know it by. */
export interface Image {
  readonly name: string;
  readonly pcrs: PcrSet;
}

export interface Configuration {
  /** The gateway's origin. */
  readonly gateway: string;
  /** Whether this page is a file of its own, not served by the gateway. */
  readonly standalone: boolean;
  readonly root: { readonly name: string; readonly sha256: string };
  readonly images: readonly Image[];
  readonly allowDebug: boolean;
  /** Bytes of a request that the gateway takes. */
  readonly maxBody: number;
}

/** The page was told nothing, or nothing that it can use. */
export class NotConfigured extends Error {}

const SERVED = "/console/config.json";

/** Read what is in the page, or else what the gateway that serves it says. */
export async function configuration(): Promise<Configuration> {
  const inPage = document.getElementById("configuration")?.textContent;
  return inPage ? read(JSON.parse(inPage), true) : read(await served(), false);
}

export function trustOf({ root, images, allowDebug }: Configuration): Trust {
  return { root: root.sha256, pcrSets: images.map(({ pcrs }) => pcrs), allowDebug };
}

/** Anything but AWS's root is for development, whatever the configuration calls it. */
export function isDevelopment({ root }: Configuration): boolean {
  return root.sha256 !== AWS_NITRO_ROOT;
}

async function served(): Promise<unknown> {
  const response = await fetch(SERVED, { cache: "no-store", redirect: "error" });
  if (!response.ok) throw new NotConfigured(`the gateway answered ${response.status}`);
  return response.json();
}

function read(json: unknown, standalone: boolean): Configuration {
  const refuse = (what: string): never => {
    throw new NotConfigured(`the configuration has no usable ${what}`);
  };
  const { gateway, root, images, allow_debug: debug, max_body: max } = record(json);
  const { name, sha256 } = record(root);
  if (typeof name !== "string" || typeof sha256 !== "string") return refuse("root");
  if (!/^[0-9a-f]{64}$/.test(sha256)) return refuse("root");
  if (!Array.isArray(images) || images.length === 0) return refuse("measurements");
  if (standalone && typeof gateway !== "string") return refuse("gateway");
  return {
    gateway: typeof gateway === "string" ? gateway : location.origin,
    standalone,
    root: { name, sha256 },
    images: images.map((each) => {
      const { name: of, measurements } = record(each);
      const pcrs = pcrSet(measurements);
      if (!pcrs || (debug !== true && measuresNothing(pcrs))) return refuse("measurements");
      return { name: String(of), pcrs };
    }),
    allowDebug: debug === true,
    maxBody: typeof max === "number" ? max : refuse("size limit"),
  };
}

function pcrSet(measurements: unknown): PcrSet | null {
  try {
    return pcrSetFromJson(measurements);
  } catch {
    return null;
  }
}

/** Zeros are what every debug-mode enclave measures. */
function measuresNothing(pcrs: PcrSet): boolean {
  return [0, 1, 2].some((index) => /^0+$/.test(pcrs[index] ?? ""));
}

function record(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" ? (value as Record<string, unknown>) : {};
}
