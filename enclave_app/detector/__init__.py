"""The object detector: hardened decoding, an ONNX model by manifest, boxes and labels out."""

from __future__ import annotations
