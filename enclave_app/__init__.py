"""The enclave: the only place where an uploaded image is opened."""

import os

# ONNX Runtime sends events about the process and the machine to its vendor unless this is set
# before its first import; `disable_telemetry_events` comes too late for some of them (Privacy.md
# in the wheel). Every import of this package passes here first.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
