from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from enclave_image import layers
from enclave_image.build import Recipe, build, measured_files
from enclave_image.errors import ImageError
from enclave_image.kernel import source
from enclave_image.kernel.choice import ChosenKernel
from enclave_image.pcrs import Measurements
from enclave_image.sbom import sbom
from enclave_image.wheels import Wheel
from tests.enclave_image.debs import package

CONFIG = """
[kms]
region = "us-east-1"
key_arns = ["arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"]
encryption_context = {{ purpose = "blindgate" }}
address = "vsock://{cid}:8000"
ca_bundle = "{bundle}"
[model]
folder = "{folder}"
"""


def recipe(
    folder: Path, bundle: str = "ca.pem", model: str = "model", manifest: str = ""
) -> Recipe:
    config = folder / "enclave.toml"
    config.write_text(CONFIG.format(cid=3, bundle=bundle, folder=model))
    (folder / "ca.pem").write_text("CERTIFICATE")
    detector = folder / "detector"
    detector.mkdir(exist_ok=True)
    for name in ("model.onnx", ".hidden"):
        (detector / name).write_text(name)
    (detector / "model.toml").write_text(manifest)
    return Recipe(config, detector)


def test_what_the_configuration_names_lies_beside_it_in_the_image(tmp_path: Path) -> None:
    found = measured_files(recipe(tmp_path))
    assert {path: entry.data for path, entry in found.items()} == {
        "etc/blindgate/enclave.toml": (tmp_path / "enclave.toml").read_bytes(),
        "etc/blindgate/ca.pem": b"CERTIFICATE",
        "etc/blindgate/model/model.toml": b"",
        "etc/blindgate/model/model.onnx": b"model.onnx",
    }


@pytest.mark.parametrize(
    ("bundle", "model"), [("/etc/ssl/ca.pem", "m"), ("ca.pem", "/m"), ("ca.pem", "../m")]
)
def test_paths_that_leave_the_configurations_folder_are_refused(
    tmp_path: Path, bundle: str, model: str
) -> None:
    with pytest.raises(ImageError):
        measured_files(recipe(tmp_path, bundle, model))


def test_the_model_for_other_processors_comes_along(tmp_path: Path) -> None:
    made = recipe(tmp_path, manifest='[cpu]\notherwise = "floats"\n')
    with pytest.raises(ImageError, match="floats"):
        measured_files(made)
    (tmp_path / "floats").mkdir()
    (tmp_path / "floats/model.toml").write_text("name = 'floats'")
    assert "etc/blindgate/floats/model.toml" in measured_files(made)
    with pytest.raises(ImageError, match="no manifest"):
        measured_files(recipe(tmp_path, manifest="cpu = 1"))


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(ImageError, match=r"ca\.pem"):
        measured_files(made)
    (tmp_path / "enclave.toml").write_text("")
    with pytest.raises(ImageError, match=r"kms\.ca_bundle"):
        measured_files(made)
    with pytest.raises(ImageError, match=r"absent\.toml"):
        measured_files(Recipe(tmp_path / "absent.toml", tmp_path))


def test_the_list_of_ingredients_is_the_same_for_the_same_image(tmp_path: Path) -> None:
    path = tmp_path / "numpy-2.5.5-cp313-cp313-manylinux_2_28_x86_64.whl"
    path.write_bytes(b"wheel")

    def make(pcr0: bytes) -> str:
        return sbom(
            Measurements(pcr0, bytes(48), bytes(48)),
            time="2026-11-23T00:00:00+00:00",
            version="0.1.0",
            packages=[package(b"deb", "libc6")],
            wheels=[Wheel("numpy", "2.5.5", path)],
            files={"etc/blindgate/model/model.onnx": b"onnx", "init": b"#!"},
        )

    text = make(bytes(48))
    assert text == make(bytes(48))
    assert text != make(b"\1" * 48)
    found = json.loads(text)
    assert found["specVersion"] == "1.6"
    urls = [each.get("purl") for each in found["components"]]
    assert urls[:2] == ["pkg:deb/debian/libc6@1%3A1.0?arch=amd64", "pkg:pypi/numpy@2.5.5"]
    kinds = {each["name"]: each["type"] for each in found["components"]}
    assert kinds["/etc/blindgate/model/model.onnx"] == "machine-learning-model"
    assert set(found["dependencies"][0]["dependsOn"]) == {
        each["bom-ref"] for each in found["components"]
    }


def test_what_decides_the_bytes_of_a_layer_or_a_kernel_is_there() -> None:
    for module in (layers, source):
        for name in module._RECIPES:
            assert (module._HERE / name).is_file(), name


@pytest.mark.parametrize(
    "step",
    [
        "enclave_image.build.own_kernel",
        "enclave_image.debian.fetch.fetch",
        "enclave_image.layers.boot",
    ],
)
def test_a_full_disk_is_one_line_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    kernel = ChosenKernel(b"kernel", "console=ttyS0")
    monkeypatch.setattr("enclave_image.build.own_kernel", lambda *_, **__: kernel)
    monkeypatch.setattr("enclave_image.debian.fetch.fetch", lambda *_, **__: {})
    monkeypatch.setattr("enclave_image.wheels.download", lambda *_, **__: [])
    monkeypatch.setattr(step, full)
    cache = tmp_path / "cache"
    with pytest.raises(ImageError, match=r"no space left in .+cache.+BLINDGATE_CACHE") as caught:
        build(recipe(tmp_path), cache=cache)
    assert "\n" not in str(caught.value)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_other_faults_of_the_disk_keep_their_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "somewhere")

    monkeypatch.setattr("enclave_image.build.own_kernel", refused)
    with pytest.raises(PermissionError, match="somewhere"):
        build(recipe(tmp_path), cache=tmp_path / "cache")
