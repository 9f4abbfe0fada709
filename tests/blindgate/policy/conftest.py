"""The dev KMS, on which every attack is tried."""

from __future__ import annotations

from tests.kms_fixtures import dev_root, enclaves, kms, kms_certificates

__all__ = ["dev_root", "enclaves", "kms", "kms_certificates"]
