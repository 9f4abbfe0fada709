"""What the gateway does, whatever protocol asked for it.

Routes translate HTTP into these calls and back. Bodies pass through as they are: nothing here
looks into a ciphertext, but for the key id that is its first byte in OHTTP (RFC 9458 §4.3).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pydantic import TypeAdapter, ValidationError

from blindgate import problems
from blindgate.attestation import UserData, parse
from blindgate.detections import Detections, Fault
from blindgate.errors import BlindgateError
from blindgate.imaging.limits import ImageLimits
from blindgate.link import HeaderTooLarge, Operation, Outcome
from blindgate.link.frames import Param, Params
from blindgate.oip import InferAnswer, InferRequest, OipError, encode_answer, parse_request
from blindgate.oip.request import HEADER_LENGTH
from blindgate.oip.tensors import Result, shared_problem
from gateway.audit.middleware import Digest, note_answer
from gateway.auth.caller import CallerTags
from gateway.auth.guard import charge, charge_after
from gateway.context import context_of
from gateway.http import ByteBudget, ClientGone, IncomingBody, UploadLimits
from gateway.http.disconnects import unless_gone
from gateway.http.media_types import refuse_content_codings
from gateway.http.multipart import boundary_of, only_file
from gateway.http.problem_responses import Refused
from gateway.pool import Chunks, EnclaveAnswer, Pool, PoolRefused

if TYPE_CHECKING:
    from starlette.requests import Request

    from blindgate.detections import DetectOptions, ModelRef
    from gateway.pool.status import ModelStatus, Status

P = ParamSpec("P")
T = TypeVar("T")

#: Counts so many further units for the caller.
Charge = Callable[[int], Awaitable[None]]
#: More passes of the detector than one request can ask for.
_MOST_PASSES = 1000
#: What a client costs that leaves while an enclave has its request: the connection is closed, so
#: that another one must be opened and attested.
_LEFT_UNITS = 1
#: See `Settings.byte_budget`.
_BYTES_A_THREAD = 16 * 1024 * 1024
#: Inference requests that are parsed, or answered, at the same time: their work holds the
#: interpreter's lock, so that more threads would only take turns.
_PARSERS = 2
#: An enclave's detections in JSON: 300 of 700 bytes, with labels of 64 characters of four bytes.
_MAX_FOUND = 256 * 1024
#: What an enclave says of parameters that it refuses: `describe_faults` gives 20 of 300 bytes.
_MAX_FAULTS_BYTES = 16 * 1024
_FAULTS: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])
#: An attestation takes milliseconds; keys may rotate between it and the reading of the keys.
_ATTESTATION_TRIES = 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """An attestation document and the keys that it vouches for."""

    document: bytes
    keys: bytes

    def as_json(self) -> dict[str, str]:
        """Both in base64, for who cannot take two binary bodies."""
        return {
            "document": base64.b64encode(self.document).decode(),
            "keys": base64.b64encode(self.keys).decode(),
        }


class Dataplane:
    """See the module.

    Args:
        pool: The enclaves.
        uploads: What one body may take.
        byte_budget: Bytes that all bodies together may take; if None, by the enclaves' threads.
        can_record: Whether what is done can be recorded; nothing is answered otherwise.
    """

    def __init__(
        self,
        pool: Pool,
        uploads: UploadLimits,
        byte_budget: int | None = None,
        can_record: Callable[[], bool] = lambda: True,
    ) -> None:
        self._pool = pool
        self._can_record = can_record
        self._uploads = uploads
        self._fixed_budget = byte_budget
        self._budget = ByteBudget(self.byte_budget)
        self._callers = CallerTags()
        self._threads = ThreadPoolExecutor(_PARSERS, thread_name_prefix="oip")
        self._turn = -1
        self._sealed_only = False
        pool.watch(self._resize)

    @property
    def pool(self) -> Pool:
        """The enclaves."""
        return self._pool

    @property
    def held_bytes(self) -> int:
        """Bytes of bodies that are in memory, or have their place in it."""
        return self._budget.held

    @property
    def uploads_waiting(self) -> int:
        """Uploads that wait for memory, unread."""
        return self._budget.waiting

    @property
    def byte_budget(self) -> int:
        """Bytes of bodies that may be in memory."""
        if self._fixed_budget is not None:
            return self._fixed_budget
        return max(self._uploads.max_body, _BYTES_A_THREAD * self._pool.threads)

    @property
    def upload_limits(self) -> UploadLimits:
        """What one body may take: no more than every ready enclave receives."""
        received = [s.body_bytes for s in self._statuses() if s.body_bytes is not None]
        return replace(self._uploads, max_body=min([self._uploads.max_body, *received]))

    @property
    def sealed_only(self) -> bool:
        """Whether an enclave answers nothing but sealed requests; the last word counts.

        During a roll-out one such enclave is enough: an open request could reach it.
        """
        if statuses := self._statuses():
            self._sealed_only = any(status.answers == "sealed" for status in statuses)
        return self._sealed_only

    async def detect(
        self, request: Request, options: DetectOptions, expires: float, form: str | None
    ) -> EnclaveAnswer:
        """Have the envelope in a request's body opened and looked at.

        Args:
            request: Whose body to take.
            options: What the client asks of the detector.
            expires: Until when, on the event loop's clock.
            form: The Content-Type if the envelope is a file in a form.

        Raises:
            Refused: The enclaves answer sealed requests only; nothing was received.
        """
        self._refuse_open_request()
        await charge(request, options.passes - 1)
        boundary = boundary_of(form) if form else None
        params: dict[str, Param] = options.model_dump(mode="json", exclude_none=True)
        async with self._receive(request, expires) as chunks:
            envelope: Chunks = chunks
            if boundary:
                envelope = only_file(chunks, boundary)
            try:
                return await self._ask(request, Operation.DETECT, envelope, expires, params)
            except _InvalidParameters as error:
                raise _invalid(error.faults, "query") from None

    async def open_sealed(self, request: Request, expires: float) -> EnclaveAnswer:
        """Have the encapsulated request in a body answered by an enclave that has its key."""
        async with self._receive(request, expires) as chunks:
            return await self._ask(request, Operation.OHTTP, chunks, expires, key_id=chunks[0][0])

    async def infer(
        self, request: Request, model: ModelRef, expires: float, charge: Charge
    ) -> InferAnswer:
        """Have every envelope of an inference request looked at, each by itself.

        Args:
            request: Whose body to take.
            model: What must look at them.
            expires: Until when, on the event loop's clock.
            charge: Told what all envelopes cost beyond the first unit.

        Raises:
            Refused: The request is not one, all envelopes met the same problem, or the
                enclaves answer sealed requests only; then nothing was received.
        """
        self._refuse_open_request()
        started = asyncio.get_running_loop().time()
        header_length = request.headers.get(HEADER_LENGTH)
        async with self._receive(request, expires) as chunks:
            try:
                asked = await self._in_thread(_parse_chunks, chunks, header_length)
            except OipError as error:
                raise _invalid(error.faults, "body") from None
            if asked.timeout is not None:
                expires = min(expires, started + asked.timeout)
            await charge(len(asked.images) * asked.options.passes - 1)
            params: dict[str, Param] = asked.options.model_dump(mode="json", exclude_none=True)
            try:
                results = await _together(
                    self._look(request, each, model, expires, params) for each in asked.images
                )
            except _InvalidParameters as error:
                raise _invalid(error.faults, "body", "parameters.") from None
            if (shared := shared_problem(results)) is not None:
                raise Refused(shared)
            return await self._in_thread(encode_answer, asked, results, model)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what takes milliseconds of CPU without holding up the event loop.

        Even if the caller is cancelled, this returns after the work has ended: until then its
        memory is in use, and so counted.
        """
        done = asyncio.get_running_loop().run_in_executor(
            self._threads, partial(work, *args, **kwargs)
        )
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.wait([done])
            raise

    async def _look(
        self,
        request: Request,
        envelope: bytes | memoryview,
        model: ModelRef,
        expires: float,
        params: dict[str, Param],
    ) -> Result:
        """What was found in one envelope of several, or its own problem."""
        try:
            answer = await self._ask(request, Operation.DETECT, (envelope,), expires, params)
            if len(answer.body) > _MAX_FOUND:
                return problems.INTERNAL_ERROR
            found = Detections.model_validate_json(bytes(answer.body))
        except _InvalidParameters:
            raise  # all envelopes share them
        except (Refused, PoolRefused) as refused:
            return refused.problem
        except ValidationError:
            return problems.INTERNAL_ERROR
        # During a roll-out two models run, and any of their enclaves may have been free.
        return found if found.model == model else problems.ENCLAVE_UNAVAILABLE

    def _receive(self, request: Request, expires: float) -> IncomingBody:
        """Receive a body, unless it is known already that it would be refused.

        Most of an overload would otherwise be spent on receiving what is then refused.

        Raises:
            Refused: The body has a content coding, or the pool could not take the request.
        """
        refuse_content_codings(request)
        self._resize()
        ahead = self._budget.waiting
        if (refused := self._pool.would_refuse(expires, ahead=ahead)) is not None:
            raise Refused.by_pool(refused)
        return IncomingBody(request, self.upload_limits, self._budget)

    def _refuse_open_request(self) -> None:
        # Whoever holds an envelope can have its detections: not even the gateway is to hold one
        # that is of no use to it.
        if self.sealed_only:
            raise Refused(problems.SEALED_ANSWERS_ONLY)

    def _statuses(self) -> list[Status]:
        """What the ready enclaves say of themselves."""
        return [keeper.status for keeper in self._pool.keepers() if keeper.status is not None]

    def _resize(self) -> None:
        """Follow the enclaves that come and go: uploads that wait use new memory immediately."""
        self._budget.total = self.byte_budget

    def keys(self) -> bytes:
        """The `application/ohttp-keys` of one ready enclave, of each in its turn.

        A client stays with the enclave that it has verified, so this is what spreads sealed
        requests over several.

        Raises:
            PoolRefused: There is none.
        """
        ready = [keeper.keys for keeper in self._pool.keepers() if keeper.keys]
        if not ready:
            raise PoolRefused(problems.ENCLAVE_UNAVAILABLE, retry_after=1)
        self._turn += 1
        return ready[self._turn % len(ready)]

    async def attestation(
        self, request: Request, nonce: bytes, key_id: int | None, expires: float
    ) -> Evidence:
        """A fresh document of one enclave, and its keys.

        Args:
            request: Given up if this client goes away.
            nonce: What the document repeats.
            key_id: An OHTTP key that the enclave must hold; any enclave if None.
            expires: Until when, on the event loop's clock.
        """
        for _ in range(_ATTESTATION_TRIES):
            answer = await self._ask(
                request, Operation.ATTEST, (), expires, {"nonce": nonce}, key_id
            )
            document = bytes(answer.body)
            if (keys := self._keys_of(answer, document)) is not None:
                return Evidence(document, keys)
            # The keys were rotated since this enclave last said which it has: ask again.
            try:
                async with asyncio.timeout_at(expires):
                    await unless_gone(request, self._pool.look(answer.enclave))
            except TimeoutError:
                raise PoolRefused(problems.DEADLINE_EXCEEDED) from None
        raise PoolRefused(problems.ENCLAVE_UNAVAILABLE, retry_after=1)

    def models(self) -> list[ModelStatus]:
        """The detectors of the ready enclaves, each once."""
        running = (status.model for status in self._statuses())
        return list({(m.name, m.version): m for m in running if m is not None}.values())

    def readiness(self) -> dict[str, Any]:
        """Which enclaves there are, without saying where they are."""
        states = [endpoint.state.value for endpoint in self._pool.machine.endpoints]
        return {
            "ready": self._pool.is_ready and self._can_record(),
            "enclaves": {state: states.count(state) for state in sorted(set(states))},
        }

    def enclaves(self) -> list[dict[str, Any]]:
        """Each enclave, where it is, and what it has proved: for administrators."""
        keepers = {keeper.address: keeper for keeper in self._pool.keepers()}
        found = []
        for endpoint in self._pool.machine.endpoints:
            keeper = keepers.get(endpoint.address)
            verified = keeper.verified if keeper else None
            status = keeper.status if keeper else None
            found.append(
                {
                    "address": str(endpoint.address),
                    "state": endpoint.state.value,
                    "outstanding": endpoint.outstanding,
                    "pcr_set": verified.pcr_set if verified else None,
                    "pcr0": verified.pcr0.hex() if verified else None,
                    "key_ids": sorted(endpoint.key_ids),
                    "model": status.model.model_dump() if status and status.model else None,
                    "answers": status.answers if status else None,
                    "kms_clock": status.kms_clock if status else None,
                }
            )
        return found

    def _keys_of(self, answer: EnclaveAnswer, document: bytes) -> bytes | None:
        """The keys that a document vouches for, if they are at hand."""
        try:
            vouched = UserData.decode(parse(document).user_data).keys
        except BlindgateError:
            raise PoolRefused(problems.ENCLAVE_UNAVAILABLE, retry_after=1) from None
        for keeper in self._pool.keepers():
            if keeper.address == answer.enclave:
                return keeper.keys if hashlib.sha256(keeper.keys).digest() == vouched else None
        return None

    async def _ask(
        self,
        request: Request,
        operation: Operation,
        body: Chunks,
        expires: float,
        params: dict[str, Param] | None = None,
        key_id: int | None = None,
    ) -> EnclaveAnswer:
        context = context_of(request.scope)
        async with Digest(context, body):
            try:
                answer = await unless_gone(
                    request,
                    self._pool.request(
                        operation,
                        body,
                        expires=expires,
                        params=params,
                        key_id=key_id,
                        request_id=bytes.fromhex(context.request_id),
                        timeline=context.timeline,
                        caller=self._callers.tag(context.require_caller()),
                    ),
                )
            except HeaderTooLarge as error:
                raise _InvalidParameters([_too_large(error)]) from None
            except ClientGone:
                await charge_after(request, _LEFT_UNITS)
                raise
        note_answer(context, str(answer.enclave), answer.params)
        await charge_after(request, _further_units(operation, answer.params))
        if answer.outcome is Outcome.INVALID_REQUEST:
            raise _InvalidParameters(_faults_of(answer.body))
        if answer.outcome is not Outcome.OK:
            raise _refused(answer)
        return answer


class _InvalidParameters(Refused):
    """Parameters that an enclave refuses, or that do not fit into a request to one.

    Attributes:
        faults: `{"parameter", "message"}` for each, by the names of `DetectOptions`.
    """

    def __init__(self, faults: list[dict[str, str]]) -> None:
        super().__init__(problems.INVALID_REQUEST, errors=faults)
        self.faults = faults


def _invalid(faults: Iterable[dict[str, str]], place: str, prefix: str = "") -> Refused:
    """The problem of parameters that came in the query or in the body."""
    placed = [{"in": place, **each, "parameter": prefix + each["parameter"]} for each in faults]
    return Refused(problems.INVALID_REQUEST, errors=placed)


def _refused(answer: EnclaveAnswer) -> Refused:
    problem = problem_of(answer.outcome)
    limits = ImageLimits.from_mapping(answer.params)
    if answer.outcome is not Outcome.IMAGE_TOO_LARGE or limits is None:
        return Refused(problem)
    members: dict[str, Any] = {**limits.as_mapping()}
    return Refused(problem, limits.describe(), **members)


def problem_of(outcome: Outcome) -> problems.Problem:
    """What a client is told of an enclave's outcome."""
    return problems.BY_SLUG.get(outcome.value, problems.INTERNAL_ERROR)


def _parse_chunks(chunks: list[bytes], header_length: str | None) -> InferRequest:
    """Join a body, each chunk freed as soon as it is copied, and parse it where it lies.

    Raises:
        OipError: It is not a request of the protocol.
    """
    body = bytearray(sum(map(len, chunks)))
    chunks.reverse()
    at = 0
    while chunks:
        chunk = chunks.pop()
        body[at : at + len(chunk)] = chunk
        at += len(chunk)
    return parse_request(body, header_length)


async def _together(work: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Do several things at the same time; the first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _faults_of(body: bytes | bytearray | memoryview) -> list[dict[str, str]]:
    """What an enclave says of parameters that it refuses (docs/link.md §5)."""
    try:
        if len(body) <= _MAX_FAULTS_BYTES:
            return [each.model_dump() for each in _FAULTS.validate_json(bytes(body))]
    except ValidationError:
        pass
    return [{"parameter": "", "message": "The enclave refuses the parameters"}]


def _further_units(operation: Operation, params: Params) -> int:
    """What an enclave's answer says that a request cost, beyond what was known before.

    A pass of the detector is a unit, and a call of KMS is another. An image takes one such call at
    most: repeated ones are KMS's doing.
    """
    passes, calls = params.get("passes"), params.get("kms")
    if operation is not Operation.OHTTP or type(passes) is not int:
        passes = 1
    passes = min(max(passes, 1), _MOST_PASSES)
    return passes - 1 + min(len(calls) if isinstance(calls, list) else 0, passes)


def _too_large(error: HeaderTooLarge) -> dict[str, str]:
    """The member of `errors` for parameters that do not fit into one request to an enclave."""
    message = (
        f"Too large: the parameters take {error.size} bytes together; at most {error.limit} "
        "fit. Send fewer or shorter values"
    )
    return {"parameter": error.parameter, "message": message}


def expiry(seconds: float) -> float:
    """So many seconds from now, on the event loop's clock."""
    return asyncio.get_running_loop().time() + seconds
