"""What the page is told: the root and the images to accept, and how much it may send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blindgate.attestation import Trust


def configuration(trust: Trust, max_body: int, *, gateway: str | None = None) -> bytes:
    """The JSON that `console/src/configuration.ts` reads.

    Args:
        trust: The root and the images that the page accepts.
        max_body: Bytes of one request that the gateway takes.
        gateway: Its origin; left out where the gateway itself serves the page.
    """
    told = {
        "root": {"name": trust.root.name, "sha256": trust.root.fingerprint},
        "images": [
            {
                "name": image.name,
                "measurements": {f"PCR{i}": value.hex() for i, value in image.values.items()},
            }
            for image in trust.pcr_sets
        ],
        "allow_debug": trust.allow_debug,
        "max_body": max_body,
    }
    return json.dumps(told | ({"gateway": gateway} if gateway else {}), indent=1).encode()
