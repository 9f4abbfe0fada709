"""A stand-in for the Nitro Secure Module, under a root of our own.

Its documents have the shape of AWS's, and it refuses what an NSM refuses. What it cannot have is
AWS's key: no production verifier accepts its root.
"""

from __future__ import annotations

from devstack.nsm.protocol import DevNsm
from devstack.nsm.root import DevRoot
from devstack.nsm.server import NsmServer, serve

__all__ = ["DevNsm", "DevRoot", "NsmServer", "serve"]
