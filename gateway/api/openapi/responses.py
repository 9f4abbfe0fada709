"""What operations have in common: their answers, problems, headers and who may call them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends

from blindgate import problems
from blindgate.imaging.limits import DEFAULT_LIMITS, MAX_BODY_BYTES
from blindgate.problems import Problem
from gateway.auth.caller import Scope
from gateway.auth.guard import Access

if TYPE_CHECKING:
    from pydantic import BaseModel

#: The two ways to sign in; a gateway may be run with one of them, both, or none.
SECURITY_SCHEMES: Final[dict[str, dict[str, Any]]] = {
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A key that `blindgate keys create` made. Its scopes are `detect`, "
        "`attest` and `admin`.",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of the OpenID Connect provider that this gateway is set up for, "
        "or an API key.",
    },
}
HEADER_OBJECTS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "Names this request in the operator's logs.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "Retry-After": {
        "description": "Seconds to wait for.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "How to sign in (RFC 6750 §3).",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "The caller's quota `q` for a window of `w` seconds.",
        "schema": {"type": "string", "examples": ['"caller";q=600;w=60']},
    },
    "RateLimit": {
        "description": "Requests `r` that are left, and seconds `t` until there are more.",
        "schema": {"type": "string", "examples": ['"caller";r=599;t=60']},
    },
}
#: Headers that come with a problem of some status.
_HEADERS: Final[dict[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    503: ("Retry-After",),
}


def problem_answers(kinds: Sequence[Problem]) -> dict[int | str, dict[str, Any]]:
    """The answers of some problems, those with one status code together."""
    by_status: dict[int, list[Problem]] = {}
    for problem in sorted(set(kinds), key=lambda p: (p.status, p.type)):
        by_status.setdefault(problem.status, []).append(problem)
    return {
        status: {
            "description": "; ".join(f"{p.title} (`{p.slug}`)" for p in group) + ".",
            "headers": headers(*_HEADERS.get(status, ())),
            "content": {
                problems.MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {p.slug: {"summary": p.title, "value": example(p)} for p in group},
                }
            },
        }
        for status, group in by_status.items()
    }


def headers(*names: str) -> dict[str, Any]:
    """References to the headers of an answer; every answer has a request id."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


def example(problem: Problem) -> dict[str, Any]:
    """A problem as it may come."""
    members: dict[str, Any] = {"request_id": "5f6b8a0c1d2e3f405162738495a6b7c8"}
    if problem is problems.INVALID_REQUEST:
        message = "Input should be less than or equal to 1"
        members["errors"] = [{"in": "query", "parameter": "min_score", "message": message}]
    if problem is problems.FORBIDDEN:
        members["scope"] = Scope.DETECT.value
    if problem is problems.BODY_TOO_LARGE:
        members["limit"] = MAX_BODY_BYTES
    if problem is problems.IMAGE_TOO_LARGE:
        members |= DEFAULT_LIMITS.as_mapping()
    return problem.body(**members)


def binary(description: str) -> dict[str, Any]:
    """A body of bytes."""
    return {"schema": {"type": "string", "format": "binary", "description": description}}


def operation(
    operation_id: str,
    summary: str,
    kinds: Sequence[Problem] = (),
    *,
    access: Access,
    ok: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    also: dict[int | str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The keyword arguments of a FastAPI route.

    `access` is enforced and described: the problems of callers who are refused are among the
    responses.
    """
    scope = access.scope
    refusals = _refusals(scope)
    responses = problem_answers([*kinds, *refusals, problems.INTERNAL_ERROR]) | (also or {})
    if ok is not None:
        limited = ("RateLimit", "RateLimit-Policy") if access.units else ()
        responses[200] = {**ok, "headers": {**ok.get("headers", {}), **headers(*limited)}}
    security: list[dict[str, list[str]]] = [{name: []} for name in SECURITY_SCHEMES]
    # OpenAPI 3.1 allows names of scopes here, linters do not: so they stand beside it.
    described = {"security": security, "x-scope": scope.value} if scope else {"security": []}
    return {
        "operation_id": operation_id,
        "dependencies": [Depends(access.check)],
        "summary": summary,
        "responses": dict(sorted(responses.items(), key=lambda pair: str(pair[0]))),
        "openapi_extra": {**(extra or {}), **described},
    }


def _refusals(scope: Scope | None) -> tuple[Problem, ...]:
    """The problems of callers who may not call an operation."""
    if scope is None:
        return ()
    return (
        problems.UNAUTHORIZED,
        problems.FORBIDDEN,
        problems.SIGN_IN_UNAVAILABLE,
        problems.RATE_LIMITED,
    )


def json_ok(description: str, model: type[BaseModel], value: dict[str, Any]) -> dict[str, Any]:
    """A successful answer in JSON, with an example."""
    content = {"application/json": {"example": value}}
    return {"description": description, "model": model, "content": content}
