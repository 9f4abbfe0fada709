"""`/docs`: the API to read and to try, without a request to anywhere else.

Swagger UI's files come from the package `fastapi-offline`, where FastAPI's own page would load
them from a CDN; and the page runs no inline script, so that its policy can forbid them.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Depends, Response

from gateway.auth.guard import PUBLIC

router = APIRouter(include_in_schema=False, dependencies=[Depends(PUBLIC.check)])

# Swagger UI sets style attributes, hence 'unsafe-inline' for styles and only for them.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Blindgate: API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/icon.png">
</head>
<body>
<div id="api"></div>
<noscript>This page needs JavaScript; the API's description is at <a href="/openapi.json">
/openapi.json</a>.</noscript>
<script src="/docs/swagger-ui.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START: Final = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
_VENDORED: Final = {
    "swagger-ui.js": ("swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": ("swagger-ui.css", "text/css"),
    "icon.png": ("favicon.png", "image/png"),
}


@router.get("/docs")
async def show_docs() -> Response:
    """The page."""
    return Response(_PAGE, media_type="text/html", headers=_HEADERS)


@router.get("/docs/start.js")
async def start_docs() -> Response:
    """What an inline script would do."""
    return Response(_START, media_type="text/javascript", headers=_HEADERS)


def _serve(name: str, file: str, media_type: str) -> None:
    content = files("fastapi_offline").joinpath("static", file).read_bytes()
    headers = {**_HEADERS, "cache-control": "public, max-age=3600"}

    async def vendored() -> Response:
        return Response(content, media_type=media_type, headers=headers)

    router.add_api_route(f"/docs/{name}", vendored, include_in_schema=False)


for _name, (_file, _media_type) in _VENDORED.items():
    _serve(_name, _file, _media_type)
