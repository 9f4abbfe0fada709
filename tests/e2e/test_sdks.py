"""Generated clients call the running stack as they are, open and sealed."""

from __future__ import annotations

import base64
import importlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blindgate import OhttpTransport, problems
from blindgate.attestation import PcrSet, Root, Trust
from tests.e2e.live import LiveStack
from tests.tools import npm, sdks

# The first run installs the locked generators.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def envelope(seal: Callable[[bytes], bytes], coffee: Path) -> bytes:
    return seal(coffee.read_bytes())


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("sdk")
    sdks.python(folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def module(name: str) -> Any:
    return importlib.import_module(f"generated.{name}")


def file(content: bytes) -> Any:
    return module("types").File(payload=io.BytesIO(content))


@pytest.fixture
def open_client(generated: Path, stack: LiveStack) -> Any:
    with module("client").Client(base_url=stack.url, timeout=300) as client:
        yield client


@pytest.fixture
def sealed_client(generated: Path, stack: LiveStack) -> Any:
    state = Path(stack.running.state)
    root = Root.from_pem((state / "root.pem").read_bytes())
    trust = Trust(root, (PcrSet.from_file(state / "pcrs.json"),))
    transport = {"transport": OhttpTransport(stack.url, trust=trust)}
    with module("client").Client(base_url=stack.url, httpx_args=transport) as client:
        yield client


def test_the_python_client_type_checks(generated: Path) -> None:
    options = ["--python-version", "3.11", "--no-error-summary", "--config-file", "/dev/null"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "-p", "generated"],
        cwd=generated, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    # client.py is the generator's own template, the same whatever the document says.
    ours = [line for line in done.stdout.splitlines() if not line.startswith("generated/client.py")]
    assert ours == []


def test_the_python_client_detects_in_an_envelope(
    open_client: Any, envelope: bytes, http: Any
) -> None:
    detect = module("api.detections.detect")
    found = detect.sync(
        client=open_client,
        body=file(envelope),
        min_score=0.4,
        classes=["cup", "dining table"],
        request_timeout=30.0,
    )
    assert isinstance(found, module("models.detection_list").DetectionList)
    assert "cup" in {each.label for each in found.detections}
    sample = module("api.detections.detect_as_sample").sync(client=open_client, body=file(envelope))
    assert isinstance(sample, module("models.sample_detections").SampleDetections)
    named = module("types").File(payload=io.BytesIO(envelope), file_name="coffee.encrypted")
    form = module("models.detect_in_form_body").DetectInFormBody(file=named)
    found = module("api.detections.detect_in_form").sync(client=open_client, body=form)
    assert isinstance(found, module("models.detection_list").DetectionList)


def test_the_python_client_gets_problems_as_values(open_client: Any) -> None:
    detect = module("api.detections.detect")
    answer = detect.sync_detailed(client=open_client, body=file(b"no envelope"))
    assert answer.status_code == 422
    assert isinstance(answer.parsed, module("models.problem").Problem)
    assert answer.parsed.type_ == problems.ENVELOPE_REJECTED.type


def test_the_python_client_reads_bodies_of_bytes(open_client: Any) -> None:
    keys = module("api.sealed_requests.get_ohttp_keys").sync(client=open_client)
    evidence = module("api.attestation.get_attestation").sync(
        client=open_client, nonce="bm9uY2UgZm9yIHRoZSBleGFtcGxl"
    )
    assert keys is not None
    assert len(keys.payload.read()) > 32
    assert evidence is not None


def test_the_python_client_infers(open_client: Any, envelope: bytes) -> None:
    models = module("api.models.list_models").sync(client=open_client)
    given = module("models.infer_input").InferInput(
        name="image", datatype="BYTES", shape=[1], data=[base64.b64encode(envelope).decode()]
    )
    body = module("models.infer_request").InferRequest(inputs=[given])
    infer = module("api.open_inference_protocol.infer")
    answer = infer.sync(models.models[0].name, client=open_client, body=body)
    (labels,) = (each.data for each in answer.outputs if each.name == "labels")
    assert "cup" in labels


def test_the_python_client_goes_sealed(sealed_client: Any, coffee: Path) -> None:
    detect = module("api.detections.detect")
    found = detect.sync(client=sealed_client, body=file(coffee.read_bytes()), min_score=0.4)
    assert "cup" in {each.label for each in found.detections}
    refused = detect.sync_detailed(client=sealed_client, body=file(b"no picture"))
    assert refused.parsed.type_ == problems.IMAGE_REJECTED.type


@npm.needs_npm
def test_the_typescript_client_type_checks_and_calls_open_and_sealed(
    stack: LiveStack, coffee: Path, envelope: bytes, tmp_path: Path
) -> None:
    programs = sdks.typescript()
    (tmp_path / "coffee.encrypted").write_bytes(envelope)
    assert npm.NODE is not None
    output = npm.run(
        [npm.NODE, programs / "sdk.js"],
        npm.FOLDER,
        BLINDGATE_URL=stack.url,
        BLINDGATE_DEV_ROOT=stack.running.state,
        BLINDGATE_ENVELOPE=str(tmp_path / "coffee.encrypted"),
        BLINDGATE_PHOTO=str(coffee),
    )
    saw = json.loads(output.splitlines()[0])
    assert "cup" in saw["open"]
    assert "cup" in saw["inferred"]
    assert set(saw["sealed"]) == {"cup"}
    assert saw["refused"] == problems.ENVELOPE_REJECTED.type
    assert saw["rejected"] == problems.IMAGE_REJECTED.type
    assert saw["sealedBy"] == saw["rejectedBy"] == "true"
