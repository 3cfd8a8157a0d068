"""Federations: several Spaces as one, in SQL and in Python, with members that are down. Spec 0012."""

import json
import shutil

import numpy as np
import pytest

import dreamdb_arrow as vd
from dreamdb_arrow.dataset.federation import Member, decode_federation, encode_federation
from dreamdb_arrow.errors import InvalidInputError, LayoutError, NotFoundError, StoreError

T0 = 1_700_000_000_000_000_000
GONE = "http://127.0.0.1:1/test/gone"  # nobody listens there


def vectors(seed, n, dim=4):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def make(place, seed, n, more=None, dim=4):
    schema = vd.Schema().add_scalar_int("n").add_embedding("v", dim=dim)
    if more:
        schema = schema.add_scalar_string(more)
    ds = vd.Dataset.create("hello", schema, place, cache_dir=None)
    rows = [{"_anchor": T0 + i, "n": i, "v": v} for i, v in enumerate(vectors(seed, n, dim))]
    ds.append_many([{**row, more: f"t{row['n']}"} if more else row for row in rows])
    return ds


@pytest.fixture
def spaces(tmp_path):
    """Two Spaces whose schemas differ in one column."""
    make(tmp_path / "eu", 1, 60)
    make(tmp_path / "us", 2, 40, more="word")
    return tmp_path


def federated(place, **options):
    members = {
        "eu": {"url": place / "eu", "ref": "hello"},
        "us": {"url": place / "us", "ref": "hello"},
        **options,
    }
    return vd.Federation.create(place / "fed.json", members, cache_dir=place / "cache")


def test_members_are_united_by_name(spaces):
    con = federated(spaces).connect()
    found = con.sql("SELECT _source, count(*), sum(n), count(word) FROM federation GROUP BY ALL ORDER BY ALL")
    assert found.fetchall() == [("eu", 60, 1770, 0), ("us", 40, 780, 40)]
    few = con.sql(f"SELECT count(*) FROM dreamdb_federation_scan(t0 := {T0 + 10}, t1 := {T0 + 20})")
    assert few.fetchall() == [(20,)]
    assert con.sql("SELECT count(*) FROM us.dreamdb_scan('hello')").fetchall() == [(40,)]


def test_the_nearest_of_all_members_are_exact(spaces):  # 0012-R11
    federation, query = federated(spaces), [0.3, -0.2, 0.9, 0.1]
    both = {"eu": vectors(1, 60), "us": vectors(2, 40)}
    wanted = []
    for name, held in both.items():
        x = held.astype(np.float64)
        distances = 1 - x @ query / np.linalg.norm(x, axis=1) / np.linalg.norm(query)
        wanted += [(d, name, T0 + i) for i, d in enumerate(distances)]
    wanted = sorted(wanted)[:12]
    found = federation.search("v", query, 12)
    assert list(zip(found["_source"].to_pylist(), found["_anchor"].to_pylist(), strict=True)) == [
        (name, anchor) for _, name, anchor in wanted
    ]
    assert np.allclose(found["_distance"], [d for d, _, _ in wanted])
    sql = f"SELECT _source, _anchor, _distance FROM dreamdb_federation_search('v', {query}, k := 12)"
    assert federation.connect().sql(sql).fetchall() == [
        tuple(r.values()) for r in found.drop(["query"]).to_pylist()
    ]
    many = federation.search("v", [query, [1, 0, 0, 0]], 5)
    assert many["query"].to_pylist() == [0] * 5 + [1] * 5
    assert many["_anchor"].to_pylist()[:5] == found["_anchor"].to_pylist()[:5]


def test_a_commit_is_seen_by_the_next_statement(spaces):
    con = federated(spaces).connect()
    make_more = vd.Dataset.open("hello", backend=spaces / "eu", cache_dir=None)
    make_more.append_many([{"_anchor": T0 + 1000, "n": 0, "v": [1, 0, 0, 0]}])
    assert con.sql("SELECT count(*) FROM federation").fetchall() == [(101,)]


def test_a_mirror_answers_for_a_member_that_is_down(spaces):  # 0012-R5
    vd.clone(spaces / "eu", spaces / "copy", cache_dir=None)
    federation = federated(spaces, eu={"url": GONE, "ref": "hello", "mirrors": [spaces / "copy"]})
    con = federation.connect()
    assert con.sql("SELECT count(*) FROM federation WHERE _source = 'eu'").fetchall() == [(60,)]
    eu, us = con.sql("SELECT name, mirror, len(errors) FROM dreamdb_federation_members()").fetchall()
    assert (eu, us) == (
        ("eu", True, 0),
        ("us", False, 0),
    )  # the mirror is asked first while the other is known to be down
    assert federation.report[0]["place"] == f"file://{spaces / 'copy'}"


def test_a_member_that_is_down_is_left_out_and_told(spaces):  # 0012-R7
    federation = federated(spaces)
    con = federation.connect()
    shutil.rmtree(spaces / "us")
    assert con.sql("SELECT _source, count(*) FROM federation GROUP BY 1").fetchall() == [("eu", 60)]
    assert con.sql("SELECT count(word) FROM federation").fetchall() == [(0,)]  # its columns stay
    assert len(federation.search("v", [1, 0, 0, 0], 100)) == 60
    assert [m["place"] is None for m in federation.report] == [False, True]
    ((name, errors),) = con.sql(
        "SELECT name, errors FROM dreamdb_federation_members() WHERE place IS NULL"
    ).fetchall()
    assert name == "us"
    assert "us" in errors[0]


def test_without_partial_it_is_an_error(spaces):  # 0012-R7
    federated(spaces)
    federation = vd.Federation.open(spaces / "fed.json", partial=False, cache_dir=spaces / "cache")
    con = federation.connect()
    shutil.rmtree(spaces / "us")
    with pytest.raises(Exception, match=r"member 'us' of .* does not answer"):
        con.sql("SELECT count(*) FROM federation").fetchall()
    with pytest.raises(StoreError, match="member 'us'"):
        federation.search("v", [1, 0, 0, 0])
    shutil.rmtree(spaces / "eu")
    with pytest.raises(StoreError, match="member 'eu'"):
        vd.Federation.open(spaces / "fed.json", cache_dir=None).connect()


def test_columns_of_one_name_have_one_type(spaces):  # 0012-R6
    make(spaces / "other", 3, 5, dim=8)
    with pytest.raises(InvalidInputError, match=r"field 'v' is .*4.* in member 'eu' and .*8.* in 'other'"):
        federated(spaces, other={"url": spaces / "other", "ref": "hello"}).connect()


def test_a_field_that_no_member_has(spaces):
    federation = federated(spaces)
    with pytest.raises(InvalidInputError, match=r"no member of .* has a field 'nope'"):
        federation.search("nope", [1, 2])
    with pytest.raises(Exception, match=r"no member of .* has a field 'nope'"):
        federation.connect().sql("FROM dreamdb_federation_search('nope', [1, 2])").fetchall()


def test_the_document_says_what_it_was_told():
    members = (
        Member("eu", "s3://b/p", "hello"),
        Member("us", "file:///x", "a@b", ("http://h/c", "file:///y")),
    )
    assert decode_federation(encode_federation(members)) == members


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b'{"kind": "dreamdb.federation", "version": 2, "members": []}',
        b'{"kind": "dreamdb.federation", "version": 1, "members": []}',
        b'{"kind": "dreamdb.federation", "version": 1, "members": [{"name": "a", "url": "u"}]}',
        b'{"kind": "dreamdb.federation", "version": 1, "members": [{"name": "A", "url": "u", "ref": "r"}]}',
        b'{"kind": "dreamdb.federation", "version": 1, "members": [{"name": "a", "url": 1, "ref": "r"}]}',
        b'{"kind": "dreamdb.federation", "version": 1, "members": [{"name": "a", "url": "u", "ref": "r", "x": 1}]}',
    ],
)
def test_other_documents_are_refused(said):  # 0012-R3
    with pytest.raises(LayoutError):
        decode_federation(said)


def test_names_and_places_are_checked_before_anything_is_written(tmp_path):  # 0012-R4
    for name, member in (
        ("main", {"url": "x", "ref": "r"}),
        ("a", {"url": "x"}),
        ("a", {"url": "x", "ref": "A"}),
    ):
        with pytest.raises(InvalidInputError):
            vd.Federation.create(tmp_path / "f.json", {name: member})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInputError, match=r"ends in \.json"):
        vd.Federation.open(tmp_path / "f")
    with pytest.raises(NotFoundError, match="no federation at"):
        vd.Federation.open(tmp_path / "f.json")


def test_another_document_is_not_overwritten(spaces):
    federated(spaces)
    federated(spaces)  # the same one again is fine
    with pytest.raises(InvalidInputError, match="there already"):
        vd.Federation.create(spaces / "fed.json", {"eu": {"url": spaces / "eu", "ref": "hello"}})
    assert [m["name"] for m in json.loads((spaces / "fed.json").read_text())["members"]] == ["eu", "us"]
