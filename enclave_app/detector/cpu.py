"""What this processor can do that decides which model serves."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Flags of /proc/cpuinfo that mean 8-bit products are summed in 32 bits: x86 VNNI and Arm's dot
#: product. Without them x86 sums pairs in 16 bits, where unsigned times signed can saturate, and
#: a quantized network is quietly wrong.
_INT8_DOT: Final = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The features that a manifest can ask for and this processor has."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset({"int8-dot"} if _INT8_DOT & set(value.split()) else ())
    return frozenset()
