"""The protocol's own client, `tritonclient`, against the running stack, open and sealed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from blindgate import OhttpTransport, problems
from tests.e2e.live import LiveStack

pytestmark = [
    pytest.mark.e2e,
    # geventhttpclient brings gevent, whose own imports are not ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def triton() -> Any:
    import tritonclient.http as triton

    return triton


@pytest.fixture(scope="module")
def client(triton: Any, stack: LiveStack) -> Iterator[Any]:
    client = triton.InferenceServerClient(stack.url.removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def model(http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/v1/models").json()["models"][0]
    return found


@pytest.fixture(scope="module")
def envelope(seal: Callable[[bytes], bytes], coffee: Path) -> bytes:
    return seal(coffee.read_bytes())


def image(triton: Any, *elements: bytes) -> Any:
    given = triton.InferInput("image", [len(elements)], "BYTES")
    given.set_data_from_numpy(np.array(elements, dtype=np.object_), binary_data=True)
    return given


def labels_of(result: Any, row: int = 0) -> set[str]:
    count = result.as_numpy("num_detections")[row]
    # Texts out of JSON, bytes out of binary tensors.
    found = result.as_numpy("labels")[row][:count]
    return {each if isinstance(each, str) else each.decode() for each in found}


def test_the_client_finds_the_server_and_its_model(client: Any, model: dict[str, Any]) -> None:
    name, version = model["name"], model["version"]
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, version)
    assert not client.is_model_ready("another")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    for described in (client.get_model_metadata(name), client.get_model_metadata(name, version)):
        assert described["versions"] == [version]
        assert described["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]


@pytest.mark.parametrize("binary", [True, False])
def test_an_envelope_gives_boxes_scores_and_labels(
    triton: Any, client: Any, model: dict[str, Any], envelope: bytes, http: httpx.Client,
    binary: bool,
) -> None:  # fmt: skip
    names = ["num_detections", "boxes", "scores", "class_ids", "labels", "image_sizes", "errors"]
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    result = client.infer(
        model["name"],
        [image(triton, envelope)],
        outputs=wanted,
        request_id="mine",
        parameters={"min_score": 0.4},
    )
    plain = http.post(
        "/v1/detections?min_score=0.4",
        content=envelope,
        headers={"content-type": "application/octet-stream"},
    ).json()
    found = plain["detections"]
    assert result.get_response()["id"] == "mine"
    assert labels_of(result) == {each["label"] for each in found} >= {"cup"}
    assert result.as_numpy("image_sizes").tolist() == [[600, 400]]
    assert result.as_numpy("class_ids")[0].tolist() == [each["class_id"] for each in found]
    assert result.as_numpy("scores")[0] == pytest.approx([each["score"] for each in found])
    boxes = [[each["box"][k] for k in ("x_min", "y_min", "x_max", "y_max")] for each in found]
    assert result.as_numpy("boxes")[0] == pytest.approx(np.array(boxes))
    assert result.as_numpy("errors").tolist() == [b"" if binary else ""]


def test_of_several_envelopes_each_fails_alone(
    triton: Any, client: Any, model: dict[str, Any], envelope: bytes, seal: Callable[[bytes], bytes]
) -> None:
    changed = envelope[:-40] + bytes([envelope[-40] ^ 1]) + envelope[-39:]
    result = client.infer(
        model["name"], [image(triton, envelope, changed, seal(b"no picture"), envelope)]
    )
    assert [kind.decode() for kind in result.as_numpy("errors")] == [
        "",
        problems.ENVELOPE_REJECTED.type,
        problems.IMAGE_REJECTED.type,
        "",
    ]
    assert labels_of(result, 0) == labels_of(result, 3) >= {"cup"}
    assert labels_of(result, 1) == labels_of(result, 2) == set()


def test_nothing_found_is_an_empty_tensor(
    triton: Any, client: Any, model: dict[str, Any], envelope: bytes
) -> None:
    parameters = {"min_score": 1.0}
    result = client.infer(model["name"], [image(triton, envelope)], parameters=parameters)
    assert result.as_numpy("num_detections").tolist() == [0]
    assert result.as_numpy("boxes").shape == (1, 0, 4)


def test_errors_are_the_clients_own_exceptions(
    triton: Any, client: Any, model: dict[str, Any]
) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="could not be opened") as error:
        client.infer(model["name"], [image(triton, b"no envelope")])
    assert error.value.status() == "422"
    with pytest.raises(InferenceServerException, match="No verified enclave runs") as error:
        client.infer("another", [image(triton, b"x")])
    assert error.value.status() == "404"
    with pytest.raises(InferenceServerException, match="sequence_id: Sequences are not"):
        client.infer(model["name"], [image(triton, b"x")], sequence_id=7)


def test_the_same_request_goes_sealed(
    triton: Any, stack: LiveStack, model: dict[str, Any], coffee: Path, envelope: bytes
) -> None:
    """What tritonclient writes and reads, with the enclave at the other end of the seal."""
    body, length = triton.InferenceServerClient.generate_request_body(
        [image(triton, coffee.read_bytes(), envelope, b"neither")]
    )
    state = Path(stack.running.state)
    with httpx.Client(transport=OhttpTransport(stack.url, trust=trust(state))) as sealed:
        answer = sealed.post(
            f"{stack.url}/v2/models/{model['name']}/infer",
            content=body,
            headers={"Inference-Header-Content-Length": str(length)},
        )
        ready = sealed.get(f"{stack.url}/v2/models/{model['name']}/ready")
        unknown = sealed.get(f"{stack.url}/v2/models/another")
    assert answer.extensions["blindgate_sealed"]
    assert answer.status_code == 200, answer.text
    result = triton.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers["inference-header-content-length"])
    )
    assert labels_of(result, 0) == labels_of(result, 1) >= {"cup"}
    assert result.as_numpy("errors")[2].decode() == problems.IMAGE_REJECTED.type
    assert ready.json() == {"name": model["name"], "ready": True}
    assert unknown.status_code == 404
    assert json.loads(unknown.content)["error"]


def trust(state: Path) -> Any:
    from blindgate.attestation import PcrSet, Root, Trust

    root = Root.from_pem((state / "root.pem").read_bytes())
    return Trust(root, (PcrSet.from_file(state / "pcrs.json"),))
