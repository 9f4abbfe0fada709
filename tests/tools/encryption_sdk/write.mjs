// Writes messages with the AWS Encryption SDK for Node: `node write.mjs CASES MESSAGES`.
//
// CASES is JSON: {wrappingKey, cases: [{suite, frameLength, context, content}]}, bytes in base64.
// MESSAGES becomes a JSON array of the messages in base64, in the same order.
import { readFileSync, writeFileSync } from "node:fs";
import {
  AlgorithmSuiteIdentifier,
  buildEncrypt,
  CommitmentPolicy,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} from "@aws-crypto/client-node";

const [given, written] = process.argv.slice(2);
const { wrappingKey, cases } = JSON.parse(readFileSync(given, "utf8"));
// The keyring wants memory that is not part of Node's buffer pool.
const unencryptedMasterKey = new Uint8Array(Buffer.from(wrappingKey, "base64"));
const keyring = new RawAesKeyringNode({
  keyName: "name",
  keyNamespace: "namespace",
  unencryptedMasterKey,
  // As in the header; without it the context that wraps the data key is sorted by locale.
  utf8Sorting: true,
  wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
});
const { encrypt } = buildEncrypt(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const messages = [];
for (const { suite, frameLength, context, content } of cases) {
  const { result } = await encrypt(keyring, Buffer.from(content, "base64"), {
    suiteId: AlgorithmSuiteIdentifier[suite],
    frameLength,
    encryptionContext: context,
  });
  messages.push(result.toString("base64"));
}
writeFileSync(written, JSON.stringify(messages));
