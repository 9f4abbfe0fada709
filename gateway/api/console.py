"""`/`: the page for people, and below `/console/` what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Depends, Request, Response

from blindgate import problems
from gateway.auth.guard import PUBLIC
from gateway.console.assets import Asset
from gateway.http.problem_responses import Refused

#: Nothing from elsewhere, nothing inline, no strings that become code.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_GUARDS: Final = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
#: The names of the files hold a hash of their content.
_FOR_EVER: Final = "public, max-age=31536000, immutable"

_NOT_BUILT: Final = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Blindgate</title>
<h1>Blindgate</h1>
<p>The gateway runs. Its page for people was not built: that takes Node 20.19 or newer and
<code>make assets</code> (or <code>blindgate dev up</code>), then a restart.</p>
<p>The API is described at <a href="/docs">/docs</a>.</p>
</html>
"""


def console_routes(assets: Mapping[str, Asset], configuration: bytes | None) -> APIRouter:
    """The routes of the page. They need no sign-in: nothing in them is a secret.

    Args:
        assets: The built files; none leave a plain page at `/`.
        configuration: What the page is told; None if this gateway verifies no enclave itself.
    """
    router = APIRouter(include_in_schema=False, dependencies=[Depends(PUBLIC.check)])

    @router.get("/")
    async def get_page(request: Request) -> Response:
        page = assets.get("index.html")
        if page is None:
            return _guarded(_NOT_BUILT, "text/html; charset=utf-8", "no-cache")
        return _file(request, page, "no-cache")

    @router.get("/console/assets/{name}")
    async def get_asset(request: Request, name: str) -> Response:
        asset = assets.get(f"assets/{name}")
        if asset is None:
            raise Refused(problems.NOT_FOUND)
        return _file(request, asset, _FOR_EVER)

    @router.get("/console/config.json")
    async def get_configuration() -> Response:
        if configuration is None:
            raise Refused(problems.NOT_FOUND)
        return _guarded(configuration, "application/json", "no-store")

    return router


def _file(request: Request, asset: Asset, cache: str) -> Response:
    if "gzip" in request.headers.get("accept-encoding", ""):
        response = _guarded(asset.compressed, asset.media_type, cache)
        response.headers["content-encoding"] = "gzip"
    else:
        response = _guarded(asset.body, asset.media_type, cache)
    response.headers["vary"] = "accept-encoding"
    return response


def _guarded(body: bytes, media_type: str, cache: str) -> Response:
    headers = {**_GUARDS, "cache-control": cache}
    return Response(body, media_type=media_type, headers=headers)
