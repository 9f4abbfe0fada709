"""The table of routes, and the worker's search in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate import routes
from blindgate.routes import INNER, ROUTES, Match, Operation, Route, find


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("/v1/detections", Match(routes.DETECT)),
        ("/v1/%64etections", Match(routes.DETECT)),
        ("/v1/detections/sample", Match(routes.DETECT_AS_SAMPLE)),
        ("/v1/models", Match(routes.LIST_MODELS)),
        ("/v2", Match(routes.SERVER_METADATA)),
        ("/v2/health/live", Match(routes.SERVER_LIVE)),
        ("/v2/health/ready", Match(routes.SERVER_READY)),
        ("/v2/models/a", Match(routes.MODEL_METADATA, "a")),
        ("/v2/models/a%20b/ready", Match(routes.MODEL_READY, "a b")),
        ("/v2/models/a/infer", Match(routes.INFER, "a")),
        ("/v2/models/a%2Finfer", Match(routes.MODEL_METADATA, "a/infer")),
        ("/v2/models/a/versions/1", Match(routes.VERSION_METADATA, "a", "1")),
        ("/v2/models/a/versions/1/ready", Match(routes.VERSION_READY, "a", "1")),
        ("/v2/models/a/versions/1/infer", Match(routes.INFER_VERSION, "a", "1")),
    ],
)
def test_a_path_names_its_route(path: str, match: Match) -> None:
    assert find(path) == match


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "v2",
        "/v1",
        "/v1/detections/",
        "/v1//detections",
        "/v1/detections/form",
        "/v1/attestation",
        "/.well-known/ohttp-gateway",
        "/v2/",
        "/v2/health",
        "/v2/models",
        "/v2/models/",
        "/v2/models//infer",
        "/v2/models/{model_name}/versions",
        "/v2/models/a/versions//infer",
        "/v2/models/a/infer/",
        "/v2/models/a/versions/1/infer/again",
        "/v20/models/a",
    ],
)
def test_a_path_without_an_inner_route_names_none(path: str) -> None:
    assert find(path) is None


@given(st.sampled_from(INNER), st.text(min_size=1).filter(lambda text: "/" not in text))
def test_every_inner_route_is_found_with_its_parameters(route: Route, name: str) -> None:
    percent = "".join(f"%{byte:02X}" for byte in name.encode("utf-8", "surrogatepass"))
    path = route.path.replace("{model_name}", percent).replace("{model_version}", percent)
    match = find(path)
    assert match is not None
    assert match.route is route
    assert (match.model is None) == ("{model_name}" not in route.path)
    assert (match.version is None) == ("{model_version}" not in route.path)


def test_inner_paths_have_one_method_and_outer_pairs_are_unique() -> None:
    assert len({route.path for route in INNER}) == len(INNER)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_whatever_takes_an_image_opens_images() -> None:
    taking = {route for route in ROUTES if route.request}
    opening = {route for route in ROUTES if route.opens_images}
    assert opening == taking - {routes.SEND_SEALED}
    assert {route.operation for route in opening if route.is_inner} == {
        Operation.DETECT,
        Operation.DETECT_AS_SAMPLE,
        Operation.INFER,
    }
