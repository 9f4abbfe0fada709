"""What the ecosystem's own linters say of `docs/openapi.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blindgate.problems import BY_SLUG
from tests.gateway.auth.test_guard import OPERATIONS
from tests.tools import npm

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
# The first run installs the locked packages.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return loaded


@npm.needs_npm
def test_spectral_has_nothing_to_say() -> None:
    npm.install()
    rules = npm.FOLDER / "spectral.json"
    said = npm.tool("spectral", "lint", "--ruleset", rules, "--fail-severity", "hint", DOCUMENT)
    assert "No results" in said


@npm.needs_npm
def test_redocly_finds_no_error() -> None:
    npm.install()
    assert "is valid" in npm.tool("redocly", "lint", "--extends", "recommended", DOCUMENT)


@npm.needs_npm
def test_spectral_would_notice_an_example_that_does_not_validate(
    api: dict[str, Any], tmp_path: Path
) -> None:
    npm.install()
    answer = api["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]["application/json"]
    answer["example"]["models"][0]["labels"] = "person"
    wrong = tmp_path / "openapi.json"
    wrong.write_text(json.dumps(api))
    with pytest.raises(AssertionError, match=r"labels.*must be array"):
        npm.tool("spectral", "lint", "--ruleset", npm.FOLDER / "spectral.json", wrong)


def test_every_guarded_operation_says_how_to_sign_in_and_what_happens_without(
    api: dict[str, Any],
) -> None:
    for path in api["paths"].values():
        for operation in path.values():
            scope = OPERATIONS[operation["operationId"]].scope
            if scope is None:
                assert operation["security"] == []
                assert "401" not in operation["responses"]
                continue
            assert operation["security"] == [{"apiKey": []}, {"bearer": []}]
            assert operation["x-scope"] == scope
            assert {"401", "403", "503"} <= set(operation["responses"])
            # The rate of failed sign-ins applies to all of them.
            assert "429" in operation["responses"]
            assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]


def test_every_answer_in_json_has_an_example_and_names_the_request(api: dict[str, Any]) -> None:
    for path in api["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                assert "X-Request-Id" in answer["headers"]
                for media_type, body in answer["content"].items():
                    if media_type.endswith("json"):
                        assert "example" in body or "examples" in body


def test_every_problem_is_met_somewhere(api: dict[str, Any]) -> None:
    """But for those that no operation decides: the server, a preflight's rules, a sealed date."""
    named = {
        slug
        for path in api["paths"].values()
        for operation in path.values()
        for answer in operation["responses"].values()
        for slug in answer["content"].get("application/problem+json", {}).get("examples", ())
    }
    before_any_operation = {
        *("malformed-request", "uri-too-long", "header-too-large", "http-version"),
        *("not-implemented", "method-not-allowed", "cross-origin-refused"),
    }
    only_inside_the_seal = {"date"}
    assert set(BY_SLUG) - named == before_any_operation | only_inside_the_seal


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in (npm.FOLDER / "package-lock.json").read_text()
