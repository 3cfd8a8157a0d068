import pytest

from dreamdb_arrow.codec.address import address_of
from dreamdb_arrow.codec.cbor import encode_cbor
from dreamdb_arrow.columnar.cover_note import CoverNote, decode_cover_note, encode_cover_note, merge_notes
from dreamdb_arrow.errors import CorruptDataError

A, B, C = (address_of(text) for text in (b"a", b"b", b"c"))
NOTE = CoverNote({"n": A}, {"n": frozenset({B, C})}, frozenset({C}))


def test_round_trip():
    assert decode_cover_note(encode_cover_note(NOTE)) == NOTE
    assert encode_cover_note(decode_cover_note(encode_cover_note(NOTE))) == encode_cover_note(NOTE)


def test_payloads_and_stripes_add_up_and_the_newest_names_the_tracks():
    newer = CoverNote({"n": B, "m": C}, {"n": frozenset({A}), "m": frozenset()}, frozenset({A}))
    merged = merge_notes([NOTE, newer])
    assert merged.tracks == {"n": B, "m": C}
    assert merged.payloads == {"n": frozenset({A, B, C}), "m": frozenset()}
    assert merged.stripes == {A, C}
    assert merge_notes([]) == CoverNote({}, {})


GOOD = {"v": 1, "tracks": {"n": bytes(A)}, "payloads": {"n": [bytes(B)]}, "stripes": [bytes(C)]}


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"v": "1"},
        {"more": 1},
        {"tracks": []},
        {"tracks": {"n": 5}},
        {"tracks": {"n": bytes(A)[:-1]}},
        {"payloads": []},
        {"payloads": {"n": 5}},
        {"payloads": {"n": bytes(B)}},
        {"payloads": {"n": [None]}},
        {"stripes": {}},
        {"stripes": [b"short"]},
    ],
)
def test_what_no_flush_writes_is_refused(change):
    assert decode_cover_note(encode_cbor(GOOD))
    with pytest.raises(CorruptDataError):
        decode_cover_note(encode_cbor(GOOD | change))


@pytest.mark.parametrize("data", [b"", b"\xa0", b"\x80", encode_cbor(GOOD) + b"\0", encode_cbor(GOOD)[:-1]])
def test_bytes_that_are_no_note_are_refused(data):
    with pytest.raises(CorruptDataError):
        decode_cover_note(data)
