"""The sizes that sealed messages are padded to, so that their length says little.

Requests: the size of a file names the file. `padme` (Nikitin et al., "Reducing Metadata
Leakage from Encrypted Files and Communication with PURBs", PoPETs 2019, §4) leaves
O(log log n) bits of the size and costs at most 12 %, about 3 % for a photo of 1 MB.

Answers: the number of objects found must not show. The first bucket is large enough for the
most objects that an answer may hold, so every answer to a detection, and every problem that is
met after opening, has one and the same size.
"""

from __future__ import annotations

from typing import Final

#: Bytes of a padded Binary HTTP answer. 300 objects (`detections.MAX_DETECTIONS`) with every
#: digit of a double take about 57 kB of JSON; the other buckets are for labels of unusual
#: length and for models that answer with something else.
ANSWER_BUCKETS: Final = tuple(64 * 1024 << step for step in range(9))

#: Below this Padmé saves little and tells much: every small request looks the same.
SMALLEST_REQUEST: Final = 1024


def answer_size(length: int) -> int:
    """The bucket for an answer of `length` bytes.

    Raises:
        ValueError: It is larger than the largest bucket (16 MiB).
    """
    for bucket in ANSWER_BUCKETS:
        if length <= bucket:
            return bucket
    raise ValueError("the answer is larger than the largest bucket")


def request_size(length: int) -> int:
    """What a request of `length` bytes is padded to: Padmé, but never under 1 KiB."""
    if length <= SMALLEST_REQUEST:
        return SMALLEST_REQUEST
    exponent = length.bit_length() - 1
    free_bits = exponent - exponent.bit_length()
    mask = (1 << free_bits) - 1
    return (length + mask) & ~mask
