"""The ways a run can fail."""

from __future__ import annotations


class SubctlError(Exception):
    """A failure that ends the run with `rc`; what there is to say about it was, or will be, said by the reporter."""

    rc = 1


class ApiError(SubctlError):
    """An API server's refusal, or the failure to reach it, in the words the real subctl would use."""

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def not_found(self) -> bool:
        """No such object, or no such kind."""
        return self.status == 404

    @property
    def already_exists(self) -> bool:
        """A create hit an object of that name."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """A replace carried an outdated resourceVersion."""
        return self.status == 409 and self.reason == "Conflict"


class UntrustedServerError(ApiError):
    """The API server's certificate is signed by nobody we know."""


class UsageError(SubctlError):
    """A wrong command line."""


class PanicError(SubctlError):
    """What is a crash of the Go program in the real subctl."""

    rc = 2


class UnexplainedError(SubctlError):
    """A failure about which the real subctl says nothing."""
