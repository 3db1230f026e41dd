"""What can go wrong where something is done: a tree with codes, in words a person can act on."""

from __future__ import annotations


class ServiceError(Exception):
    """``code`` for machines, ``message`` for people; never personal data in either."""

    code = "service"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(ServiceError):
    """Something that was entered cannot be used; ``field`` says which."""

    code = "invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Missing(ServiceError):
    """There is no such thing, or it may not be seen: the two look alike."""

    code = "missing"


class Conflict(ServiceError):
    """The state does not allow it any more."""

    code = "conflict"


class TooMany(ServiceError):
    """It happened too often in too short a time: later it will be allowed again."""

    code = "too-many"
