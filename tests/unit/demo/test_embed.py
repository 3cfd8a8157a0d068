"""Embedding: the mean of token vectors, at length one, however the texts are cut into batches."""

import numpy as np
import pytest

from dreamdb_arrow.demo import embed
from dreamdb_arrow.demo.embed import load_model, sum_tokens
from dreamdb_arrow.errors import UnsupportedError


def plain(model, text):
    """The definition, one text at a time."""
    if not text:
        return np.zeros(model.dim)
    mean = np.mean([model.vectors[ord(c) % 64] for c in text], axis=0)
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("count", [0, 1, 5, 127, 128, 129, 300])
def test_each_text_gets_its_own_mean(letters, count, monkeypatch):
    monkeypatch.setattr(embed, "ENCODE_TEXTS", 150)
    rng = np.random.default_rng(count)
    texts = ["".join(chr(97 + c) for c in rng.integers(0, 26, rng.integers(0, 9))) for _ in range(count)]
    found = letters.embed(texts)
    assert found.shape == (count, 8)
    assert found.dtype == np.float32
    for row, text in zip(found, texts, strict=True):
        np.testing.assert_allclose(row, plain(letters, text), atol=1e-5)


def test_texts_without_tokens_are_zeros(letters):
    found = letters.embed(["", "ab", ""])
    assert not found[0].any()
    assert not found[2].any()
    np.testing.assert_allclose(np.linalg.norm(found[1]), 1, rtol=1e-6)
    assert sum_tokens(letters.vectors, np.empty(0, np.int64), np.zeros(2, np.int64)).shape == (2, 8)


def test_the_model_of_the_installed_wheel():
    model = load_model()
    near, far, query = model.embed(
        ["delight in another person's misfortune", "a flat tool", "joy in the misfortune"]
    )
    assert model.dim == 256
    assert near @ query > 0.5 > far @ query


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(embed, "find_spec", lambda _: None)
    with pytest.raises(UnsupportedError, match=r"dreamdb-arrow\[demo\]"):
        load_model()
    bare = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(embed, "find_spec", lambda _: bare)
    with pytest.raises(UnsupportedError, match=r"has no weights.*dreamdb-arrow\[demo\]"):
        load_model()
