"""Inference answers: tensors of several images, in JSON and in bytes."""

from __future__ import annotations

import json
import struct
from importlib.metadata import version
from typing import Any

import pytest

from blindgate import problems
from blindgate.detections import Box, Detection, Detections, DetectOptions, ImageSize, ModelRef
from blindgate.oip import (
    InferRequest,
    encode_answer,
    error_text,
    model_metadata,
    server_metadata,
)
from blindgate.oip.answer import largest_answer
from blindgate.oip.tensors import OUTPUTS, Result, largest_row, shared_problem

MODEL = ModelRef(name="m", version="1")


def found(*labels: str) -> Detections:
    objects = tuple(
        Detection(
            label=label,
            class_id=number,
            score=0.5 + number / 8,
            box=Box(x_min=number, y_min=1.5, x_max=number + 2, y_max=4),
        )
        for number, label in enumerate(labels)
    )
    return Detections(model=MODEL, image=ImageSize(width=60, height=40), detections=objects)


def asked(count: int, binary: bool = False, request_id: str | None = None) -> InferRequest:
    outputs = tuple((name, binary) for name in OUTPUTS)
    return InferRequest(request_id, (b"",) * count, DetectOptions(), outputs)


RESULTS: list[Result] = [found("cat", "dög"), problems.ENVELOPE_REJECTED, found("cup"), found()]


def test_every_image_has_its_row_and_its_own_error() -> None:
    answer = encode_answer(asked(4, request_id="mine"), RESULTS, MODEL)
    body = json.loads(answer.body)
    assert (body["model_name"], body["model_version"], body["id"]) == ("m", "1", "mine")
    data = {each["name"]: (each["shape"], each["data"]) for each in body["outputs"]}
    assert data["num_detections"] == ([4], [2, 0, 1, 0])
    assert data["scores"] == ([4, 2], [0.5, 0.625, 0, 0, 0.5, 0, 0, 0])
    assert data["class_ids"] == ([4, 2], [0, 1, -1, -1, 0, -1, -1, -1])
    assert data["labels"] == ([4, 2], ["cat", "dög", "", "", "cup", "", "", ""])
    assert data["boxes"][0] == [4, 2, 4]
    assert data["boxes"][1][:8] == [0, 1.5, 2, 4, 1, 1.5, 3, 4]
    assert data["boxes"][1][8:16] == [0] * 8
    assert data["image_sizes"] == ([4, 2], [60, 40, 0, 0, 60, 40, 60, 40])
    assert data["errors"] == ([4], ["", problems.ENVELOPE_REJECTED.type, "", ""])
    assert (answer.header_length, answer.headers) == (None, {})


def test_the_bytes_behind_the_json_part_are_the_same_tensors() -> None:
    answer = encode_answer(asked(4, binary=True), RESULTS, MODEL)
    assert answer.header_length is not None
    body = json.loads(answer.body[: answer.header_length])
    assert "id" not in body
    rest = answer.body[answer.header_length :]
    tensors = {}
    for each in body["outputs"]:
        size = each["parameters"]["binary_data_size"]
        tensors[each["name"]], rest = rest[:size], rest[size:]
        assert "data" not in each
    assert rest == b""
    assert struct.unpack("<8f", tensors["scores"]) == (0.5, 0.625, 0, 0, 0.5, 0, 0, 0)
    assert struct.unpack("<8q", tensors["class_ids"]) == (0, 1, -1, -1, 0, -1, -1, -1)
    assert struct.unpack("<4i", tensors["num_detections"]) == (2, 0, 1, 0)
    dog = "dög".encode()
    cat_and_dog = b"\3\0\0\0cat" + struct.pack("<I", len(dog)) + dog
    assert tensors["labels"].startswith(cat_and_dog)
    assert answer.headers == {"inference-header-content-length": str(answer.header_length)}
    assert answer.content_type == "application/octet-stream"


@pytest.mark.parametrize("binary", [False, True])
def test_nothing_found_is_an_empty_tensor(binary: bool) -> None:
    answer = encode_answer(asked(1, binary), [found()], MODEL)
    body: Any = json.loads(answer.body[: answer.header_length])
    shapes = {each["name"]: each["shape"] for each in body["outputs"]}
    assert shapes["boxes"] == [1, 0, 4]
    assert shapes["scores"] == [1, 0]


def test_a_problem_that_all_have_met_is_the_calls() -> None:
    rejected, refused = problems.ENVELOPE_REJECTED, problems.KMS_REFUSED
    assert shared_problem([rejected]) is rejected
    assert shared_problem([rejected, rejected]) is rejected
    assert shared_problem([rejected, refused]) is None
    assert shared_problem([rejected, found()]) is None
    assert shared_problem([found()]) is None


def test_metadata_declares_what_answers_hold() -> None:
    declared = {each["name"]: each for each in model_metadata("m", ["1"])["outputs"]}
    body = json.loads(encode_answer(asked(2), [found("a"), found()], MODEL).body)
    assert [each["name"] for each in body["outputs"]] == list(declared)
    for each in body["outputs"]:
        assert each["datatype"] == declared[each["name"]]["datatype"]
        dimensions = declared[each["name"]]["shape"]
        assert len(each["shape"]) == len(dimensions)
        assert all(b in (-1, a) for a, b in zip(each["shape"], dimensions, strict=True))


def test_a_model_takes_one_tensor_of_any_number_of_images() -> None:
    declared = model_metadata("m", ["1", "2"])
    assert (declared["name"], declared["versions"]) == ("m", ["1", "2"])
    assert declared["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]


def test_the_error_text_of_a_problem_is_its_title_and_its_detail() -> None:
    assert error_text({"title": "Not found", "detail": "No such model."}) == (
        "Not found. No such model."
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "T: p0: m0"),
        (3, "T: p0: m0; p1: m1; p2: m2"),
        (4, "T: p0: m0; p1: m1; p2: m2; and 1 more"),
        (6, "T: p0: m0; p1: m1; p2: m2; and 3 more"),
    ],
)
def test_the_error_text_names_three_faults_and_counts_the_others(count: int, text: str) -> None:
    faults = [{"parameter": f"p{i}", "message": f"m{i}"} for i in range(count)]
    assert error_text({"title": "T", "detail": "unused", "errors": faults}) == text


def test_the_server_says_its_release() -> None:
    assert server_metadata()["version"] == version("blindgate")


def _full(label: str, count: int) -> Detections:
    """As many objects as there can be, with numbers as long as JSON writes them."""
    one = Detection(
        label=label,
        class_id=1999,
        score=0.12345678901234567,
        box=Box(
            x_min=12345.678901234567, y_min=12345.678901234567,
            x_max=23456.789012345678, y_max=23456.789012345678,
        ),
    )  # fmt: skip
    return Detections(
        model=MODEL, image=ImageSize(width=32_767, height=32_767), detections=(one,) * count
    )


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("output", [*OUTPUTS])
@pytest.mark.parametrize(("images", "most"), [(1, 1), (1, 300), (3, 100)])
def test_no_answer_is_longer_than_the_longest(
    output: str, binary: bool, images: int, most: int
) -> None:
    label = "ö" * 64
    request = InferRequest("x" * 128, (b"",) * images, DetectOptions(), ((output, binary),))
    bound = largest_answer(request, most, len(json.dumps(label)))
    longest = max(problems.CATALOGUE, key=lambda problem: len(problem.type))
    for results in ([_full(label, most)] * images, [longest] * images):
        assert len(encode_answer(request, results, MODEL).body) <= bound
    assert bound <= 4352 + images * most * 400


@pytest.mark.parametrize(
    ("name", "binary", "size"),
    [
        ("num_detections", True, 8),
        ("boxes", True, 4 * 100 * 8),
        ("scores", True, 100 * 8),
        ("class_ids", True, 100 * 8),
        ("image_sizes", True, 2 * 8),
        ("labels", True, 100 * (20 + 4)),
        ("labels", False, 100 * (20 + 4)),
    ],
)
def test_a_row_is_as_long_as_its_elements(name: str, binary: bool, size: int) -> None:
    """100 objects, and labels of 20 bytes; a number in a tensor counts as 8 bytes."""
    assert largest_row(name, 100, 20, binary=binary) == size
