"""The object detector: hardened decoding, an ONNX model by manifest, boxes and labels out."""

from __future__ import annotations

from enclave_app.detector.detector import Detector
from enclave_app.detector.errors import ManifestError, ModelError, UnknownClass

__all__ = ["Detector", "ManifestError", "ModelError", "UnknownClass"]
