"""KMS as the enclave uses it: attested Decrypt over its own TLS, and nothing else.

`client` asks and checks what comes back; `transport` is HTTPS through the parent; `cms` reads
what KMS encrypted for us; `recipient_keys` has the RSA keys it is encrypted to; `errors` is how
a call fails.
"""
