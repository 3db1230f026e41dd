import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.encoding import GENESIS, encode, link, utc_text

FULL = (
    1, 42, 1_774_746_000_000_001, "staff", "0192", "01920000-0000-7000-8000-000000000001", "E05013806",
    "alert:7", "alert:send", "disclosure", 'He said "✓"\nthen /left\\', "web", '{"n":1}',
)  # fmt: skip
FULL_BYTES = (
    '[1,42,"2026-03-29T01:00:00.000001Z","staff","0192","01920000-0000-7000-8000-000000000001","E05013806",'
    '"alert:7","alert:send","disclosure","He said \\"✓\\"\\nthen /left\\\\","web","{\\"n\\":1}"]'
).encode()
BARE = (1, 1, 946_684_800_000_000, "system", None, None, None, "area:x", "area:load", None, None, None, None)
BARE_BYTES = (
    b'[1,1,"2000-01-01T00:00:00.000000Z","system",null,null,null,"area:x","area:load",null,null,null,null]'
)


@pytest.mark.parametrize(("row", "written"), [(FULL, FULL_BYTES), (BARE, BARE_BYTES)])
def test_the_bytes_of_version_1_never_change(row: tuple, written: bytes) -> None:
    assert encode(row) == written


def test_the_hashes_of_a_chain_of_two_never_change() -> None:
    first = link(GENESIS, BARE_BYTES)
    assert first.hex() == sha256(bytes(32) + BARE_BYTES).hexdigest()
    assert first.hex() == "1e71a01af066b822b12abf80ca96b172590700f1d828cea6a0a2d172d6e9a846"
    assert link(first, FULL_BYTES).hex() == "1cccf53316944eaf0c2a9b7dee871572dd44d7a7c2535e045ae4e3bdabbb4445"


@pytest.mark.parametrize(
    "change", [{0: 2}, {2: None}, {2: 2**62}, {2: -(2**62)}], ids=["version", "infinite", "late", "early"]
)
def test_what_is_no_entry_of_version_1_is_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="entry"):
        encode([change.get(place, value) for place, value in enumerate(FULL)])


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="version 1"):
        encode(FULL[:-1])


maybe_text = st.none() | st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.lists(maybe_text, min_size=10, max_size=10), st.integers(946_684_800_000_000, 253_370_764_799_999_999)
)
def test_nothing_is_lost_in_the_encoding_so_no_two_entries_share_one(texts: list, at: int) -> None:
    read = json.loads(encode([1, 5, at, *texts]))
    assert read == [1, 5, utc_text(at), *texts]


@given(st.integers(946_684_800_000_000, 253_370_764_799_999_998))
def test_two_times_are_never_written_alike(at: int) -> None:
    assert utc_text(at) < utc_text(at + 1)
