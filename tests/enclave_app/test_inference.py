"""The Open Inference Protocol inside a sealed request."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from blindgate import problems
from blindgate.detections import Detections, ImageSize, ModelRef
from blindgate.oip import InferRequest
from blindgate.oip.tensors import Result
from blindgate.routes import find, is_protocol_path
from enclave_app.detector import UnknownClass
from enclave_app.handlers.ohttp import InnerAnswer, InnerRequest
from enclave_app.handlers.oip import answer_inference

MODEL = ModelRef(name="m", version="1")
NOTHING = Detections(model=MODEL, image=ImageSize(width=4, height=3), detections=())


def ask(method: str, path: str, body: Any = None, **headers: str) -> InnerAnswer:
    def detect(asked: InferRequest) -> list[Result]:
        contents = list(map(bytes, asked.images))
        if b"broken" in contents:
            raise RuntimeError("never shown")
        if asked.options.classes:
            raise UnknownClass("m", asked.options.classes, ["cup", "bowl"])
        return [problems.IMAGE_REJECTED if each == b"bad" else NOTHING for each in contents]

    content = json.dumps(body).encode() if body is not None else b""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    inner = InnerRequest(method, path, (), named, content)
    return answer_inference(inner, find(path), MODEL, detect, len_of)


def len_of(asked: InferRequest) -> int:
    return 100 * len(asked.images)


def images(*data: bytes) -> dict[str, Any]:
    texts = [base64.b64encode(each).decode() for each in data]
    return {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": texts}],
        "outputs": [{"name": "errors"}, {"name": "num_detections"}],
    }


def problem_of(answer: InnerAnswer) -> str:
    assert answer.content_type == problems.MEDIA_TYPE
    body = json.loads(answer.content)
    assert isinstance(body["error"], str)
    kind: str = body["type"]
    return kind


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/v2", "extensions"),
        ("/v2/health/live", "live"),
        ("/v2/health/ready", "ready"),
        ("/v2/models/m", "inputs"),
        ("/v2/models/m/ready", "ready"),
        ("/v2/models/m/versions/1", "inputs"),
        ("/v2/models/m/versions/1/ready", "ready"),
    ],
)
def test_what_can_be_asked_outside_can_be_asked_inside(path: str, member: str) -> None:
    answer = ask("GET", path)
    assert answer.status == 200
    assert json.loads(answer.content)[member]
    assert problem_of(ask("POST", path)) == problems.METHOD_NOT_ALLOWED.type


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v2/models/m/versions/1/infer"])
def test_each_image_fails_alone(path: str) -> None:
    answer = ask("POST", path, images(b"good", b"bad"))
    assert answer.status == 200
    errors, counts = json.loads(answer.content)["outputs"]
    assert errors["data"] == ["", problems.IMAGE_REJECTED.type]
    assert counts["data"] == [0, 0]
    assert problem_of(ask("POST", path, images(b"bad"))) == problems.IMAGE_REJECTED.type
    assert problem_of(ask("GET", path)) == problems.METHOD_NOT_ALLOWED.type


def test_tensors_may_follow_the_json_part() -> None:
    body = images(b"good")
    body["outputs"] = [{"name": "num_detections", "parameters": {"binary_data": True}}]
    answer = ask("POST", "/v2/models/m/infer", body)
    ((name, size),) = answer.headers
    assert name == "inference-header-content-length"
    assert answer.content[int(size) :] == bytes(4)
    assert answer.content_type == "application/octet-stream"


def test_wrong_requests_are_typed_problems() -> None:
    for path in ("/v2/models/other", "/v2/models/m/versions/2/infer", "/v2/x", "/v2/models"):
        assert problem_of(ask("POST", path, images(b"x"))) == problems.NOT_FOUND.type
    for body in (None, {}, images()):
        refused = ask("POST", "/v2/models/m/infer", body)
        assert problem_of(refused) == problems.INVALID_REQUEST.type
        assert json.loads(refused.content)["errors"]
    refused = ask("POST", "/v2/models/m/infer", images(b"x"), inference_header_content_length="x")
    assert problem_of(refused) == problems.INVALID_REQUEST.type


def test_only_the_protocols_own_paths_are_its() -> None:
    assert is_protocol_path("/v2")
    assert is_protocol_path("/v2/models/m/infer")
    assert not is_protocol_path("/v20")
    assert not is_protocol_path("/v1/detections")


def test_an_unknown_class_is_named_with_what_may_have_been_meant() -> None:
    body = {**images(b"good"), "parameters": {"classes": "Bowl,unicorn"}}
    refused = json.loads(ask("POST", "/v2/models/m/infer", body).content)
    assert refused["type"] == problems.INVALID_REQUEST.type
    first, second = refused["errors"]
    assert first["parameter"] == second["parameter"] == "parameters.classes"
    assert first["message"] == 'The model has no class "Bowl": did you mean "bowl"?'
    assert "unicorn" in second["message"]
    assert "/v1/models" in second["message"]
    assert first["message"] in refused["error"]


def test_whatever_comes_of_the_images_the_room_is_that_of_the_request() -> None:
    for contents in ([b"good", b"good"], [b"bad", b"bad"], [b"good", b"bad"], [b"broken", b"x"]):
        assert ask("POST", "/v2/models/m/infer", images(*contents)).room == 200
    named = {**images(b"good", b"x"), "parameters": {"classes": "unicorn"}}
    assert ask("POST", "/v2/models/m/infer", named).room == 200
    assert problem_of(ask("POST", "/v2/models/m/infer", images(b"broken"))) == (
        problems.INTERNAL_ERROR.type
    )


def test_the_error_member_says_what_is_wrong() -> None:
    body = images(b"good")
    body["parameters"] = {"priority": 3, "sequence_id": 7}
    refused = json.loads(ask("POST", "/v2/models/m/infer", body).content)
    assert refused["error"] == (
        "A parameter is not valid: parameters.sequence_id: "
        "Sequences are not supported: each request is answered by itself"
    )
