"""`python -m devstack.kms`: what `blindgate dev kms` runs."""

from __future__ import annotations

import typer

from devstack.kms.command import kms

typer.run(kms)
