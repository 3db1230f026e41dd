from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.audit import heads
from app.audit.heads import HeadsBehindError, append_head, heads_size, read_heads, signed_bytes

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FROZEN = heads.Head(3, "ab" * 32, "2026-01-02T03:04:05.000006Z", 2, "56475aa75463474c", "")


def read(folder: Path) -> list:
    return list(read_heads(folder, heads_size(folder)))


def test_the_signed_bytes_of_a_head_never_change() -> None:
    assert heads.key_id(KEY.public_key()) == FROZEN.key
    assert signed_bytes(FROZEN) == (
        b'["wardlink-head",1,3,"' + b"ab" * 32 + b'","2026-01-02T03:04:05.000006Z",2,"56475aa75463474c"]'
    )


def test_heads_follow_each_other_and_count_the_links_between(tmp_path: Path) -> None:
    folder = tmp_path / "not there yet"
    append_head(folder, KEY, 3, b"a" * 32)
    append_head(folder, KEY, 10, b"b" * 32)
    assert [(head.seq, head.count) for head in read(folder)] == [(3, 3), (10, 7)]
    for head in read(folder):
        KEY.public_key().verify(bytes.fromhex(head.signature), signed_bytes(head))


def test_the_same_head_is_not_signed_twice_and_an_empty_chain_not_at_all(tmp_path: Path) -> None:
    assert append_head(tmp_path, KEY, 0, bytes(32)) is None
    assert append_head(tmp_path, KEY, 3, b"a" * 32)
    assert append_head(tmp_path, KEY, 3, b"a" * 32) is None
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize(("seq", "digest"), [(2, b"a" * 32), (3, b"x" * 32), (0, bytes(32))])
def test_a_chain_that_was_cut_or_rewritten_gets_no_new_head(tmp_path: Path, seq: int, digest: bytes) -> None:
    append_head(tmp_path, KEY, 3, b"a" * 32)
    with pytest.raises(HeadsBehindError, match="audit verify"):
        append_head(tmp_path, KEY, seq, digest)
    assert len(read(tmp_path)) == 1


def test_half_a_line_left_by_a_crash_is_cut_off_and_not_counted(tmp_path: Path) -> None:
    append_head(tmp_path, KEY, 3, b"a" * 32)
    with (tmp_path / heads.FILE_NAME).open("ab") as file:
        file.write(b'{"seq":9,"ha')
    assert [head.seq for head in read(tmp_path)] == [3]
    append_head(tmp_path, KEY, 9, b"b" * 32)
    assert [(head.seq, head.count) for head in read(tmp_path)] == [(3, 3), (9, 6)]


@pytest.mark.parametrize("line", [b"{}", b"[1]", b"x", b"\xff", b'{"seq":true}', b"[" * 3000, b"y" * 9000])
def test_a_line_that_is_no_head_reads_as_none(tmp_path: Path, line: bytes) -> None:
    (tmp_path / heads.FILE_NAME).write_bytes(line + b"\n")
    assert set(read(tmp_path)) == {None}


def test_many_writers_at_once_leave_whole_ascending_lines(tmp_path: Path) -> None:
    def write(seq: int) -> None:
        with suppress(HeadsBehindError):  # a later one was quicker
            append_head(tmp_path, KEY, seq, bytes([seq]) * 32)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(1, 60)))
    seqs = [head.seq for head in read(tmp_path)]
    assert seqs == sorted(set(seqs))
    assert seqs[-1] == 59
