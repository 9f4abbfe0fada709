from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from enclave_app.detector.cpu import cpu_features

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n", True),
        ("flags\t\t: fpu avx2 avx_vnni\n", True),
        ("Features\t: fp asimd asimddp\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("flags\t\t: fpu not_avx512_vnni\n", False),
        ("", False),
    ],
)
def test_what_the_processor_can_do_is_read(tmp_path: Path, text: str, *, has: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert ("int8-dot" in cpu_features(file)) is has


def test_where_nothing_says_it_nothing_is_assumed(tmp_path: Path) -> None:
    assert cpu_features(tmp_path / "none") == frozenset()
