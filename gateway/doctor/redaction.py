"""Removes what could be secret from texts that go into a bug report.

A report holds texts of programs that we do not control (journals, logs). So everything is removed
that looks like a credential, and account numbers, which are no secret but nobody's business.
"""

from __future__ import annotations

import re
from typing import Any, Final

_RULES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # IAM User Guide, "IAM identifiers": the prefixes of access keys.
        (r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b", "[access key]"),
        (r"\bbgk_[0-9a-f]{16}_[A-Za-z0-9_-]+", "[API key]"),
        (
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*-----|\Z)",
            "[private key]",
        ),
        (r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", "[token]"),
        (r"(?i)\b(bearer|basic)\s+[^\s\"',;]+", r"\1 [removed]"),
        (r"://[^/\s:@\"']*:[^/\s@\"']+@", "://[removed]@"),
        (
            (
                r"(?i)((?:secret|token|password|passwd|credential|api[_-]?key|private[_-]?key)"
                r"[\w-]{0,40}[\"']?\s{0,3}[=:]\s{0,3}[\"']?)(?!\[)[^\s\"',;}&]+"
            ),
            r"\1[removed]",
        ),
        # A session token, a key in base64: long, and not a measurement in hexadecimal.
        (
            r"(?<![A-Za-z0-9+/=_-])(?=[A-Za-z0-9+/_-]*[g-zG-Z+/_-])[A-Za-z0-9+_/-]{100,}={0,2}",
            "[removed]",
        ),
        # A secret access key: 40 characters of base64 with digits and both cases.
        (
            (
                r"(?<![A-Za-z0-9+/=_.-])(?=[A-Za-z0-9+/]*[a-z])(?=[A-Za-z0-9+/]*[A-Z])"
                r"(?=[A-Za-z0-9+/]*[0-9])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=_.-])"
            ),
            "[removed]",
        ),
        (r"(?<=:)[0-9]{12}(?=:)", "[account]"),
        (r"\bi-[0-9a-f]{8,17}\b", "[instance]"),
    )
)


def redact(text: str) -> str:
    """The text without what looks like a credential or an account."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact_all(value: Any) -> Any:
    """JSON whose strings are redacted; names of members stay."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {str(name): redact_all(each) for name, each in value.items()}
        case list() | tuple():
            return [redact_all(each) for each in value]
    return value
