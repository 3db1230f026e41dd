"""What an attacker, a fuzzer or a cat on the keyboard sends: strategies for the hostile walk."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

KNOWN_BAD = (
    "", " ", "\x00", "a\x00b", "\ud800", "\udfff\ud800", "￾", "‮", "é", "\r\nX-Evil: 1", "\n", "\t",
    "'; DROP TABLE alerts; --", "' OR 1=1 --", "$1", "%s", "%(x)s", "{0}", "{{7*7}}", "${jndi:ldap://x}",
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "&lt;", "]]>",
    "../../../../etc/passwd", "..%2f..%2f", "/etc/passwd", "C:\\con", "file:///etc/passwd", "~root", "*", "--", "-", "-x",
    "--help", "--no-such-option", "-1", "0", "00", "1e309", "-1e309", "nan", "inf", "-inf", "0x10", "٣", "1_000", "1.5",
    "99999999999999999999999999", "-99999999999999999999999999", "true", "null", "None", "[]", "{}", "[" * 2_000,
    "A" * 30_000, "é" * 5_000, "🏳️‍🌈" * 500, "SW1A", "SW1A 1AA", "WL-BCDFGHJ", "E05000000", "email", "sms",
)  # fmt: skip

# Every character, halves of surrogate pairs too.
CHARACTERS = st.characters(exclude_categories=())


def text() -> st.SearchStrategy[str]:
    """Texts of every kind."""
    return st.one_of(st.sampled_from(KNOWN_BAD), st.text(CHARACTERS, max_size=60), st.integers().map(str))


def escaped() -> st.SearchStrategy[str]:
    """The same as it may stand in a path or a query: percent-encoded bytes, UTF-8 or not."""
    as_text = text().map(lambda t: quote(t.encode("utf-8", "surrogatepass"), safe=""))
    as_bytes = st.binary(max_size=40).map(lambda b: quote(b, safe=""))
    return st.one_of(as_text, as_bytes, st.sampled_from(["%", "%zz", "%u0041", "%00", "%ED%A0%80", "%FF%FE"]))


def bodies() -> st.SearchStrategy[bytes]:
    """Bodies of requests: forms, JSON and neither."""
    fields = st.lists(st.tuples(escaped(), escaped()), max_size=6)
    forms = fields.map(lambda pairs: "&".join(f"{a}={b}" for a, b in pairs).encode())
    json = st.sampled_from(
        [
            b"[]",
            b"{}",
            b"null",
            b'[{"event":1}]',
            b"[" * 3_000,
            b'"\\ud800"',
            b'{"a":1e999}',
            b"\x00",
            b"\xff\xfe",
        ]
    )
    huge = st.sampled_from([b"x" * 70_000, b"a=" + b"%41" * 30_000, b"&" * 60_000, b"[" + b"1," * 1_100_000])
    return st.one_of(forms, json, st.binary(max_size=200), huge)


def headers() -> st.SearchStrategy[dict[str, str]]:
    """Headers that the site reads, with values that a server lets through."""
    value = st.text(
        st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60
    )
    names = st.sampled_from(
        [
            "X-Twilio-Signature",
            "X-Twilio-Email-Event-Webhook-Signature",
            "X-Twilio-Email-Event-Webhook-Timestamp",
            "X-Request-Id",
            "Host",
            "Cookie",
            "Accept",
            "X-Forwarded-For",
            "If-None-Match",
            "If-Modified-Since",
            "Range",
            "Content-Type",
        ]
    )
    return st.dictionaries(names, value, max_size=4)


def quiet(examples: int) -> settings:
    """The same examples in every run, and no word about how long each takes."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
