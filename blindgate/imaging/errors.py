"""Why an image file is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from blindgate.imaging.limits import ImageLimits


class ImageRejected(BlindgateError):
    """The bytes are not an image that can be decoded: another format, damaged, or truncated.

    The message says why. The enclave tells nobody: the sender can open the image, and others learn
    nothing about it.
    """


class ImageTooLarge(BlindgateError):
    """The image is over a limit, so the same file is refused every time.

    Attributes:
        limits: The limits that apply.
    """

    def __init__(self, limits: ImageLimits) -> None:
        super().__init__(limits.describe())
        self.limits = limits
