"""The object detector: hardened decoding, an ONNX model by manifest, boxes and labels out."""

from __future__ import annotations

from enclave_app.detector.detector import Detector
from enclave_app.detector.errors import ImageRejected, ManifestError, ModelError, UnknownClass
from enclave_app.detector.limits import Limits

__all__ = ["Detector", "ImageRejected", "Limits", "ManifestError", "ModelError", "UnknownClass"]
