"""The measured configuration of a development enclave, as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from blindgate.envelope.context import DEFAULT_CONTEXT
from devstack.places import CONFIG_MARK

REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What differs between the configurations of two development enclaves.

    Attributes:
        listen: Where the worker listens, as the worker sees it.
        nsm: Its security module.
        kms: Its way to KMS.
        model: The detector's folder.
        key_arn: The key that it may use.
        clock_sources: Accepted instead of the hypervisor's; empty for that one.
        answers: Whether responses outside OHTTP are given.
        sample_files: Whether files of the AWS sample are opened.
        threads: Threads that compute, 0 for one per core.
    """

    listen: str = "vsock://any:5005"
    nsm: str = "/dev/nsm"
    kms: str = "vsock://3:8000"
    model: str = "model"
    key_arn: str = f"arn:aws:kms:{REGION}:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    clock_sources: tuple[str, ...] = ()
    answers: Literal["open", "sealed"] = "open"
    sample_files: bool = True
    threads: int = 0

    def text(self) -> str:
        """The TOML file. The CA bundle is `ca.pem` in the same folder."""
        clocks = ", ".join(f'"{name}"' for name in self.clock_sources)
        context = ", ".join(f'"{name}" = "{value}"' for name, value in DEFAULT_CONTEXT.items())
        return (
            f"{CONFIG_MARK} Every byte of this file is in PCR0.\n"
            f'listen = "{self.listen}"\n'
            f'answers = "{self.answers}"\n\n'
            "[nsm]\n"
            f'device = "{self.nsm}"\n'
            f"clock_sources = [{clocks}]\n\n"
            "[kms]\n"
            f'region = "{REGION}"\n'
            f'key_arns = ["{self.key_arn}"]\n'
            f'address = "{self.kms}"\n'
            'ca_bundle = "ca.pem"\n'
            f"encryption_context = {{ {context} }}\n"
            f"sample_files = {str(self.sample_files).lower()}\n\n"
            "[model]\n"
            f'folder = "{self.model}"\n\n'
            "[limits]\n"
            f"threads = {self.threads}\n"
        )
