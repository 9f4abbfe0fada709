"""What the gateway answers at `/` and below `/console/`."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from gateway.api.console import console_routes
from gateway.console.assets import Asset, read_assets
from gateway.http import problem_responses

PAGE = b"<!doctype html><title>Blindgate</title>"


@pytest.fixture
def assets(tmp_path: Path) -> dict[str, Asset]:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_bytes(PAGE)
    (tmp_path / "assets" / "index-a1.js").write_text("export {};")
    (tmp_path / "assets" / "notes.txt").write_text("of no kind that is served")
    return read_assets(tmp_path)


def get(
    path: str,
    assets: Mapping[str, Asset],
    configuration: bytes | None = b"{}",
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    app = FastAPI()
    app.include_router(console_routes(assets, configuration))
    problem_responses.install(app)

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"request_id": "0" * 32}
        await app(scope, receive, send)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(named)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.get(path, headers=dict(headers or {}))

    return asyncio.run(ask())


def test_the_page_comes_with_a_policy_that_lets_nothing_else_run(
    assets: dict[str, Asset],
) -> None:
    answer = get("/", assets)
    assert answer.content == PAGE
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_files_with_a_hash_in_their_name_are_kept_for_ever(assets: dict[str, Asset]) -> None:
    answer = get("/console/assets/index-a1.js", assets)
    assert answer.text == "export {};"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert get("/", assets).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_files_are_compressed_for_who_takes_it(assets: dict[str, Asset], encoding: str) -> None:
    answer = get("/", assets, headers={"accept-encoding": encoding})
    assert answer.headers.get("content-encoding", "identity") == encoding
    assert answer.headers["vary"] == "accept-encoding"
    assert answer.content == PAGE
    assert gzip.decompress(assets["index.html"].compressed) == PAGE


@pytest.mark.parametrize(
    "name",
    ["other.js", "notes.txt", "..%2Findex.html", "%2E%2E%2F%2E%2E%2F__init__.py", "index-a1.js%00"],
)
def test_nothing_but_the_built_files_is_served(assets: dict[str, Asset], name: str) -> None:
    answer = get(f"/console/assets/{name}", assets)
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:blindgate:problem:not-found"


def test_without_built_files_the_page_says_how_to_build_them() -> None:
    answer = get("/", {})
    assert answer.status_code == 200
    assert "make assets" in answer.text
    assert "content-security-policy" in answer.headers


def test_the_configuration_is_never_cached(assets: dict[str, Asset]) -> None:
    answer = get("/console/config.json", assets, b'{"images": []}')
    assert answer.json() == {"images": []}
    assert answer.headers["cache-control"] == "no-store"
    assert get("/console/config.json", assets, None).status_code == 404


def test_a_folder_that_does_not_exist_holds_no_files(tmp_path: Path) -> None:
    assert read_assets(tmp_path / "dist") == {}
