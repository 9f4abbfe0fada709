"""Receiving bodies from strangers: how much, how slowly, and in whose memory."""

from __future__ import annotations

from gateway.http.byte_semaphore import ByteBudget
from gateway.http.request_body import ClientGone, IncomingBody, UploadLimits

__all__ = ["ByteBudget", "ClientGone", "IncomingBody", "UploadLimits"]
