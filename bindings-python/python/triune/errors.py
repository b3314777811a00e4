"""Every failure is a TriuneError; common ones are also the builtin exception you would guess.

An exception raised by your own code (a model, a function) comes back as the same object.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "BY_CODE",
    "CancelledError",
    "CircuitOpenError",
    "ConflictError",
    "ContextLengthError",
    "CorruptError",
    "HostError",
    "InvalidError",
    "NotFoundError",
    "OverBudgetError",
    "OverloadedError",
    "RateLimitedError",
    "RejectedError",
    "TimedOutError",
    "TriuneError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedError",
    "UnsupportedError",
]


class TriuneError(Exception):
    """What can go wrong in triune.

    Your own models, embedders and functions may raise the subclasses: a model that raises RateLimitedError is tried
    again, and then passed over, as one of triune's own would be.
    """

    code: ClassVar[str] = "UNEXPECTED"
    """The stable name of the kind of failure, the same in Rust, Node and HTTP."""
    usually_retryable: ClassVar[bool] = False

    message: str
    """What went wrong and what to do next, for a person."""
    retryable: bool
    """Whether the same call may succeed later."""
    operation: str
    """The operation that failed, or an empty text."""
    context: dict[str, str]
    """Facts about the failure. Never a key or a prompt."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool | None = None,
        operation: str = "",
        context: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = self.usually_retryable if retryable is None else retryable
        self.operation = operation
        self.context = context or {}

    def __str__(self) -> str:
        facts = [f"during {self.operation}"] if self.operation else []
        facts += [f"{name}={value}" for name, value in self.context.items()]
        return f"{self.message} ({', '.join(facts)})" if facts else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword arguments need this to cross processes.
        return type(self), (self.message,), self.__dict__


class InvalidError(TriuneError, ValueError):
    """The request cannot be right: mend it and call again."""

    code = "INVALID"


class NotFoundError(TriuneError, LookupError):
    """What was named does not exist."""

    code = "NOT_FOUND"


class ConflictError(TriuneError):
    """What was to be made exists already, or changed since it was read."""

    code = "CONFLICT"


class UnsupportedError(TriuneError, NotImplementedError):
    """This part cannot do that; the message names one that can."""

    code = "UNSUPPORTED"


class UnauthorizedError(TriuneError, PermissionError):
    """A key is missing or was refused."""

    code = "UNAUTHORIZED"


class RateLimitedError(TriuneError):
    """The other side asks to slow down."""

    code = "RATE_LIMITED"
    usually_retryable = True


class OverloadedError(TriuneError):
    """A bounded queue of triune is full."""

    code = "OVERLOADED"
    usually_retryable = True


class TimedOutError(TriuneError, TimeoutError):
    """A deadline passed."""

    code = "TIMEOUT"
    usually_retryable = True


class CancelledError(TriuneError):
    """The call was cancelled, or the mind is closed.

    A cancelled asyncio task raises asyncio.CancelledError, as always.
    """

    code = "CANCELLED"


class OverBudgetError(TriuneError):
    """The budget does not cover the call; nothing was spent on it."""

    code = "OVER_BUDGET"


class CircuitOpenError(TriuneError):
    """The part failed too often and is left alone for a while."""

    code = "CIRCUIT_OPEN"
    usually_retryable = True


class RejectedError(TriuneError):
    """A gate or a guard refused what was generated."""

    code = "REJECTED"


class ContextLengthError(TriuneError, ValueError):
    """The request is longer than the model's context."""

    code = "CONTEXT_LENGTH"


class CorruptError(TriuneError):
    """Stored bytes are not what was written, or a file is not what it claims to be."""

    code = "CORRUPT"


class UnavailableError(TriuneError, ConnectionError):
    """The network, a server or a process is not there right now."""

    code = "UNAVAILABLE"
    usually_retryable = True


class HostError(TriuneError):
    """A part of yours answered in a form that triune cannot read. (What it raises comes back as it is.)"""

    code = "HOST"


class UnexpectedError(TriuneError):
    """A fault of triune itself: please report it."""

    code = "UNEXPECTED"


BY_CODE: dict[str, type[TriuneError]] = {
    kind.code: kind
    for kind in (
        InvalidError,
        NotFoundError,
        ConflictError,
        UnsupportedError,
        UnauthorizedError,
        RateLimitedError,
        OverloadedError,
        TimedOutError,
        CancelledError,
        OverBudgetError,
        CircuitOpenError,
        RejectedError,
        ContextLengthError,
        CorruptError,
        UnavailableError,
        HostError,
        UnexpectedError,
    )
}
"""The class of each code."""
