"""Loaded by schemathesis: how the bodies that only we have are written."""

from __future__ import annotations

import schemathesis

schemathesis.serializer.alias("message/ohttp-req", "application/octet-stream")
