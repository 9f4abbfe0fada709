"""Inference requests: what is taken, and what is wrong with the others."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.detections import DetectOptions
from blindgate.oip import OipError, parse_path, parse_request
from blindgate.oip.paths import Target
from blindgate.oip.request import MAX_IMAGES
from blindgate.oip.tensors import OUTPUTS


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def tensor(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


def body(**changes: Any) -> dict[str, Any]:
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [b64(b"one")]}
    return {"inputs": [{**image, **changes}]}


def binary(*elements: bytes, **changes: Any) -> tuple[bytes, str]:
    data = tensor(*elements)
    said = {"binary_data_size": len(data)}
    request = body(shape=[len(elements)], parameters=said, **changes)
    del request["inputs"][0]["data"]
    head = json.dumps(request).encode()
    return head + data, str(len(head))


def parse(request: Any) -> Any:
    return parse_request(json.dumps(request).encode())


@pytest.mark.parametrize("data", [["b25l", "dHdv"], [["b25l"], ["dHdv"]], [["b25l", "dHdv"]]])
def test_elements_in_json_are_base64(data: Any) -> None:
    asked = parse(body(shape=[2, 1], data=data, parameters={"content_type": "base64"}))
    assert asked.images == (b"one", b"two")
    assert asked.id is None
    assert asked.options == DetectOptions()
    assert asked.outputs == tuple((name, False) for name in OUTPUTS)


def test_elements_may_follow_the_json_part() -> None:
    data, length = binary(b"one", b"", b"three")
    assert [bytes(each) for each in parse_request(data, length).images] == [b"one", b"", b"three"]


def test_parameters_are_those_of_detections() -> None:
    wanted = {"min_score": 0.5, "max_detections": 3, "classes": "cat,dog", "tiles": 2}
    asked = parse({**body(), "id": "x", "parameters": wanted})
    assert asked.id == "x"
    assert asked.options == DetectOptions(
        min_score=0.5, max_detections=3, classes=("cat", "dog"), tiles=2
    )


def test_each_output_may_be_asked_for_in_its_own_way() -> None:
    request = {
        **body(),
        "parameters": {"binary_data_output": True},
        "outputs": [
            {"name": "scores"},
            {"name": "boxes", "parameters": {"binary_data": False}},
            {"name": "labels", "parameters": {}},
        ],
    }
    assert parse(request).outputs == (("scores", True), ("boxes", False), ("labels", True))


WRONG: list[tuple[Any, str]] = [
    ({}, "inputs"),
    ([], ""),
    ({"inputs": []}, "inputs"),
    ({"inputs": body()["inputs"] * 2}, "inputs"),
    ({**body(), "surplus": 1}, "surplus"),
    ({**body(), "id": 7}, "id"),
    ({**body(), "id": "x" * 129}, "id"),
    ({**body(), "id": "a\nb"}, "id"),
    ({**body(), "parameters": {"unknown": 1}}, "parameters.unknown"),
    ({**body(), "parameters": {"min_score": 2}}, "parameters.min_score"),
    ({**body(), "parameters": {"max_detections": 0}}, "parameters.max_detections"),
    ({**body(), "parameters": {"max_detections": "3"}}, "parameters.max_detections"),
    ({**body(), "parameters": {"classes": ""}}, "parameters.classes.0"),
    ({**body(), "parameters": {"classes": ",".join("abcdefghij" * 11)}}, "parameters.classes"),
    ({**body(), "parameters": {"tiles": 4}}, "parameters.tiles"),
    ({**body(), "outputs": [{"name": "unknown"}]}, "outputs.0.name"),
    ({**body(), "outputs": [{"name": "boxes"}] * 2}, "outputs"),
    ({**body(), "outputs": [{"name": "boxes"}] * 8}, "outputs"),
    (body(name="picture"), "inputs.0.name"),
    (body(datatype="UINT8"), "inputs.0.datatype"),
    (body(shape=[]), "inputs.0.shape"),
    (body(shape=[0]), "inputs.0.shape"),
    (body(shape=[-1]), "inputs.0.shape"),
    (body(shape=[1, 2]), "inputs.0.shape"),
    (body(shape=[1, 1, 1]), "inputs.0.shape"),
    (body(shape=[1.5]), "inputs.0.shape.0"),
    (body(shape=[2**70]), "inputs.0.shape"),
    (body(shape=[2]), "inputs.0.data"),
    (body(shape=[MAX_IMAGES + 1]), "inputs.0.shape"),
    (body(data=["eA=="] * (MAX_IMAGES + 1)), "inputs.0.data"),
    (body(data=[]), "inputs.0.data"),
    (body(data=["not base64"]), "inputs.0.data.0"),
    (body(data=["eA"]), "inputs.0.data.0"),
    (body(data=["é"]), "inputs.0.data.0"),
    (body(data=[7]), "inputs.0.data.0"),
    (body(data=None), "inputs.0"),
    (body(parameters={"binary_data_size": 4}), "inputs.0"),
    (body(data=None, parameters={"binary_data_size": 4}), "binary_data_size"),
    (body(data=None, parameters={"binary_data_size": -1}), "binary_data_size"),
]


@pytest.mark.parametrize(("request_body", "parameter"), WRONG)
def test_what_is_wrong_is_named(request_body: Any, parameter: str) -> None:
    with pytest.raises(OipError) as error:
        parse(request_body)
    assert any(parameter in fault["parameter"] for fault in error.value.faults)


@pytest.mark.parametrize(
    "length", ["0", "-1", "1", "x", "", "٣", "1e3", "99999999999", "70000", "1.0", " 5"]
)
def test_a_wrong_length_of_the_json_part_is_refused(length: str) -> None:
    data, right = binary(b"one")
    with pytest.raises(OipError):
        parse_request(data + bytes(70_000 - len(data)), length)
    with pytest.raises(OipError):
        parse_request(data, str(int(right) - 1))
    with pytest.raises(OipError):
        parse_request(data, str(len(data) + 1))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x04\0\0\0abc", b"\xff\xff\xff\xff", tensor(b"a", b"b"), tensor(b"a") + b"x"],
)
def test_a_tensor_whose_lengths_do_not_add_up_is_refused(data: bytes) -> None:
    request = body(shape=[1], parameters={"binary_data_size": len(data)})
    del request["inputs"][0]["data"]
    head = json.dumps(request).encode()
    with pytest.raises(OipError):
        parse_request(head + data, str(len(head)))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"[" * 100_000, b'{"inputs":' * 50_000, b"\xff", b"NaN", b'{"id":NaN}'],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(OipError):
        parse_request(text)


def test_values_of_the_caller_are_not_repeated() -> None:
    with pytest.raises(OipError) as error:
        parse(body(data=["a secret that is not base64"]))
    assert "secret" not in str(error.value)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=6)))
def test_no_bytes_break_the_parser(data: bytes, length: str | None) -> None:
    with pytest.raises(OipError):
        parse_request(data, length)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=MAX_IMAGES))
def test_both_forms_carry_the_same_elements(elements: list[bytes]) -> None:
    data, length = binary(*elements)
    as_json = body(shape=[len(elements)], data=[b64(each) for each in elements])
    assert list(map(bytes, parse_request(data, length).images)) == elements
    assert list(parse(as_json).images) == elements


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2", Target("server")),
        ("/v2/health/live", Target("live")),
        ("/v2/health/ready", Target("ready")),
        ("/v2/models/a", Target("model", "a")),
        ("/v2/models/a%20b/ready", Target("model-ready", "a b")),
        ("/v2/models/a/infer", Target("infer", "a")),
        ("/v2/models/a/versions/1", Target("model", "a", "1")),
        ("/v2/models/a/versions/1/ready", Target("model-ready", "a", "1")),
        ("/v2/models/a/versions/1/infer", Target("infer", "a", "1")),
        ("/v2/", None),
        ("/v2/health", None),
        ("/v2/models", None),
        ("/v2/models/", None),
        ("/v2/models//infer", None),
        ("/v2/models/a/versions", None),
        ("/v2/models/a/versions//infer", None),
        ("/v2/models/a/infer/", None),
        ("/v20/models/a", None),
        ("", None),
        ("v2", None),
    ],
)
def test_paths_name_what_is_asked(path: str, target: Target | None) -> None:
    assert parse_path(path) == target
