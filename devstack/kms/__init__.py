"""A key management service that refuses what AWS KMS refuses.

It speaks KMS's JSON protocol over TLS, so `aws kms`, boto3 and the AWS Encryption SDK talk to
it unchanged. It checks signatures, evaluates key policies and grants, and verifies attestation
documents down to the root certificate. `README.md` beside this file says what it does not do.
"""
