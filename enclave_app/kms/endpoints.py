"""The host name of KMS in a region, by AWS partition.

Regions of one partition share a DNS suffix. The table is that of botocore's `partitions.json`,
which is not in the enclave image; partitions without Nitro Enclaves, or cut off from the internet,
are not in it.
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
    """

    name: str
    regions: re.Pattern[str]
    suffix: str


PARTITIONS: Final = (
    Partition("aws-cn", re.compile(r"cn-[a-z]+-[0-9]+"), "amazonaws.com.cn"),
    Partition("aws-us-gov", re.compile(r"us-gov-[a-z]+-[0-9]+"), "amazonaws.com"),
    Partition("aws-eusc", re.compile(r"eusc-[a-z]{2}-[a-z]+-[0-9]+"), "amazonaws.eu"),
    Partition(
        "aws",
        re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-[0-9]+"),
        "amazonaws.com",
    ),
)


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


def kms_host(region: str) -> str:
    """KMS's host name in a region, as its certificate names it.

    Raises:
        UnknownPartition: The region belongs to no known partition.
    """
    return f"kms.{region}.{partition_of(region).suffix}"
