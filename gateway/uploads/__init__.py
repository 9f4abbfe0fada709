"""Receiving bodies from strangers: how much, how slowly, and in whose memory."""

from __future__ import annotations

from gateway.uploads.budget import ByteBudget
from gateway.uploads.receiving import ClientGone, IncomingBody, UploadLimits

__all__ = ["ByteBudget", "ClientGone", "IncomingBody", "UploadLimits"]
