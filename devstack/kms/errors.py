"""KMS's errors, by the names, texts and status codes that AWS uses.

KMS answers 400 to nearly everything that is the caller's fault. The body is
`{"__type": NAME, "message": TEXT}`; IAM's refusals spell it `Message`. Texts are AWS's own where
they are public; where they are not, `README.md` says so.
"""

from __future__ import annotations

from blindgate.errors import BlindgateError


class KmsError(BlindgateError):
    """An answer of KMS that is not success.

    Attributes:
        name: The exception's name on the wire (`__type`).
        text: The message, or `None` where KMS sends none.
        status: The HTTP status.
    """

    def __init__(self, name: str, text: str | None = None, status: int = 400) -> None:
        super().__init__(f"{name}: {text}" if text else name)
        self.name = name
        self.text = text
        self.status = status

    def body(self) -> dict[str, str]:
        """The JSON body of the answer."""
        made = {"__type": self.name}
        if self.text is not None:
            made["Message" if self.name == "AccessDeniedException" else "message"] = self.text
        return made


def access_denied(caller: str, action: str, resource: str, reason: str) -> KmsError:
    """IAM's refusal: who, what, on what, and which kind of policy decided."""
    return KmsError(
        "AccessDeniedException",
        f"User: {caller} is not authorized to perform: {action} on resource: {resource} {reason}",
    )


def unknown_ciphertext_key() -> KmsError:
    """The ciphertext names a key that is not here; KMS does not say which of three reasons."""
    return KmsError(
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in "
        "this region, or you are not allowed to access.",
    )


def invalid_ciphertext() -> KmsError:
    """Damaged, made under other material, or with another encryption context: never said which."""
    return KmsError("InvalidCiphertextException")


def incorrect_key() -> KmsError:
    """The KeyId of the request is not the key of the ciphertext."""
    return KmsError(
        "IncorrectKeyException",
        "The key ID in the request does not identify a CMK that can perform this operation.",
    )


def not_found(text: str) -> KmsError:
    """A key or alias that is not here."""
    return KmsError("NotFoundException", text)


def disabled(arn: str) -> KmsError:
    """The key is disabled."""
    return KmsError("DisabledException", f"{arn} is disabled.")


def pending_deletion(arn: str) -> KmsError:
    """The key waits to be deleted."""
    return KmsError("KMSInvalidStateException", f"{arn} is pending deletion.")


def invalid(text: str) -> KmsError:
    """A request that breaks a rule of the API."""
    return KmsError("ValidationException", text)


def constraint(field: str, shown: str, rule: str) -> KmsError:
    """A member that breaks a constraint of KMS's model, in the words of AWS's front end.

    Args:
        field: The member in lower camel case, for example `numberOfBytes`.
        shown: The offending value with its leading word, for example `Value '0'`.
        rule: What the member must be.
    """
    return invalid(
        f"1 validation error detected: {shown} at '{field}' failed to satisfy constraint: "
        f"Member must {rule}"
    )


def unsupported(text: str) -> KmsError:
    """Something that real KMS may do, and this one does not."""
    return KmsError("UnsupportedOperationException", text)


def malformed_policy(text: str) -> KmsError:
    """A key policy that is refused."""
    return KmsError("MalformedPolicyDocumentException", text)
