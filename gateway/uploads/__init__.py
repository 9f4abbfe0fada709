"""Receiving bodies from strangers: how much, how slowly, and in whose memory."""

from __future__ import annotations

from gateway.uploads.budget import ByteBudget
from gateway.uploads.direct import ChunkStore, ClientGone
from gateway.uploads.receiving import IncomingBody, UploadLimits

__all__ = ["ByteBudget", "ChunkStore", "ClientGone", "IncomingBody", "UploadLimits"]
