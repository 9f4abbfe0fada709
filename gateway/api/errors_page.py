"""Writes `docs/errors.md`: `python -m gateway.api.errors_page --write docs/errors.md`."""

from __future__ import annotations

import argparse
from pathlib import Path

from blindgate import problems
from blindgate.link import Outcome

_HEAD = """\
# Errors

<!-- Written by `make generated`; `make check-generated` refuses drift. -->

Every error is a problem of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) with the media type
`application/problem+json`. Programs compare `type`, which never changes; `title` and `detail` are
for people. `request_id`, also in the `X-Request-Id` header, names the request in the operator's
logs. An `invalid-request` lists what is wrong in `errors`; a `body-too-large` says the `limit`.

This holds for every response of the gateway, also where no route was found, for a request that is
not valid HTTP and on the port of the metrics. A response to HEAD has the headers and no body. There
is no response at all where a client closes its connection, or does not send a complete header
within `head_timeout`. What a load balancer or proxy in front responds by itself is its own: AWS's
sends HTML with 400, 413, 414, 460 or 502 to 504, without `X-Request-Id`.

Inside a sealed answer the same problems come back, where only the client can read them. What is
refused before the sealed request is opened comes back outside of it.

The enclave never says *why* something could not be opened: whoever sends envelopes could learn
from the difference. The column "from" names who decides.

| type | status | what happened | what to do next | from |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole of `docs/errors.md`."""
    outcomes = {outcome.value for outcome in Outcome}
    rows = [
        f"| `{p.type}` | {p.status} | {p.title} | {p.advice} "
        f"| {'enclave' if p.slug in outcomes else 'gateway'} |\n"
        for p in problems.CATALOGUE
    ]
    return _HEAD + "".join(rows)


def main(arguments: list[str] | None = None) -> None:
    """Write the page to a file, or show it."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.api.errors_page", description=main.__doc__
    )
    parser.add_argument("--write", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    if chosen.write:
        chosen.write.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
