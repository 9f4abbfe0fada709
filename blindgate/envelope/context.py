"""The encryption context that ties a wrapped data key to this use.

Without one, whoever may call Encrypt under the key could have somebody else's wrapped key opened
by the enclave. The enclave owns the context: its measured configuration says which pairs every
envelope must carry, and KMS checks them as additional authenticated data.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: What `blindgate encrypt` writes and a worker requires unless told otherwise.
DEFAULT_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({"purpose": "blindgate"})


def contains(context: Mapping[str, str], required: Mapping[str, str]) -> bool:
    """Whether `context` has every required pair; it may have more."""
    return all(context.get(name) == value for name, value in required.items())
