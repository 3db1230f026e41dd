"""E-mail addresses: what people type, checked, and the form that is looked up.

Nothing here asks the network. The normal form cannot be changed after an erasure (only its
digest is left), so it stays simple for good: NFC, IDNA domain, all of it casefolded; dots and
plus tags are kept, because only the mailbox's owner knows whether they matter.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from email_validator import EmailNotValidError, validate_email

FORM_VERSION = 1
"""Version of the normal form before the digest."""

# RFC 6761 and its registry, and the documentation domains of RFC 2606.
_SPECIAL = frozenset({"alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion", "test"})
_DOCUMENTATION = frozenset({"example.com", "example.net", "example.org"})
_LONGEST = 254  # RFC 5321 4.5.3.1.3: 256 with its angle brackets


class EmailAddress(NamedTuple):
    """``as_typed`` is sent to; ``form`` is what the digest is made of.

    A domain in another script is put into its ASCII form in both: that is its only form on
    the wire.
    """

    as_typed: str
    form: str


class EmailError(ValueError):
    """``code``: malformed, special-use, or unsupported (letters before the @ that cannot be sent to)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def parse(text: str, allow_special_use: bool = False) -> EmailAddress:
    """Check one address; EmailError says what is wrong with it.

    ``allow_special_use`` admits names that RFC 6761 keeps for tests and documentation, such as
    ``.example``: for demonstrations and tests only.
    """
    typed = text.strip()
    if len(typed) > _LONGEST:
        raise EmailError("malformed", "This e-mail address is too long.")
    try:
        checked = validate_email(
            typed,
            check_deliverability=False,
            allow_smtputf8=True,
            globally_deliverable=False,
            test_environment=True,
        )
    except (EmailNotValidError, UnicodeError):
        raise EmailError(
            "malformed", "Enter an e-mail address in the right form, like name@example.com."
        ) from None
    domain = checked.ascii_domain
    if "." not in domain:
        raise EmailError("malformed", "This e-mail address has no full domain, like example.com.")
    if not checked.local_part.isascii():
        raise EmailError(
            "unsupported",
            "We cannot send to addresses with accents or other scripts before the @. Enter another address.",
        )
    if not allow_special_use and _is_special(domain):
        raise EmailError(
            "special-use", "This e-mail address cannot receive e-mail: its domain is kept for examples."
        )
    typed_domain = typed.rpartition("@")[2]
    as_typed = f"{checked.local_part}@{typed_domain if typed_domain.isascii() else domain}"
    folded = unicodedata.normalize("NFC", f"{checked.local_part}@{domain}").casefold()
    return EmailAddress(as_typed, unicodedata.normalize("NFC", folded))


def is_special_use(form: str) -> bool:
    """Whether an address in its normal form lies in a domain kept for tests and documentation."""
    return _is_special(form.rpartition("@")[2])


def _is_special(domain: str) -> bool:
    labels = domain.lower().split(".")
    return labels[-1] in _SPECIAL or ".".join(labels[-2:]) in _DOCUMENTATION
