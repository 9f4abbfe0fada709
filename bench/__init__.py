"""Measurements behind every figure that the documentation quotes."""

import enclave_app  # noqa: F401 - turns telemetry off before a module here imports ONNX Runtime
