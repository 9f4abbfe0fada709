from __future__ import annotations

import subprocess
import sys

ALLOWED = {"blindgate", "enclave_app", "numpy", "onnxruntime", "PIL", "pydantic"}
PROGRAM = """
import sys
import enclave_app.detector
names = {name.partition(".")[0] for name in sys.modules if not name.startswith("_")}
print(*sorted(names - set(sys.stdlib_module_names)))
print(*sorted(name for name in sys.modules if name.startswith("blindgate.")))
"""


def test_the_detector_imports_nothing_that_the_enclave_image_lacks() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    packages, modules = (set(line.split()) for line in run.stdout.splitlines())
    for tool in ("onnx", "rich", "typer", "models", "gateway", "devstack", "pycocotools"):
        assert tool not in packages
    assert packages >= ALLOWED
    assert {name for name in modules if not name.startswith("blindgate.imaging")} == {
        "blindgate.detections",
        "blindgate.errors",
        "blindgate.strict_toml",
    }
