/** In place of Node's `crypto`, which the HPKE library would load where there is no WebCrypto. */

export const webcrypto = undefined;
