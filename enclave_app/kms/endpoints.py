"""The host name of KMS in a region, by AWS partition.

Regions of one partition share a DNS suffix. The table is that of botocore's `partitions.json`,
which is not in the enclave image; partitions without Nitro Enclaves, or cut off from the internet,
are not in it. Which Regions have a FIPS endpoint is in botocore's `endpoints.json`; a test compares
both tables with botocore's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from blindgate.errors import BlindgateError


@dataclass(frozen=True, slots=True)
class Partition:
    """A group of regions.

    Attributes:
        name: The second part of every ARN in it.
        regions: What its regions' names look like.
        suffix: Of the host names of its services.
        has_fips: Whether KMS has FIPS endpoints in it.
    """

    name: str
    regions: re.Pattern[str]
    suffix: str
    has_fips: bool


PARTITIONS: Final = (
    Partition("aws-cn", re.compile(r"cn-[a-z]+-[0-9]+"), "amazonaws.com.cn", False),
    Partition("aws-us-gov", re.compile(r"us-gov-[a-z]+-[0-9]+"), "amazonaws.com", True),
    Partition("aws-eusc", re.compile(r"eusc-[a-z]{2}-[a-z]+-[0-9]+"), "amazonaws.eu", False),
    Partition(
        "aws",
        re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-[0-9]+"),
        "amazonaws.com",
        True,
    ),
)
#: Regions without a FIPS endpoint of KMS in partitions that have them elsewhere.
WITHOUT_FIPS: Final = frozenset({"ap-east-2", "ap-southeast-6"})


class UnknownPartition(BlindgateError):
    """A region that belongs to no partition with a known KMS."""

    def __init__(self, region: str) -> None:
        names = ", ".join(sorted(partition.name for partition in PARTITIONS))
        super().__init__(f"the region {region!r} is in none of the partitions {names}")


def partition_of(region: str) -> Partition:
    """The partition that a region belongs to.

    Raises:
        UnknownPartition: It looks like none of them.
    """
    for partition in PARTITIONS:
        if partition.regions.fullmatch(region):
            return partition
    raise UnknownPartition(region)


class NoFipsEndpoint(BlindgateError):
    """A region in which KMS has no FIPS endpoint."""

    def __init__(self, region: str) -> None:
        super().__init__(f"KMS has no FIPS endpoint in {region}: set fips = false")


def kms_host(region: str, *, fips: bool = False) -> str:
    """KMS's host name in a region, as its certificate names it.

    Args:
        region: Such as `us-east-1`.
        fips: Whether to name the endpoint whose TLS uses FIPS 140-3 validated modules.

    Raises:
        UnknownPartition: The region belongs to no known partition.
        NoFipsEndpoint: FIPS is asked for where there is none.
    """
    partition = partition_of(region)
    if fips and (not partition.has_fips or region in WITHOUT_FIPS):
        raise NoFipsEndpoint(region)
    return f"{'kms-fips' if fips else 'kms'}.{region}.{partition.suffix}"


def region_of(key_arn: str) -> str:
    """The region in a KMS key's ARN, such as `arn:aws:kms:us-east-1:111122223333:key/…`."""
    return key_arn.split(":", 4)[3]


def partition_name_of(key_arn: str) -> str:
    """The partition in a KMS key's ARN, such as `aws`."""
    return key_arn.split(":", 2)[1]


def is_replica(named: str, ours: str) -> bool:
    """Whether two key ARNs name the same multi-Region key in two regions.

    Related multi-Region keys have the same key material and the same id, which begins with `mrk-`
    (KMS Developer Guide, "Multi-Region keys in AWS KMS"). This is the comparison of the AWS
    Encryption SDK's MRK-aware keyring (its specification, `aws-kms-mrk-match-for-decrypt.md`).

    Args:
        named: The ARN that a message names; any text.
        ours: An ARN of the measured configuration.
    """
    theirs, own = named.split(":"), ours.split(":")
    return (
        len(theirs) == len(own) == 6
        and own[5].startswith("key/mrk-")
        and theirs[:3] + theirs[4:] == own[:3] + own[4:]
    )
