"""The main job: a photo is encrypted, posted as ciphertext, opened in the worker, answered."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from blindgate.detections import Box, Detections
from blindgate.envelope.message_header import parse_header
from tests.e2e.live import LiveStack

pytestmark = pytest.mark.e2e

#: The AWS sample's published answer to its own photo, normalised [ymin, xmin, ymax, xmax].
AIRPLANES = [
    [0.0555, 0.3354, 0.2335, 0.5220],
    [0.4427, 0.1616, 0.6115, 0.3450],
    [0.6213, 0.3023, 0.7856, 0.4816],
    [0.2518, 0.2466, 0.4288, 0.4350],
    [0.8132, 0.4445, 0.9692, 0.6223],
]
OCTETS = {"content-type": "application/octet-stream"}


def labels(found: Detections) -> set[str]:
    return {each.label for each in found.detections}


@pytest.fixture(scope="module", params=["encryption-sdk", "sample"])
def encrypted(
    request: pytest.FixtureRequest,
    stack: LiveStack,
    coffee: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The coffee, encrypted by the CLI in each format."""
    folder = tmp_path_factory.mktemp(request.param)
    photo = Path(shutil.copy(coffee, folder))
    done = stack.cli(
        "encrypt", photo, "--key-id", stack.running.key_alias, "--format", request.param
    )
    assert done.returncode == 0, done.stderr
    if request.param == "sample":
        assert (folder / "coffee.png.data_key.encrypted").is_file()
    return folder / "coffee.png.encrypted"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_and_the_cli_give_the_same_answer(stack: LiveStack, encrypted: Path) -> None:
    curl = subprocess.run(
        [
            *("curl", "-sS", "--fail-with-body", "--data-binary", f"@{encrypted}"),
            *("-H", "content-type: application/octet-stream", f"{stack.url}/v1/detections"),
        ],
        capture_output=True,
        check=True,
        timeout=300,
    )
    cli = stack.cli("detect", encrypted, "--gateway", stack.url, "--json")
    assert cli.returncode == 0, cli.stderr
    answer = Detections.model_validate_json(curl.stdout)
    assert answer == Detections.model_validate_json(cli.stdout)
    assert "cup" in labels(answer)
    assert (answer.image.width, answer.image.height) == (600, 400)


def test_the_cli_draws_what_was_found(stack: LiveStack, encrypted: Path, coffee: Path) -> None:
    target = encrypted.with_name("drawn.png")
    done = stack.cli("detect", encrypted, "--gateway", stack.url, "--annotate", target)
    assert done.returncode == 0, done.stderr
    assert "cup" in done.stdout
    with Image.open(target) as drawn, Image.open(coffee) as photo:
        # Small photos are enlarged, so that a person can read the labels.
        assert drawn.width / drawn.height == photo.width / photo.height
        same = photo.convert("RGB").resize(drawn.size)
        assert drawn.convert("RGB").tobytes() != same.tobytes()


def test_the_samples_shape_is_given_on_request(http: httpx.Client, encrypted: Path) -> None:
    answer = http.post(
        "/v1/detections",
        params={"format": "sample", "min_score": 0.5},
        content=encrypted.read_bytes(),
        headers=OCTETS,
    )
    (cup, *_) = [each for each in answer.json()["objects_detected"] if each["name"] == "cup"]
    assert 50 <= cup["score"] <= 100
    ymin, xmin, ymax, xmax = cup["detection_box"]
    assert 0 <= ymin < ymax <= 1
    assert 0 <= xmin < xmax <= 1


def test_a_multipart_upload_is_the_same(http: httpx.Client, encrypted: Path) -> None:
    content = encrypted.read_bytes()
    raw = http.post("/v1/detections", content=content, headers=OCTETS)
    form = http.post("/v1/detections", files={"file": ("x", content, "application/octet-stream")})
    assert raw.status_code == 200
    assert form.json() == raw.json()


def iou(box: Box, other: list[float], width: int, height: int) -> float:
    """Intersection over union of a box in pixels and a normalised one."""
    y_min, x_min, y_max, x_max = (
        value * size for value, size in zip(other, [height, width] * 2, strict=True)
    )
    across = max(0.0, min(box.x_max, x_max) - max(box.x_min, x_min))
    down = max(0.0, min(box.y_max, y_max) - max(box.y_min, y_min))
    both = across * down
    areas = (box.x_max - box.x_min) * (box.y_max - box.y_min) + (x_max - x_min) * (y_max - y_min)
    return both / (areas - both)


def test_five_airplanes_are_where_the_aws_sample_says(
    http: httpx.Client, seal: Callable[[bytes], bytes], vector: Callable[[str], Path]
) -> None:
    content = seal(vector("air-show.jpg").read_bytes())
    query = {"min_score": "0.4", "classes": "airplane"}
    answer = http.post("/v1/detections", params=query, content=content, headers=OCTETS)
    found = Detections.model_validate_json(answer.content)
    width, height = found.image.width, found.image.height
    assert (width, height) == (3994, 3235)
    assert len(found.detections) == 5
    for published in AIRPLANES:
        assert max(iou(each.box, published, width, height) for each in found.detections) >= 0.7


def test_options_filter_the_answer(
    http: httpx.Client, seal: Callable[[bytes], bytes], coffee: Path
) -> None:
    content = seal(coffee.read_bytes())

    def ask(**query: Any) -> Detections:
        answer = http.post("/v1/detections", params=query, content=content, headers=OCTETS)
        assert answer.status_code == 200, answer.text
        return Detections.model_validate_json(answer.content)

    everything = ask(min_score=0.1)
    assert len(everything.detections) > 1
    assert ask(min_score=0.1, max_detections=1).detections == everything.detections[:1]
    assert labels(ask(min_score=0.1, classes="cup")) == {"cup"}
    assert all(each.score >= 0.5 for each in ask(min_score=0.5).detections)
    scores = [each.score for each in everything.detections]
    assert scores == sorted(scores, reverse=True)


def test_a_data_key_that_was_released_costs_no_second_call(
    stack: LiveStack, http: httpx.Client, encrypted: Path
) -> None:
    def decrypts() -> int:
        return stack.printed().count("Decrypt by arn:aws:sts::111122223333:assumed-role/")

    def ask() -> None:
        answer = http.post("/v1/detections", content=encrypted.read_bytes(), headers=OCTETS)
        assert answer.status_code == 200

    ask()
    before = decrypts()
    assert before > 0
    for _ in range(3):
        ask()
    assert decrypts() == before


def test_the_parent_cannot_open_what_it_forwards(stack: LiveStack, encrypted: Path) -> None:
    if encrypted.parent.name.startswith("sample"):
        data = encrypted.read_bytes()
        blob = data[4 : 4 + int.from_bytes(data[:4])]
        context: dict[str, str] = {}
    else:
        header = parse_header(encrypted.read_bytes())
        (key,) = header.data_keys
        blob, context = key.ciphertext, dict(header.context)
    kms = stack.kms("parent")
    with pytest.raises(kms.exceptions.ClientError, match="AccessDeniedException"):
        kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)


def test_what_runs_is_said(stack: LiveStack) -> None:
    done = stack.cli("dev", "status")
    assert done.returncode == 0, done.stderr
    for name in ("kms", "nsm", "vsock-proxy", "worker", "gateway"):
        assert name in done.stdout
    assert stack.url in done.stdout


def test_health_says_ready(http: httpx.Client) -> None:
    assert http.get("/livez").status_code == 200
    assert http.get("/readyz").status_code == 200


def test_the_models_labels_are_told(http: httpx.Client) -> None:
    answer = http.get("/v1/models")
    assert answer.status_code == 200
    assert "airplane" in json.dumps(answer.json())


def test_the_enclave_is_verified_by_anybody(stack: LiveStack, tmp_path: Path) -> None:
    state = Path(stack.running.state)
    root = ["--dev-root", str(state / "root.pem")]
    good = stack.cli("verify", stack.url, "--pcrs", state / "pcrs.json", *root)
    assert good.returncode == 0, good.stderr
    measured = json.loads((state / "pcrs.json").read_text())["Measurements"]
    assert measured["PCR0"][:16] in good.stdout + good.stderr
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"Measurements": measured | {"PCR0": "ab" * 48}}))
    bad = stack.cli("verify", stack.url, "--pcrs", other, *root)
    assert bad.returncode == 1
    aws = stack.cli("verify", stack.url, "--pcrs", state / "pcrs.json")
    assert aws.returncode == 1


def test_a_photo_is_detected_sealed_and_a_wrong_measurement_stops_it_before_anything_is_sent(
    stack: LiveStack, coffee: Path, tmp_path: Path
) -> None:
    good = stack.cli("detect", coffee, "--gateway", stack.url, "--trust", "development", "--json")
    assert good.returncode == 0, good.stderr
    assert "cup" in labels(Detections.model_validate_json(good.stdout))
    state = Path(stack.running.state)
    measured = json.loads((state / "pcrs.json").read_text())["Measurements"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "root.pem").write_bytes((state / "root.pem").read_bytes())
    (other / "pcrs.json").write_text(json.dumps({"Measurements": measured | {"PCR1": "ab" * 48}}))

    def sealed_posts() -> int:
        lines = stack.printed().splitlines()
        return sum('"method": "POST"' in each and "ohttp-gateway" in each for each in lines)

    before = sealed_posts()
    environment = stack.environment | {"BLINDGATE_DEV_ROOT": str(other)}
    command = ["detect", str(coffee), "--gateway", stack.url, "--trust", "development"]
    bad = subprocess.run(
        [sys.executable, "-m", "blindgate", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert bad.returncode == 1
    assert "Traceback" not in bad.stderr
    assert before >= 1
    assert sealed_posts() == before


def test_a_photo_is_never_sent_in_the_open(stack: LiveStack, coffee: Path) -> None:
    done = stack.cli("detect", coffee, "--gateway", stack.url, "--open")
    assert done.returncode == 2
    assert "is not encrypted" in done.stderr
    done = stack.cli("detect", coffee, "--gateway", stack.url)
    assert done.returncode == 2
    assert "--trust" in done.stderr


def test_a_gateway_that_is_not_there_is_said(stack: LiveStack, encrypted: Path) -> None:
    done = stack.cli("detect", encrypted, "--gateway", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "no connection to http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
