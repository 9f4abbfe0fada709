"""How the supervisor finds out that a program does its work."""

from __future__ import annotations

import asyncio
import contextlib

import httpx

from devstack.supervisor import Check


def unix_socket(path: str) -> Check:
    """Somebody accepts connections at a Unix socket."""

    async def check() -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_unix_connection(path)
            writer.close()
            await writer.wait_closed()
            return True
        return False

    return check


def tcp_port(port: int) -> Check:
    """Somebody accepts connections at a port of 127.0.0.1."""

    async def check() -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return True
        return False

    return check


def http_ok(url: str) -> Check:
    """A URL answers 200."""

    async def check() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            with contextlib.suppress(httpx.TransportError):
                return (await client.get(url, timeout=5)).status_code == 200
        return False

    return check
