"""Inference requests: what is taken, and what is wrong with the others."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.detections import DetectOptions
from blindgate.oip import OipError, parse_request
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
    ({**body(), "parameters": {"sequence_id": 7}}, "parameters.sequence_id"),
    ({**body(), "parameters": {"sequence_id": "s"}}, "parameters.sequence_id"),
    ({**body(), "parameters": {"sequence_end": True}}, "parameters.sequence_end"),
    ({**body(), "parameters": {"timeout": -1}}, "parameters.timeout"),
    ({**body(), "parameters": {"timeout": 0.5}}, "parameters.timeout"),
    ({**body(), "parameters": {"x" * 10_000: 1}}, "parameters.xxx"),
    (body(parameters={"shared_memory_region": "r"}), "inputs.0.parameters.shared_memory_region"),
    (
        {**body(), "outputs": [{"name": "labels", "parameters": {"classification": 3}}]},
        "outputs.0.parameters.classification",
    ),
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
    "members",
    [
        {"model_name": "m", "id": "6f1c"},  # KServe's SDK, which always sends both
        {
            "model_name": None,
            "model_version": None,
            "id": None,
            "parameters": None,
            "outputs": None,
        },
        {"parameters": {"priority": 1}},
        {"parameters": {"sequence_id": 0, "sequence_start": False, "sequence_end": False}},
        {"parameters": {"content_type": "np", "headers": {"a": "b"}}},  # MLServer
        {"raw_input_contents": [], "from_grpc": False},
        {"outputs": [{"name": "labels", "shape": [], "parameters": {"classification": 0}}]},
    ],
)
def test_what_clients_of_the_protocol_send_by_themselves_is_taken(members: dict[str, Any]) -> None:
    asked = parse({**body(), **members})
    assert asked.images == (b"one",)
    assert asked.options == DetectOptions()


def test_an_input_may_say_more_than_is_needed() -> None:
    assert parse(body(parameters={"content_type": "base64", "headers": {}}, tags=["x"])).images


def test_a_timeout_is_in_microseconds_and_zero_is_none() -> None:
    assert parse({**body(), "parameters": {"timeout": 2_500_000}}).timeout == 2.5
    assert parse({**body(), "parameters": {"timeout": 0}}).timeout is None
    assert parse(body()).timeout is None


def test_what_is_refused_of_a_clients_arguments_says_why() -> None:
    with pytest.raises(OipError) as error:
        parse({**body(), "parameters": {"sequence_id": 7, "sequence_start": True}})
    (first, second) = error.value.faults
    assert first == {
        "parameter": "parameters.sequence_id",
        "message": "Sequences are not supported: each request is answered by itself",
    }
    assert second["parameter"] == "parameters.sequence_start"


def test_spaces_around_a_label_are_not_part_of_it() -> None:
    asked = parse({**body(), "parameters": {"classes": " cat ,\tdining table"}})
    assert asked.options.classes == ("cat", "dining table")


def test_a_report_is_bounded_in_number_and_length() -> None:
    with pytest.raises(OipError) as error:
        parse({**body(), "parameters": {f"{n}{'x' * 500}": n for n in range(600)}})
    assert len(error.value.faults) == 20
    assert len(json.dumps(error.value.faults)) < 10_000


def large(size: int) -> bytes:
    """Bytes whose base64 has every character of the alphabet."""
    return hashlib.shake_128(str(size).encode()).digest(size)


def escaped(text: str) -> str:
    """As PHP and Gson write it, and an encoder that escapes whatever it may."""
    return text.replace("/", "\\/").replace("=", "\\u003d").replace("+", "\\u002B")


@pytest.mark.parametrize("spelt", [str, escaped])
@pytest.mark.parametrize("size", [24_575, 24_577, 300_000, 786_432, 1_000_001])
def test_large_elements_in_json_are_decoded_where_they_lie(size: int, spelt: Any) -> None:
    contents = [large(size), b"small", large(size + 1)]
    data = ",".join(f'"{spelt(b64(each))}"' for each in contents)
    image = f'{{"name":"image","shape":[3],"datatype":"BYTES","data":[{data}]}}'
    request = bytearray(f'{{"inputs":[{image}],"id":"after \\" it"}}'.encode())
    asked = parse_request(request)
    assert list(map(bytes, asked.images)) == contents
    assert asked.id == 'after " it'
    for each in asked.images:
        if isinstance(each, memoryview):
            assert each.obj is request, "no copy of the body is made"
    assert isinstance(asked.images[2], memoryview) or size == 24_575


def test_a_body_that_cannot_be_written_to_stays_as_it_is() -> None:
    request = json.dumps(body(data=[b64(large(100_000))])).encode()
    before = bytes(request)
    assert bytes(parse_request(request).images[0]) == large(100_000)
    assert request == before


@pytest.mark.parametrize(
    "text",
    [
        "A" * 400_001,
        "A" * 200_000 + "=" + "A" * 200_003,
        "A" * 400_000 + "=A==",
        "A" * 399_999 + "é",
        "A" * 399_996 + "\\n" + "AAA",
        "A" * 399_999 + "\\u0041",
        " " * 400_000,
        "-_" * 200_000,
    ],
    ids=range(8),
)
def test_a_large_element_that_is_not_base64_is_named(text: str) -> None:
    image = f'{{"name":"image","shape":[1],"datatype":"BYTES","data":["{text}"]}}'
    with pytest.raises(OipError) as error:
        parse_request(bytearray(f'{{"inputs":[{image}]}}'.encode()))
    assert error.value.faults[0]["parameter"] == "inputs.0.data.0"


@pytest.mark.parametrize(
    "members",
    [
        {"id": "x" * 40_000},
        {"parameters": {"classes": "x" * 40_000}},
        {"surplus": "x" * 40_000},
        {"x" * 40_000: 1},
    ],
    ids=range(4),
)
def test_long_strings_are_for_data_alone(members: dict[str, Any]) -> None:
    with pytest.raises(OipError):
        parse({**body(), **members})


@pytest.mark.parametrize(
    "text",
    [
        b'{"x":[' + b"[]," * 3000 + b"[]]}",
        b"{" + b",".join(b'"%d":0' % n for n in range(3000)) + b"}",
        b'{"x":"' + b"y" * 30_000 + b'"' + b" " * 600_000 + b"}",
        b"[" + b'""' * 5000 + b"]",
        b'"' + b'\\"' * 700_000,
        b'"' + b"\\" * 700_001,
    ],
    ids=range(6),
)
def test_json_of_many_parts_is_refused_before_it_is_parsed(text: bytes) -> None:
    with pytest.raises(OipError):
        parse_request(text)


def test_json_may_have_2048_parts() -> None:
    """Commas, brackets and braces; `body()` has some of its own."""
    plain = json.dumps(body(), separators=(",", ":")).encode()
    own = sum(plain.count(part) for part in (b",", b"[", b"{"))

    def with_parts(count: int) -> bytes:
        # An unknown member of the input is passed over, whatever it holds.
        filling = b"0" + b",0" * (count - own - 3)
        return plain[:-3] + b',"more":[' + filling + b"]" + plain[-3:]

    for count in (2047, 2048):
        text = with_parts(count)
        assert sum(text.count(part) for part in (b",", b"[", b"{")) == count - 1
        assert parse_request(text).images == (b"one",)
    assert parse_request(with_parts(2049)).images == (b"one",)
    with pytest.raises(OipError, match="2048 parts"):
        parse_request(with_parts(2050))


@pytest.mark.parametrize(("size", "passes"), [(589_824, True), (589_825, False)])
def test_json_without_long_elements_has_576_kib_at_most(size: int, passes: bool) -> None:
    text = json.dumps(body()).encode()
    padded = text + b" " * (size - len(text))
    if passes:
        assert parse_request(padded).images == (b"one",)
    else:
        with pytest.raises(OipError, match="more than 589824 bytes"):
            parse_request(padded)


@pytest.mark.parametrize(("length", "lies"), [(32_764, False), (32_768, False), (32_772, True)])
def test_an_element_of_more_than_32_kib_is_decoded_in_place(length: int, lies: bool) -> None:
    request = bytearray(json.dumps(body(data=["AAAA" * (length // 4)])).encode())
    (image,) = parse_request(request).images
    assert bytes(image) == bytes(length // 4 * 3)
    assert isinstance(image, memoryview) is lies


@pytest.mark.parametrize(("length", "passes"), [(65_536, True), (65_537, False)])
def test_a_json_part_in_front_of_tensors_has_64_kib_at_most(length: int, passes: bool) -> None:
    data, right = binary(b"one")
    head = data[: int(right)] + b" " * (length - int(right))
    if passes:
        assert list(parse_request(head + data[int(right) :], str(length)).images) == [b"one"]
    else:
        with pytest.raises(OipError, match="at most 65536"):
            parse_request(head + data[int(right) :], str(length))


def test_a_request_has_16_images_at_most() -> None:
    assert len(parse(body(shape=[16], data=["eA=="] * 16)).images) == 16
    data, length = binary(*[b"x"] * 16)
    assert len(parse_request(data, length).images) == 16
    for wrong in (0, 17):
        data, length = binary(*[b"x"] * wrong)
        with pytest.raises(OipError, match="n from 1 to 16"):
            parse_request(data, length)


@settings(max_examples=200)
@given(st.data())
def test_no_reference_to_a_large_element_can_be_forged(data: st.DataObject) -> None:
    """What a client writes as a small element is never taken for one of the large ones."""
    small = data.draw(st.sampled_from(["0", ":0", "0" * 32 + ":0", "AAAA:0"]))
    with pytest.raises(OipError) as error:
        parse(body(shape=[2], data=[b64(large(50_000)), small]))
    assert error.value.faults[0]["parameter"] == "inputs.0.data.1"


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
