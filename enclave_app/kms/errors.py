"""How a call to KMS fails. The text of KMS's own message never leaves the enclave."""

from __future__ import annotations

from blindgate.errors import BlindgateError


class KmsError(BlindgateError):
    """KMS did not release a data key.

    Attributes:
        request_ids: KMS's x-amzn-RequestId of each response to the call, oldest first; by the last
            one AWS CloudTrail has the reason. Empty if KMS was not reached.
    """

    text = "KMS did not release the data key"

    def __init__(self, request_ids: tuple[str, ...] = ()) -> None:
        super().__init__(self.text)
        self.request_ids = request_ids


class KmsRefused(KmsError):
    """KMS answered that this enclave may not have this key; asking again changes nothing."""

    text = "KMS refused"


class KmsUnavailable(KmsError):
    """KMS was not reached, did not answer in time, or asked to come back later."""

    text = "KMS is not available"


class KmsClockSkew(KmsUnavailable):
    """KMS refused the time of the signature: the enclave's clock is wrong, not a policy.

    To clients it is `KmsUnavailable`, since nothing about the key or the message was decided.
    """

    text = "KMS does not accept this enclave's clock"


class KmsUntrusted(KmsUnavailable):
    """Whoever answered is not KMS by the measured CA bundle; nothing was sent to them."""

    text = "whoever answers in place of KMS has no certificate that this enclave trusts"


class KmsAnswerRejected(KmsUnavailable):
    """KMS's answer breaks a rule: another key, a plaintext, another recipient, too long."""

    text = "KMS's answer cannot be used"
