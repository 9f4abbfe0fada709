/** Verify a Blindgate enclave, seal to it, and read the answer that only you can open. */

export {
  AWS_NITRO_ROOT,
  decodeUserData,
  pcrSetFromJson,
  verifyAttestation,
  type Attestation,
  type PcrSet,
  type Trust,
  type UserData,
} from "./attestation.js";
export {
  BlindgateClient,
  sealedFetch,
  type ClientOptions,
  type DetectOptions,
  type Detection,
  type Detections,
} from "./client.js";
export {
  AnswerRejected,
  AttestationError,
  BinaryHttpError,
  BlindgateError,
  KeyConfigError,
  NotSealed,
  OpenRejected,
  ProblemError,
  VerificationFailed,
  type Fault,
} from "./errors.js";
export type { VerifiedEnclave } from "./session.js";
