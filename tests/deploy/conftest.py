"""What the tests of the deployment run with.

`make test` runs what is quick. `make test-deploy` also runs what needs the AWS provider, checkov,
moto or docker compose: those tools are in an environment of their own, `.venv/deploy`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.deploy import terraform as tf

TOOLS = tf.ROOT / ".venv" / "deploy"


@pytest.fixture(scope="session")
def program() -> str:
    """Terraform itself."""
    found = tf.find_program()
    if found is None:
        pytest.skip("terraform is not on this machine")
    return found


@pytest.fixture(scope="session")
def everything() -> None:
    """Only with `make test-deploy`."""
    if os.environ.get("BLINDGATE_TEST_DEPLOY") != "1":
        pytest.skip("slow: run by `make test-deploy`")


@pytest.fixture(scope="session")
def tools(everything: None) -> Path:
    """The folder of checkov's, moto's and docker compose's programs."""
    if not (TOOLS / "bin").is_dir():
        pytest.skip("the tools of locks/deploy.txt are not installed: run `make test-deploy`")
    return TOOLS / "bin"


@pytest.fixture(scope="session")
def plugins(everything: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin folder with the AWS provider."""
    found = tf.find_provider()
    if found is None:
        pytest.skip("no file terraform-provider-aws_v* is on this machine (or in TF_PLUGIN_DIR)")
    return tf.mirror(tmp_path_factory.mktemp("plugins"), *found)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of deploy/terraform, so that no test leaves anything in the tree."""
    ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*")
    return Path(shutil.copytree(tf.SOURCES, tmp_path / "terraform", ignore=ignored))
