"""`blindgate detect`, and how it signs in as `verify` does: real sealing, without sockets."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image

from blindgate import problems
from blindgate.attestation import UserData
from blindgate.cli.connection import Connection
from blindgate.cli.detect import THRESHOLDS
from blindgate.detections import Box, Detection, Detections, ImageSize, ModelRef
from devstack.nsm import DevRoot
from enclave_app.handlers.ohttp import InnerAnswer
from tests import command_line
from tests.blindgate.client.gateway import FOUND, PCRS, URL, Enclave, Gateway, write_state
from tests.command_line import Done

ENVELOPE = b"\x02\x05\x78 the rest of a message"
KEY = "bgk_0123456789abcdef_hunter2"
MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.fixture(scope="session")
def root() -> DevRoot:
    return DevRoot.generate()


@pytest.fixture
def enclave(root: DevRoot) -> Enclave:
    return Enclave(root)


@pytest.fixture
def gateway(
    enclave: Enclave, root: DevRoot, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> Gateway:
    """A gateway in memory that every command reaches, and its root in the folder for states."""
    made = Gateway(enclave)
    write_state(nobody / "state" / "blindgate" / "dev", root, PCRS)

    def client(self: Connection) -> httpx.Client:
        return httpx.Client(headers=self.headers, transport=httpx.MockTransport(made))

    monkeypatch.setattr(Connection, "client", client)
    # `verify` names no key.
    bound = UserData(enclave.keyring.digest(), bytes(32), bytes(32)).encode()
    keyed = made.attestation

    def attestation(request: httpx.Request) -> httpx.Response:
        if "key_id" in request.url.params:
            return keyed(request)
        nonce = base64.urlsafe_b64decode(request.url.params["nonce"] + "==")
        return made.document(enclave.nsm.attest(user_data=bound, nonce=nonce))

    made.replace["GET /v1/attestation"] = attestation
    return made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 48), "white").save(path)
    return path


@pytest.fixture
def envelope(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png.encrypted"
    path.write_bytes(ENVELOPE)
    return path


def detect(*arguments: object, stdin: str = "") -> Done:
    words = ("detect", *arguments, "--gateway", URL, "--trust", "development")
    return command_line.run(*words, stdin=stdin)


def open_answer(found: Detections) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, content=found.to_json())


OPEN = "POST /v1/detections"


def test_what_was_found_is_shown(gateway: Gateway, photo: Path) -> None:
    done = detect(photo)
    assert done.exit_code == 0, done.stderr
    assert "1 object on 640 x 480 pixels" in done.stdout
    assert "airplane" in done.stdout
    assert "0.88" in done.stdout
    assert Detections.model_validate_json(detect(photo, "--json").stdout) == FOUND


@pytest.mark.parametrize("command", ["detect", "verify"])
@pytest.mark.parametrize(
    ("given", "header"),
    [
        (["--api-key", KEY], ("x-api-key", KEY)),
        (["--api-key", "@key.txt"], ("x-api-key", KEY)),
        (["--api-key", "-"], ("x-api-key", KEY)),
        (["--token", KEY], ("authorization", f"Bearer {KEY}")),
        (["--token", "@key.txt"], ("authorization", f"Bearer {KEY}")),
        ({"BLINDGATE_API_KEY": KEY}, ("x-api-key", KEY)),
        ({"BLINDGATE_API_KEY": "@key.txt"}, ("x-api-key", KEY)),
        ({"BLINDGATE_TOKEN": f" {KEY}\n"}, ("authorization", f"Bearer {KEY}")),
        ("api_key_file", ("x-api-key", KEY)),
        ("token_file", ("authorization", f"Bearer {KEY}")),
    ],
    ids=str,
)
def test_the_key_goes_along_with_every_request(
    gateway: Gateway,
    photo: Path,
    nobody: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    given: list[str] | dict[str, str] | str,
    header: tuple[str, str],
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("key.txt").write_text(f"{KEY}\n")
    options: list[str] = []
    if isinstance(given, list):
        options = given
    elif isinstance(given, dict):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
    else:
        config = nobody / "config" / "blindgate" / "config.toml"
        config.parent.mkdir(parents=True)
        (config.parent / "secret").write_text(KEY)
        config.write_text(f'{given} = "secret"\n')
    words = [command, *([photo] if command == "detect" else []), *options]
    done = command_line.run(
        *words, "--gateway", URL, "--trust", "development", stdin=f"{KEY}\nmore\n"
    )
    assert done.exit_code == 0, done.stderr
    assert len(gateway.seen) == (3 if command == "detect" else 1)
    for request in gateway.seen:
        assert request.headers[header[0]] == header[1]
    assert KEY not in done.output


def test_an_envelope_that_is_not_sealed_signs_in_too(gateway: Gateway, envelope: Path) -> None:
    gateway.replace[OPEN] = open_answer(FOUND)
    done = command_line.run("detect", envelope, "--gateway", URL, "--open", "--api-key", KEY)
    assert done.exit_code == 0, done.stderr
    (request,) = gateway.seen
    assert request.headers["x-api-key"] == KEY
    assert request.content == ENVELOPE


def test_the_configuration_names_gateway_and_trust(
    gateway: Gateway, photo: Path, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = nobody / "config" / "blindgate" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'gateway = "{URL}"\ntrust = ["development"]\n')
    assert command_line.run("detect", photo).exit_code == 0
    assert command_line.run("verify").exit_code == 0
    # A file counts from the configuration's folder, wherever the command runs.
    measured = json.dumps({f"PCR{i}": value.hex() for i, value in PCRS.items()})
    (config.parent / "pcrs.json").write_text(measured)
    config.write_text(f'gateway = "{URL}"\ntrust = "pcrs.json"\n')
    done = command_line.run("verify")
    assert "wrong-root" in done.stderr
    # A variable counts more, and an option most.
    monkeypatch.setenv("BLINDGATE_TRUST", "development")
    assert command_line.run("verify").exit_code == 0
    monkeypatch.setenv("BLINDGATE_GATEWAY", "nonsense")
    assert "nonsense" in command_line.run("verify").stderr
    assert command_line.run("verify", "--gateway", URL).exit_code == 0
    assert (
        "wrong-root"
        in command_line.run("verify", URL, "--pcrs", config.parent / "pcrs.json").stderr
    )


def test_another_configuration_can_be_named(
    gateway: Gateway, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "other.toml"
    config.write_text(f'gateway = "{URL}"\ntrust = "development"\n')
    assert command_line.run("detect", photo, "--config", config).exit_code == 0
    monkeypatch.setenv("BLINDGATE_CONFIG", str(config))
    assert command_line.run("detect", photo).exit_code == 0


def test_an_option_counts_more_than_the_other_kind_in_a_variable(
    gateway: Gateway, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLINDGATE_API_KEY", "of-the-variable")
    assert detect(photo, "--token", KEY).exit_code == 0
    for request in gateway.seen:
        assert "x-api-key" not in request.headers
        assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("bad", ["two words", "line\nbreak", "n\u00f6n-ascii", ""])
def test_a_key_that_cannot_be_sent_is_not_shown(gateway: Gateway, photo: Path, bad: str) -> None:
    done = detect(photo, "--api-key", bad)
    assert done.exit_code == 2
    assert "the API key is empty or has a character that none has" in done.stderr
    assert not bad or bad not in done.stderr
    assert gateway.seen == []


def test_a_problem_is_shown_with_its_errors_and_the_request(gateway: Gateway, photo: Path) -> None:
    enclave = gateway.enclaves[0]
    enclave.handler = lambda _: InnerAnswer.of_problem(
        problems.INVALID_REQUEST,
        errors=[{"in": "query", "parameter": "classes", "message": "'catt' is not a label"}],
        request_id="01J",
    )
    done = detect(photo, "--classes", "catt")
    assert done.exit_code == 1
    assert done.stderr == (
        "blindgate: A parameter is not valid (422): classes: 'catt' is not a label (request 01J)\n"
    )


def test_labels_are_trimmed(gateway: Gateway, photo: Path, enclave: Enclave) -> None:
    assert detect(photo, "--classes", " cup, dining table ").exit_code == 0
    assert dict(enclave.asked[0].query)["classes"] == "cup,dining table"


def test_a_photo_without_its_end_gets_a_hint(gateway: Gateway, photo: Path) -> None:
    photo.write_bytes(photo.read_bytes()[:-12])
    gateway.enclaves[0].handler = lambda _: InnerAnswer.of_problem(problems.IMAGE_REJECTED)
    assert "Its end is missing" in detect(photo).stderr


def empty(model: str = "ssd-mobilenet-v2-coco-int8") -> InnerAnswer:
    size = ImageSize(width=1, height=1)
    found = Detections(model=ModelRef(name=model, version="1"), image=size, detections=())
    return InnerAnswer(200, found.to_json())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "scored 0.40 or more with ssd-mobilenet-v2-coco-int8. Try --min-score 0.2 or --tiles"),
        (["--min-score", "0.7"], "scored 0.70 or more"),
        (["--min-score", "0.1", "--tiles", "3"], "scored 0.10 or more with ssd-mobilenet-v2-"),
        (["--tiles", "2"], "--tiles 3"),
        (["--classes", "cup"], "Nothing of the labels cup scored"),
        (["--json"], "--min-score 0.2"),
    ],
)
def test_no_objects_is_explained(
    gateway: Gateway, photo: Path, options: list[str], says: str
) -> None:
    gateway.enclaves[0].handler = lambda _: empty()
    done = detect(photo, *options)
    assert done.exit_code == 0
    assert says in done.stderr
    assert ("Try" in done.stderr) == (options != ["--min-score", "0.1", "--tiles", "3"])


def test_a_model_of_ones_own_has_a_threshold_too(gateway: Gateway, photo: Path) -> None:
    gateway.enclaves[0].handler = lambda _: empty("mine")
    assert "Nothing scored as much as its threshold with mine" in detect(photo).stderr


def test_the_thresholds_named_are_those_of_the_manifests() -> None:
    shipped = {
        path.parent.name: tomllib.loads(path.read_text())["thresholds"]["score"]
        for path in MODELS.glob("*/model.toml")
    }
    assert shipped == THRESHOLDS


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u009b31m\u202egnp\nVERIFIED: all[/x] [red]"


def steers(text: str) -> set[str]:
    return {each for each in text if not each.isprintable() and each != "\n"}


def hostile_found() -> Detections:
    box = Box(x_min=0, y_min=0, x_max=1, y_max=1)
    found = Detection(label=HOSTILE, class_id=1, score=0.5, box=box)
    return Detections(
        model=ModelRef(name=HOSTILE, version=HOSTILE),
        image=ImageSize(width=64, height=48),
        detections=(found,),
    )


def test_a_label_cannot_steer_the_terminal(gateway: Gateway, envelope: Path) -> None:
    gateway.replace[OPEN] = open_answer(hostile_found())
    for options in ([], ["--json"]):
        done = command_line.run("detect", envelope, "--gateway", URL, *options)
        assert done.exit_code == 0, done.stderr
        assert steers(done.output) == set()
        assert "[/x] [red]" in done.stdout
        assert not any(line.startswith("VERIFIED") for line in done.output.splitlines())
    assert json.loads(done.stdout)["detections"][0]["label"] == HOSTILE


@pytest.mark.parametrize("member", ["title", "detail", "request_id", "errors"])
def test_a_problem_cannot_steer_the_terminal(gateway: Gateway, envelope: Path, member: str) -> None:
    hostile = [{"parameter": HOSTILE, "message": HOSTILE}] if member == "errors" else HOSTILE
    body = {**problems.IMAGE_REJECTED.body(), member: hostile}
    gateway.replace[OPEN] = lambda _: httpx.Response(422, json=body)
    done = command_line.run("detect", envelope, "--gateway", URL)
    assert done.exit_code == 1
    assert steers(done.output) == set()
    assert "\\x1b]0;owned" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_name_cannot_steer_the_terminal(gateway: Gateway, tmp_path: Path) -> None:
    for name in (HOSTILE.replace("/", "_"), os.fsdecode(b"\xff\xfe.png")):
        photo = tmp_path / name
        photo.write_bytes(b"")
        done = detect(photo)
        assert done.exit_code == 2
        assert steers(done.output) == set()
        assert not any(line.startswith("VERIFIED") for line in done.stderr.splitlines())


def test_a_report_of_a_hostile_enclave_cannot_steer_the_terminal(
    gateway: Gateway, enclave: Enclave, tmp_path: Path
) -> None:
    measured = {f"PCR{i}": value.hex() for i, value in PCRS.items()}
    pcrs = tmp_path / "[red]\u202e\x1b[2J.json"
    pcrs.write_text(json.dumps(measured))
    root = tmp_path / "root.pem"
    root.write_bytes(enclave.root.pem)
    done = command_line.run("verify", URL, "--pcrs", pcrs, "--dev-root", root)
    assert done.exit_code == 0, done.stderr
    assert steers(done.output) == set()
    assert "[red]\\u202e\\x1b[2J.json" in done.stdout


def test_a_drawing_replaces_only_what_it_is_told_to(
    gateway: Gateway, photo: Path, tmp_path: Path
) -> None:
    before = photo.read_bytes()
    target = tmp_path / "drawn.png"
    assert detect(photo, "--annotate", target).exit_code == 0
    drawn = target.read_bytes()
    assert Image.open(io.BytesIO(drawn)).format == "PNG"
    target.write_bytes(b"precious")
    assert "exists already" in detect(photo, "--annotate", target).stderr
    assert target.read_bytes() == b"precious"
    assert detect(photo, "--annotate", target, "--force").exit_code == 0
    assert target.read_bytes() == drawn
    for name in ("same/../photo.png", "symbolic.png", "hard.png"):
        link = tmp_path / name
        (tmp_path / "same").mkdir(exist_ok=True)
        if name == "symbolic.png":
            link.symlink_to(photo)
        elif name == "hard.png":
            link.hardlink_to(photo)
        done = detect(photo, "--annotate", link, "--force")
        assert done.exit_code == 2
        assert "it is not overwritten" in done.stderr
    assert photo.read_bytes() == before


def test_the_photo_behind_an_envelope_is_not_overwritten_either(
    gateway: Gateway, photo: Path, envelope: Path
) -> None:
    before = photo.read_bytes()
    assert detect(envelope, "--annotate", photo, "--force").exit_code == 2
    assert photo.read_bytes() == before


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp"])
def test_a_drawing_has_the_format_of_its_name(
    gateway: Gateway, photo: Path, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"drawn{suffix}"
    assert detect(photo, "--annotate", target).exit_code == 0
    wanted = {".png": "PNG", ".webp": "WEBP"}.get(suffix, "JPEG")
    with Image.open(target) as drawn:
        assert drawn.format == wanted


def test_a_drawing_that_cannot_be_written_leaves_nothing(
    gateway: Gateway, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "drawn.png"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "hardlink_to", full)
    done = detect(photo, "--annotate", target)
    assert done.exit_code == 1
    assert f"cannot write {target}: No space left on device" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == [photo.name]
