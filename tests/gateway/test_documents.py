"""The pages that are written from the code say what the code says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blindgate import problems
from gateway.api import errors_page as error_page
from gateway.api.openapi import __main__


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(__main__.document())
    return loaded


def operations(api: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    ]


def test_documents_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    error_page.main(["--write", str(tmp_path / "errors.md")])
    __main__.main(["--write", str(tmp_path / "openapi.json")])
    assert (tmp_path / "errors.md").read_text() == error_page.page()
    assert (tmp_path / "openapi.json").read_text() == __main__.document()


def test_every_operation_has_a_name_and_a_summary(api: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(api)]
    assert len(set(names)) == len(names)
    for where, operation in operations(api):
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["tags"], where


def test_every_error_is_a_problem_with_an_example(api: dict[str, Any]) -> None:
    for where, operation in operations(api):
        for status, response in operation["responses"].items():
            if status < "400" or where.endswith(("/readyz", "/ready")):
                continue
            content = response["content"]
            assert list(content) == [problems.MEDIA_TYPE], (where, status)
            examples = content[problems.MEDIA_TYPE]["examples"]
            assert examples
            for slug, example in examples.items():
                assert example["value"]["type"] == problems.BY_SLUG[slug].type
                assert str(example["value"]["status"]) == status


def test_bodies_are_described_as_bytes(api: dict[str, Any]) -> None:
    detect = api["paths"]["/v1/detections"]["post"]["requestBody"]
    assert detect["required"]
    assert detect["content"]["application/octet-stream"]["schema"]["format"] == "binary"
    form = api["paths"]["/v1/detections/form"]["post"]["requestBody"]
    schema = form["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["file"]["format"] == "binary"
    sealed = api["paths"]["/.well-known/ohttp-gateway"]["post"]["requestBody"]
    assert sealed["content"]["message/ohttp-req"]["schema"]["format"] == "binary"


def test_every_option_of_a_detection_is_a_parameter_with_its_bounds(api: dict[str, Any]) -> None:
    listed = api["paths"]["/v1/detections"]["post"]["parameters"]
    parameters = {parameter["name"]: parameter for parameter in listed}
    assert {"min_score", "max_detections", "classes", "tiles"} < set(parameters)
    assert parameters["min_score"]["schema"]["maximum"] == 1
    assert parameters["max_detections"]["schema"]["maximum"] == 300
    assert "request-timeout" in {name.lower() for name in parameters}


def test_an_operation_that_detects_has_one_body_and_one_schema(api: dict[str, Any]) -> None:
    """Generators make code that does not compile, or does not work, of a choice of either."""
    for path in ("/v1/detections", "/v1/detections/form", "/v1/detections/sample"):
        operation = api["paths"][path]["post"]
        assert len(operation["requestBody"]["content"]) == 1
        (body,) = operation["responses"]["200"]["content"].values()
        assert list(body["schema"]) == ["$ref"]


def test_references_lead_somewhere(api: dict[str, Any]) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                target: Any = api
                for part in node["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(api)
