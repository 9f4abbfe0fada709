"""The gateway registers the routes of the table, and describes their media types."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blindgate.routes import FORM, ROUTES, Operation, Route
from gateway.api.openapi.__main__ import document

#: What is for operators or for load balancers, and so in no table that clients share.
OPERATORS = {"/v1/enclaves", "/livez", "/readyz"}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    paths: dict[str, Any] = json.loads(document())["paths"]
    return paths


def test_the_gateway_serves_the_table_and_nothing_else_for_clients(
    described: dict[str, Any],
) -> None:
    served = {
        (method.upper(), path)
        for path, operations in described.items()
        if path not in OPERATORS
        for method in operations
    }
    assert served == {(route.method, route.path) for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_the_document_names_the_media_types_of_the_table(
    described: dict[str, Any], route: Route
) -> None:
    operation = described[route.path][route.method.lower()]
    response = set(operation["responses"]["200"]["content"])
    assert response == {each.partition(";")[0] for each in route.response}
    # Generators of clients cope badly with a choice: a form has its own path in the document.
    hidden = {FORM} if route.operation is Operation.DETECT else set()
    request = set(operation.get("requestBody", {}).get("content", ()))
    assert request == set(route.request) - hidden
