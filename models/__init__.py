"""The detectors that ship as manifests, and how to obtain, export and measure them."""

import enclave_app  # noqa: F401 - turns telemetry off before a module here imports ONNX Runtime
