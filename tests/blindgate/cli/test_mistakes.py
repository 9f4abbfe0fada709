"""What a person may type wrongly: one line and an exit code, for every command that there is."""

from __future__ import annotations

import base64
import importlib
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from blindgate.cli import main
from blindgate.cli.commands import add_plugins, app
from blindgate.failures import DEBUG_VARIABLE, INSTALL_CHECKOUT, INSTALL_CLIENT
from tests import command_line
from tests.vectors.forge import PCRS, ROOT

PNG: Final = b"\x89PNG\r\n\x1a\n the rest of an image, and its IEND"
ENVELOPE: Final = b"\x02\x05\x78 the rest of a message"
#: Nothing listens there.
AWAY: Final = "http://127.0.0.1:9"
ARN: Final = "arn:aws:iam::111122223333:role/r"

#: Arguments of each command, and what the one line says. `{name}` is a file of the fixture below.
MISTAKES: Final[dict[str, list[tuple[str, str]]]] = {
    "detect": [
        ("", "Missing argument 'file'"),
        ("absent.jpg", "cannot read absent.jpg: No such file"),
        ("{folder}", "is a folder, not a file"),
        ("{empty}", "is empty"),
        ("{heic}", "is a HEIC photo, which the enclave does not open. Save it as JPEG"),
        ("{text}", "is a text file, which the enclave does not open"),
        ("{junk}", "is neither a photo (JPEG, PNG or WebP) nor a file that Blindgate encrypted"),
        ("{png}", "sealing needs to know which enclave to trust"),
        ("{png} --open", "is not encrypted, so the gateway would see it"),
        ("{png} --trust {pcrs}", "which gateway to ask"),
        ("{envelope}", "which gateway to ask"),
        ("{envelope} --gateway 127.0.0.1:9", "write it as http://127.0.0.1:9"),
        ("{png} --trust {pcrs} --gateway localhost", "write it as http://localhost"),
        ("{png} --trust {pcrs} --gateway ftp://x", "is not the URL of a gateway"),
        ("{png} --trust {pcrs} --gateway http://", "is not the URL of a gateway"),
        ("{png} --trust {pcrs} --gateway http://h:port", "is not the URL of a gateway"),
        ("{png} --trust {pcrs} --gateway http://h/v1", "write http://h"),
        ("{png} --trust {pcrs} --gateway http://u:hunter2@h", "no user name and no password"),
        ("{png} --trust {pcrs} --gateway " + AWAY, "no connection to http://127.0.0.1:9"),
        ("{envelope} --gateway " + AWAY, "no connection to http://127.0.0.1:9"),
        ("{png} --trust {pcrs} --gateway http://absent.invalid", "there is no host absent.invalid"),
        ("{png} --trust {text} --gateway " + AWAY, "not JSON"),
        ("{png} --trust absent --gateway " + AWAY, "cannot read absent"),
        ("{png} --trust {folder} --gateway " + AWAY, "cannot read"),
        ("{png} --trust development --gateway " + AWAY, "no development stack"),
        ("{png} --trust development --trust {pcrs} --gateway " + AWAY, "cannot be combined"),
        ("{png} --trust {pcrs} --gateway " + AWAY + " --classes cup,", "a label is empty"),
        ("{png} --trust {pcrs} --gateway " + AWAY + " --classes=", "a label is empty"),
        ("{png} --trust {pcrs} --gateway " + AWAY + " --classes a\x07b", "classes.0"),
        ("{png} --min-score 2", "less than or equal to 1"),
        ("{png} --tiles x", "'--tiles'"),
        ("{png} --bogus", "No such option: --bogus"),
        ("{png} {png}", "unexpected extra argument"),
        ("{png} --trust {pcrs} --gateway " + AWAY + " --annotate absent/o.png", "no such folder"),
        ("{png} --trust {pcrs} --gateway " + AWAY + " --annotate o.nope", "must end in .png"),
        ("{png} --trust {pcrs} --gateway " + AWAY + " --annotate {folder}", "is a folder"),
        ("{png} --trust {pcrs} --gateway " + AWAY + " --annotate {png}", "it is not overwritten"),
        (
            "{png} --trust {pcrs} --gateway " + AWAY + " --annotate {png} --force",
            "it is not overwritten",
        ),
        (
            "{png} --trust {pcrs} --gateway " + AWAY + " --annotate {link} --force",
            "it is not overwritten",
        ),
        ("{png} --trust {pcrs} --gateway " + AWAY + " --annotate {drawn}", "exists already"),
        ("{envelope} --gateway " + AWAY + " --annotate o.png", "to draw on"),
        ("{envelope} --gateway " + AWAY + " --annotate o.png --image absent.png", "cannot read"),
        ("{envelope} --gateway " + AWAY + " --annotate o.png --image {heic}", "is a HEIC photo"),
        ("{envelope} --api-key a --token b", "either --api-key or --token, not both"),
        ("{envelope} --api-key=", "the API key is empty"),
        ("{envelope} --token @absent", "cannot read absent"),
        ("{envelope} --token @{junk}", "is not the file of an token"),
        ("{envelope} --config absent.toml", "cannot read absent.toml"),
        ("{envelope} --config {text}", "is not TOML"),
        ("{envelope} --config {toml}", "sets 'api_key', which is no setting"),
    ],
    "encrypt": [
        ("", "Missing argument 'FILE'"),
        ("{png}", "Missing option '--key-id'"),
        ("absent --key-id k", "cannot read absent"),
        ("{folder} --key-id k", "is a folder"),
        ("{empty} --key-id k", "is empty"),
        ("{heic} --key-id k", "is a HEIC photo"),
        ("{envelope} --key-id k", "is encrypted already"),
        ("{png} --key-id k --context x", "is not a further NAME=VALUE"),
        ("{png} --key-id k --format zip", "'--format'"),
        ("{png} --key-id k --format sample --context a=b", "no encryption context"),
        ("{png} --key-id k --endpoint-url http://kms.example", "must be https"),
        ("{png} --key-id k --output {other}", "exists already"),
        ("{png} --key-id k --output {png} --force", "it is not overwritten"),
        ("{png} --key-id k --output {folder}", "is a folder"),
        ("{png} --key-id k --output absent/x", "no such folder"),
        ("{png} --key-id k --region xx", "no AWS credentials found"),
        ("{png} --key-id k --profile absent", "absent"),
    ],
    "verify": [
        ("", "which gateway to ask"),
        ("http://h --gateway http://h", "give the gateway once"),
        ("http://h", "no measurements to compare with"),
        ("localhost:9 --trust {pcrs}", "write it as http://localhost:9"),
        (AWAY + " --trust {pcrs}", "no connection to http://127.0.0.1:9"),
        (AWAY + " --trust {text}", "not JSON"),
        (AWAY + " --trust development", "no development stack"),
        (AWAY + " --trust {pcrs} --dev-root {text}", "not a PEM file with one certificate"),
        (AWAY + " --trust {pcrs} --dev-root {odd}", "not a PEM file with one certificate"),
        (AWAY + " --trust {pcrs} --dev-root {folder}", "cannot read"),
        ("--document absent --trust {pcrs}", "cannot read absent"),
        ("--document {junk} --trust {pcrs}", "REFUSED"),
        ("--document {junk} --trust {pcrs} --at noon", "not an ISO 8601 time"),
    ],
    "image build": [
        ("", "Missing option"),
        ("--config {toml} --model absent -o o.eif", "there is no model absent"),
        ("--config {toml} --model {folder} -o o.eif", "it has no model.toml"),
        ("--config absent.toml --model {model} -o o.eif", "cannot read absent.toml"),
        ("--config {text} --model {model} -o o.eif", "does not name"),
        ("--config {toml} --model {model} -o /proc/absent/o.eif", "cannot write into /proc/absent"),
        ("--config {toml} --model {model} -o {other}", "exists already"),
        ("--config {toml} --model {model} -o {toml} --force", "it is not overwritten"),
        ("--config {toml} --model {model} -o {folder}", "is a folder"),
        ("--config {toml} --model {model} -o o.eif --module m", "Give --kernel too"),
    ],
    "image pcrs": [("absent", "cannot read absent"), ("{png}", "not an enclave image (EIF)")],
    "image inspect": [("{folder}", "is a folder"), ("{text}", "not an enclave image (EIF)")],
    "image lock": [("absent.toml", "cannot read absent.toml"), ("{text}", "{text}")],
    "policy": [
        ("", "a policy is written from --pcrs, --role and --admin"),
        ("--pcrs absent --role " + ARN + " --admin " + ARN, "cannot read absent"),
        ("--pcrs {pcrs} --role x --admin " + ARN, "is not the ARN of an IAM role or user"),
        ("--pcrs {pcrs} --role " + ARN + " --admin " + ARN, "both the enclave's role and"),
    ],
    "policy write": [
        ("--pcrs {folder} --role " + ARN + " --admin " + ARN, "cannot read"),
        ("--pcrs {pcrs} --role a --admin b --encryption-context x", "Write it as name=value"),
    ],
    "policy lint": [
        ("absent", "cannot read absent"),
        ("{folder}", "is a folder"),
        ("{text}", "is not a key policy"),
        ("{junk}", "is not a key policy"),
    ],
    "keys create": [
        ("a", "say where the keys are"),
        ("a --file {text}", "not a list of API keys"),
        ("a --file absent/k.json", "cannot write absent/k.json"),
        ("a --file k.json --expires 3y", "is not a length of time"),
    ],
    "keys list": [
        ("--file absent.json", "cannot read absent.json"),
        ("--file {folder}", "Is a directory"),
        ("--file {pcrs}", "not a list of API keys"),
    ],
    "keys revoke": [("0123456789abcdef --file {keys}", "there is no key 0123456789abcdef")],
    "audit verify": [
        ("absent", "absent: No such file"),
        ("{folder}", "Is a directory"),
        ("{text}", "line 1"),
        ("{text} --head x", "a head is a number"),
    ],
    "doctor": [
        ("extra", "No such command 'extra'"),
        ("--timeout 0", "greater than or equal to 1"),
        ("--key-policy absent", "cannot read absent"),
        ("--key-policy {folder}", "is a folder"),
        ("--report {folder}", "is a folder"),
        ("--report {other}", "exists already"),
        ("--report absent/r.json", "no such folder"),
        ("--report {other} --force --image {other}", "it is not overwritten"),
    ],
    "models list": [("extra", "unexpected extra argument")],
    "models pull": [
        ("absent", "no model 'absent'"),
        ("yolox-nano", "bring its file with"),
        ("yolox-nano --from absent", "cannot read absent"),
        ("yolox-nano --from {text}", "does not have the SHA-256"),
    ],
    "models info": [("absent", "no model 'absent'"), ("../x --json", "no model '../x'")],
    "models remove": [
        ("absent", "the cache has no model 'absent'"),
        ("..", "the cache has no model '..'"),
        ("ssd-mobilenet-v2-coco", "the cache has no model"),
    ],
    "models check": [
        ("absent --manifest {text}", "cannot read absent"),
        ("{junk} --manifest {text}", "{text}"),
        ("{junk} --manifest {text} --photo {heic}", "is a HEIC photo"),
        ("{junk} --manifest {text} --photo {png} --output {png} --force", "not overwritten"),
        ("{junk} --manifest {text} --photo {png} --output {drawn}", "exists already"),
        ("{junk} --manifest {text} --photo {png} --output absent/o.png", "no such folder"),
    ],
    "models eval": [
        ("absent --coco {folder}", "holds none of"),
        ("absent --coco absent", "holds none of"),
    ],
    "models quantize": [
        ("yolox-nano --calibrate {folder} --coco {folder}", "holds none of"),
        ("yolox-nano --calibrate absent --coco {coco}", "is not a folder of photos"),
        ("absent --calibrate {folder} --coco {coco}", "no model 'absent'"),
        ("yolox-nano --calibrate {folder} --coco {coco} --write {model}", "exists already"),
    ],
    "dev up": [
        ("--state /proc/absent", "cannot make the folder /proc/absent"),
        ("--state {text}", "cannot make the folder"),
        ("--state {model}", "was not written by `blindgate dev`"),
        ("--state s --port {port} --kms-port 0", "choose another port with --port"),
        ("--state s --port 0 --kms-port {port}", "choose another port with --kms-port"),
        ("--state s --port 70000", "less than or equal to 65535"),
        ("--state s --port 0 --kms-port 0 --no-console --model {folder}", "it has no model.toml"),
    ],
    "dev status": [("--state absent", "nothing runs in")],
    "dev env": [("--state absent", "nothing runs in")],
    "dev demo": [
        ("--photo {folder}", "is a folder, not a file"),
        ("--photo absent", "cannot read absent"),
        ("--photo {heic}", "is a HEIC photo"),
        ("--photo {png} --output /proc/absent", "cannot write into /proc/absent"),
        ("--photo {png} --output {text}", "{text}"),
        ("--photo {png} --output {taken}", "exists already"),
    ],
    "dev kms": [
        ("--listen nonsense", "is no address"),
        ("--listen 127.0.0.1:99999", "is no address"),
        ("--nsm-root absent", "cannot be read"),
        ("--nsm-root {text}", "not a PEM file with one certificate"),
        ("--folder /proc/absent", "/proc/absent"),
        ("--folder f --state {text}", "{text}"),
        ("--folder f --principals {text}", "{text}"),
    ],
}
ROWS: Final = [(command, *row) for command, rows in MISTAKES.items() for row in rows]


def commands(of: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all commands below a command."""
    below = getattr(of, "commands", {})
    if not below or (path and of.invoke_without_command):
        yield " ".join(path)
    for name, command in below.items():
        yield from commands(command, (*path, name))


def test_every_command_has_a_row() -> None:
    add_plugins()
    assert set(commands(typer.main.get_command(app))) == set(MISTAKES)


def version_4() -> bytes:
    """A certificate of a version that X.509 does not have: the library's error is its own."""
    der = ROOT.root.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03", 1)
    assert der != ROOT.root.der
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Files that are not what a command wants, by name."""
    monkeypatch.chdir(tmp_path)
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made = {
        "png": PNG,
        "other": b"precious",
        "drawn": b"precious",
        "empty": b"",
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "text": b"just some words\n",
        "junk": b"\xfe\xed\xfa\xce\x80\x81\x82",
        "envelope": ENVELOPE,
        "toml": b'api_key = "hunter2"\n',
        "pcrs": json.dumps({f"PCR{i}": PCRS[i].hex() for i in (0, 1, 2)}).encode(),
        "keys": b'{"version": 1, "keys": []}',
        "odd": version_4(),
    }
    places = {name: tmp_path / name for name in made}
    for name, content in made.items():
        places[name].write_bytes(content)
    for name in ("folder", "model", "taken", "coco"):
        places[name] = tmp_path / name
        places[name].mkdir()
    for name in ("model.toml", "model.onnx", "enclave.toml"):
        (places["model"] / name).write_bytes(b"name = 'x'\n")
    (places["taken"] / "png.encrypted").write_bytes(b"precious")
    images = [{"id": 1, "file_name": "a.png"}]
    (places["coco"] / "instances.json").write_text(
        json.dumps({"images": images, "annotations": [], "categories": []})
    )
    (places["coco"] / "images").mkdir()
    (places["coco"] / "images" / "a.png").write_bytes(PNG)
    places["link"] = tmp_path / "link.png"
    places["link"].hardlink_to(places["png"])
    places["png"] = places["png"].rename(tmp_path / "png.png")
    places["drawn"] = places["drawn"].rename(tmp_path / "drawn.png")
    (places["taken"] / "png.png.encrypted").write_bytes(b"precious")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        yield {**{name: str(path) for name, path in places.items()}, "port": port}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


@pytest.mark.parametrize(("command", "arguments", "says"), ROWS, ids=lambda text: text[:70])
def test_a_mistake_is_one_line_and_changes_nothing(
    command: str, arguments: str, says: str, places: dict[str, str], tmp_path: Path
) -> None:
    before = contents(tmp_path)
    words = [each.format_map(places) for each in arguments.split(" ") if each]
    done = command_line.run(*command.split(), *words)
    assert done.exit_code in (1, 2), done.output
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("blindgate: ")
    assert says.format_map(places) in lines[0]
    assert "hunter2" not in lines[0]
    after = contents(tmp_path)
    assert before.items() <= after.items()


def test_without_a_command_there_is_help() -> None:
    done = command_line.run()
    assert done.exit_code == 2
    assert "encrypt, verify, detect" in done.stdout
    assert "Traceback" not in done.output


def test_an_unknown_command_is_named() -> None:
    done = command_line.run("detekt")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "No such command 'detekt'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_version_is_that_of_the_package() -> None:
    import blindgate

    assert command_line.run("--version").stdout == f"blindgate {blindgate.__version__}\n"
    assert blindgate.__version__[0].isdigit()


class Broken:
    """A mistake of the programmer, raised where a command reads its file."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *_: object, **__: object) -> bytes:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyError("x"), 1, "unexpected KeyError: 'x'. Set BLINDGATE_DEBUG=1 for the traceback"),
        (ValueError("no such thing\nsecond"), 1, "no such thing. Set BLINDGATE_DEBUG=1"),
        (OSError(28, "No space left on device", "/f"), 1, "/f: No space left on device"),
        (MemoryError(), 1, "there is not enough memory"),
        (ExceptionGroup("g", [OSError(13, "Permission denied", "/g")]), 1, "/g: Permission denied"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
        (EOFError(), 1, ""),
    ],
)
def test_whatever_is_raised_is_one_line(
    error: BaseException,
    code: int,
    says: str,
    places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("blindgate.cli.policy.read_file", Broken(error))
    done = command_line.run("policy", "lint", places["text"])
    assert done.exit_code == code
    assert done.stderr.count("\n") <= 1
    assert says in done.stderr
    assert bool(done.stderr.strip()) == bool(says)


def test_the_traceback_can_be_had(places: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blindgate.cli.policy.read_file", Broken(KeyError("x")))
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    with pytest.raises(KeyError):
        command_line.run("policy", "lint", places["text"])


@pytest.mark.parametrize(
    ("words", "module", "install"),
    [
        (["detect", "x"], "typer", INSTALL_CLIENT),
        (["encrypt", "{png}", "--key-id", "k"], "boto3", INSTALL_CLIENT),
        (["keys", "list", "--secret", "x"], "botocore", INSTALL_CHECKOUT),
        (["models", "list"], "enclave_app.detector.manifest", INSTALL_CHECKOUT),
        (["image", "build", "--config", "c"], "typer", INSTALL_CHECKOUT),
        (["dev", "status"], "boto3", INSTALL_CHECKOUT),
    ],
)
def test_a_missing_package_is_one_line_with_what_to_install(
    words: list[str],
    module: str,
    install: str,
    places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # A fresh import of our own modules, while one that they need cannot be found. Packages get
    # their present submodules back as well: an import binds the new ones as their attributes.
    ours = ("blindgate.cli.", "gateway.", "models", "devstack.")
    for name in [each for each in sys.modules if each.startswith(ours)]:
        parent, _, child = name.rpartition(".")
        if parent and hasattr(sys.modules[parent], child):
            monkeypatch.setattr(sys.modules[parent], child, getattr(sys.modules[parent], child))
    for name in [each for each in sys.modules if each.startswith(ours)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(sys, "argv", ["blindgate", *(each.format_map(places) for each in words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    importlib.invalidate_caches()
    assert stopped.value.code == 1
    said = capfd.readouterr().err
    assert f"this needs: {install} (no module {module})" in said
    assert len(said.splitlines()) == 1


def test_what_is_printed_into_a_closed_pipe_ends_quietly() -> None:
    """In this process, with a real pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    out = os.fdopen(write, "w", buffering=1)
    error: list[object] = []

    def work() -> None:
        from unittest.mock import patch

        with patch.object(sys, "argv", ["blindgate", "--version"]), patch.object(
            sys, "stdout", out
        ):  # fmt: skip
            try:
                main()
            except SystemExit as stop:
                error.append(stop.code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert error
    assert error[0] in (1, 141)
