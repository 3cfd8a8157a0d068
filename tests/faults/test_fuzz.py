"""Damaged copies of every kind of object: decoders refuse them with an error of ours, quickly, in little memory."""

import random
from pathlib import Path

import pytest

from dreamdb_arrow.codec.cbor import decode_cbor, encode_cbor
from dreamdb_arrow.errors import DreamDBError, LayoutError
from dreamdb_arrow.testing import fuzz
from dreamdb_arrow.testing.decoders import DECODERS, seeds_of
from dreamdb_arrow.testing.mutate import mutate

SPACES = Path(__file__).parents[2] / "conformance" / "spaces" / "reference-0.0.16"
ROUNDS = 400


@pytest.fixture(scope="module")
def corpus() -> list[bytes]:
    return fuzz.read_corpus([SPACES])


@pytest.mark.parametrize("name", DECODERS)
def test_decoder_refuses_damage(corpus, name):  # 0000-R2
    seeds = seeds_of(DECODERS[name], corpus, (DreamDBError,), fuzz.SEEDS_MAX)
    assert seeds, "no object to begin with"
    outcome = fuzz.fuzz(name, DECODERS[name], seeds, ROUNDS)
    assert outcome.findings == []
    assert outcome.accepted < ROUNDS


@pytest.mark.slow
def test_200_000_inputs_for_each_decoder(figure):
    for outcome in fuzz.run_all([SPACES], 200_000, seed=1):
        assert outcome.findings == [], outcome.decoder
        figure(
            "fuzz",
            outcome.decoder,
            inputs=outcome.rounds,
            accepted=outcome.accepted,
            slowest_ms=outcome.slowest * 1e3,
            memory_mb=outcome.memory / 2**20,
            seconds=outcome.seconds,
        )


def test_findings_are_found():
    def fragile(data: bytes) -> None:
        if len(data) % 5 == 0:
            raise KeyError(len(data))
        if len(data) % 7 == 0:
            raise LayoutError("refused")

    outcome = fuzz.fuzz("fragile", fragile, [b"0123456789"], 500)
    assert len(outcome.findings) == 5
    assert "KeyError" in outcome.findings[0]
    number = int(outcome.findings[0].split(":")[0].removeprefix("round "))
    again = list(fuzz.inputs("fragile", [b"0123456789"], number + 1, 0))
    assert len(again[number]) % 5 == 0  # a finding can be had again


def test_a_slow_decoder_is_found(monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS_MAX", -1.0)
    assert "round 0" in fuzz.fuzz("slow", len, [b"x"], 3).findings[0]


@pytest.mark.parametrize("data", [b"", b"\xff", encode_cbor({"a": [1, b"xy", "text"], "b": {"c": 2**63}})])
def test_mutations_change_bytes_and_stay_small(data):
    chance = random.Random(1)
    made = [mutate(data, [data, b"other"], chance) for _ in range(3000)]
    assert len(set(made)) > 100
    assert max(map(len, made)) <= 1 << 20


def test_some_mutations_are_still_cbor():
    chance, accepted = random.Random(1), 0
    data = encode_cbor({"a": [1, b"xy", "text"], "b": {"c": 2**63}})
    for _ in range(2000):
        try:
            accepted += decode_cbor(mutate(data, [data], chance)) is not None
        except DreamDBError:
            continue
    assert 20 < accepted < 1500


def test_in_a_process_of_its_own():
    (outcome,) = fuzz.run_all([SPACES], 50, seed=3, names=["cbor"])
    assert (outcome.decoder, outcome.rounds, outcome.seeds, outcome.findings) == ("cbor", 50, 64, [])
    (died,) = fuzz.run_all([SPACES / "nowhere"], 50, seed=3, names=["cbor"])
    assert "the process died" in died.findings[0]
