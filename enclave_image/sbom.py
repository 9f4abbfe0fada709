"""The list of an image's ingredients: CycloneDX 1.6, equal for equal images.

Source: https://cyclonedx.org/docs/1.6/json/; package URLs: purl-spec, types deb and pypi.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from enclave_image.debian.lock import Package
from enclave_image.pcrs import Measurements
from enclave_image.wheels import Wheel

_NAMESPACE: Final = uuid.UUID("6f1ce6d2-2a6e-5b0a-9c57-0b9a1f5f3c11")


def sbom(
    measurements: Measurements,
    *,
    time: str,
    version: str,
    packages: Iterable[Package],
    wheels: Iterable[Wheel],
    files: Mapping[str, bytes],
    architecture: str = "amd64",
) -> str:
    """The document.

    Args:
        measurements: Of the image that it is about.
        time: ISO 8601; when the locked inputs were resolved, since the build has no time.
        version: Of this project.
        packages: Debian packages with files in the image.
        wheels: Python packages with files in the image.
        files: Our code, configuration and model: contents by path in the image.
        architecture: Of the Debian packages, as Debian names it.
    """
    image = {
        "type": "application",
        "bom-ref": "image",
        "name": "blindgate-enclave",
        "version": version,
        "hashes": [_hash(measurements.pcr0.hex(), "SHA-384")],
        "properties": [
            {"name": f"blindgate:{name}", "value": value.hex()}
            for name, value in (
                ("pcr0", measurements.pcr0),
                ("pcr1", measurements.pcr1),
                ("pcr2", measurements.pcr2),
            )
        ],
    }
    components = [_debian(each, architecture) for each in packages] + [
        _pypi(each) for each in wheels
    ]
    components += [_file(path, data) for path, data in sorted(files.items())]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, measurements.pcr0.hex())}",
        "version": 1,
        "metadata": {"timestamp": time, "component": image},
        "components": components,
        "dependencies": [
            {"ref": "image", "dependsOn": sorted(each["bom-ref"] for each in components)}
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _hash(content: str, algorithm: str = "SHA-256") -> dict[str, str]:
    return {"alg": algorithm, "content": content}


def _debian(package: Package, architecture: str) -> dict[str, Any]:
    version = quote(package.version, safe="")
    url = f"pkg:deb/debian/{quote(package.name)}@{version}?arch={architecture}"
    kind = "operating-system" if package.name.startswith("linux-") else "library"
    return _component(kind, package.name, package.version, url, package.sha256)


def _pypi(wheel: Wheel) -> dict[str, Any]:
    url = f"pkg:pypi/{wheel.name}@{wheel.version}"
    return _component("library", wheel.name, wheel.version, url, wheel.sha256)


def _component(kind: str, name: str, version: str, url: str, sha256: str) -> dict[str, Any]:
    return {
        "type": kind,
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
        "hashes": [_hash(sha256)],
    }


def _file(path: str, data: bytes) -> dict[str, Any]:
    return {
        "type": "machine-learning-model" if path.endswith(".onnx") else "file",
        "bom-ref": f"file:/{path}",
        "name": f"/{path}",
        "hashes": [_hash(hashlib.sha256(data).hexdigest())],
    }
