"""Values of the logs: what is never written, and who may not chatter. Set up in app/logs.py."""

from __future__ import annotations

# A value under one of these names, or under a name that ends in _ and one of them, is replaced: logs
# carry ids only (design §7).
PERSONAL = frozenset(
    {
        "address", "addresses", "body", "content", "email", "emails", "forename", "from", "from_", "html",
        "mobile", "name", "number", "password", "phone", "phones", "place", "postcode", "query", "recipient",
        "recipients", "secret", "signature", "subject", "surname", "text", "to", "token", "url", "value",
    }
)  # fmt: skip
REDACTED = "[withheld]"

# These write bodies, addresses or keys at DEBUG and INFO.
NEVER_BELOW_WARNING = (
    "sendgrid", "python_http_client", "twilio", "urllib3", "asyncio", "rq", "sqlalchemy", "alembic",
    "hypothesis", "httpx", "aiohttp",
)  # fmt: skip
