"""Envelope formats: an image under a data key, and the data key under a KMS key.

Shared by the client, who writes them, and the enclave, which recognises and opens them.
"""
