"""What is posted to an address that knows better: its own form, spoilt; and things that are no form at all."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import strategies as st

from app.web import csrf
from tests.app.web.conftest import FORM
from tests.architecture import hostile

HUGE = 5 * 1024 * 1024
TYPES = st.sampled_from(
    [FORM, FORM, "application/json", "multipart/form-data; boundary=x", "text/plain", "é", ""]
)
Pairs = list[tuple[str, str]]


def fields(shown: dict[str, list[str]]) -> st.SearchStrategy[Pairs]:
    """A form as its page shows it, with some fields spoilt, left out, doubled or added."""
    names = [name for name in shown if name != csrf.FIELD]
    good = [(name, value) for name in names for value in shown[name][:3]]
    spoilt = st.tuples(st.sampled_from(names), hostile.text()) if names else st.nothing()
    unknown = st.tuples(hostile.text(), hostile.text())
    doubled = st.sampled_from(good).map(lambda pair: [pair, pair]) if good else st.just([])

    def put(drawn: tuple[list[bool], Pairs, Pairs, Pairs]) -> Pairs:
        keep, spoil, add, twice = drawn
        changed_names = {name for name, _ in spoil}
        kept = [pair for pair, wanted in zip(good, keep, strict=True) if wanted]
        return [*(p for p in kept if p[0] not in changed_names), *spoil, *twice, *add]

    often = st.sampled_from([True, True, True, True, False])
    return st.tuples(
        st.lists(often, min_size=len(good), max_size=len(good)),
        st.lists(spoilt, max_size=3) if names else st.just([]),
        st.lists(unknown, max_size=2),
        doubled,
    ).map(put)


def encoded(pairs: Pairs) -> bytes:
    """As a form: halves of surrogate pairs and NUL included, which no browser would send."""

    def one(text: str) -> str:
        return quote(text.encode("utf-8", "surrogatepass"), safe="")

    return "&".join(f"{one(name)}={one(value)}" for name, value in pairs).encode()


def as_files(pairs: Pairs) -> bytes:
    """The same names, but as files that are uploaded: the wrong type for every field."""
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="%b"; filename="a"\r\n\r\n%b\r\n'
        % (quote(name, safe="", errors="replace").encode(), value.encode("utf-8", "replace")[:500])
        for name, value in pairs
    ]
    return b"".join(parts) + b"--x--\r\n"


Body = tuple[bytes, str]


def bodies(shown: dict[str, list[str]], token: str | None) -> st.SearchStrategy[Body]:
    """(body, content type), most of them forms that carry ``token``."""
    mark: Pairs = [] if token is None else [(csrf.FIELD, token)]
    filled_in = fields(shown)
    forms = filled_in.map(lambda pairs: (encoded([*mark, *pairs]), FORM))
    several = filled_in.map(lambda pairs: (encoded([*mark, *mark, *pairs, *pairs]), FORM))
    files = filled_in.map(lambda pairs: (as_files([*mark, *pairs]), "multipart/form-data; boundary=x"))
    mistyped = st.tuples(filled_in.map(lambda pairs: encoded([*mark, *pairs])), TYPES)
    start = encoded(mark) + b"&" if mark else b""
    names = [name for name in shown if name != csrf.FIELD] or ["x"]
    large = st.sampled_from(
        [(start + encoded([(name, "")]) + b"A" * HUGE, FORM) for name in names[:3]]
        + [(b"[" + b"1," * (HUGE // 2), "application/json"), (b"&" * HUGE, FORM)]
    )
    crowd = st.just((start + b"&".join(b"a%d=1" % n for n in range(3_000)), FORM))
    raw = st.tuples(hostile.bodies(), TYPES)
    return st.one_of(forms, forms, forms, forms, several, files, mistyped, raw, st.one_of(large, crowd))
