"""The files of the wheel `blindgate-applications`: the gateway's modules and its page.

hatchling's own selection ends at the folder of `pyproject.toml`, and the gateway lies beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: What `make assets` builds: the page that the gateway serves, which is missing without it, and the
#: template of `python -m gateway.console`.
PAGE = "console/dist"


class GatewayFiles(BuildHookInterface[Any]):
    """Adds the gateway to a standard wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files. An editable install finds them through its path instead."""
        if version == "editable":
            return
        package = Path(self.root).parent / "gateway"
        modules = [each for each in package.rglob("*.py") if "node_modules" not in each.parts]
        page = [each for each in (package / PAGE).rglob("*") if each.is_file()]
        build_data["force_include"] |= {
            str(path): str(path.relative_to(package.parent)) for path in (*modules, *page)
        }
