"""Sentence vectors from a static model: the mean of token vectors, so that no network and no GPU is needed.

The model lies in the wheel `wordllama` (MIT), which is not imported: its own loader looks for the tokenizer elsewhere,
and then on the network.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from dreamdb_arrow.errors import UnsupportedError

F32 = np.ndarray[Any, np.dtype[np.float32]]
I64 = np.ndarray[Any, np.dtype[np.int64]]

WEIGHTS: Final = "weights/l2_supercat_256.safetensors"
TOKENIZER: Final = "tokenizers/l2_supercat_tokenizer_config.json"
ENCODE_TEXTS: Final = 4096  # tokenized at a time
POOL_TEXTS: Final = 128  # summed at a time: their token vectors stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Model:
    """A tokenizer, and one vector a token, (tokens, dim) float32."""

    tokenizer: Any
    vectors: F32

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return int(self.vectors.shape[1])

    def embed(self, texts: Sequence[str]) -> F32:
        """Return a vector of length one for each text, (n, dim); zeros for a text without tokens."""
        out = np.zeros((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), ENCODE_TEXTS):
            part = list(texts[start : start + ENCODE_TEXTS])
            found = self.tokenizer.encode_batch_fast(part, add_special_tokens=False)
            ids = [encoding.ids for encoding in found]
            lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
            flat = np.fromiter(itertools.chain.from_iterable(ids), dtype=np.int64, count=int(lengths.sum()))
            out[start : start + len(part)] = sum_tokens(self.vectors, flat, lengths)
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        np.divide(out, norms, out=out, where=norms > 0)
        return out


def load_model() -> Model:
    """Return the model of the installed wheel. Raises UnsupportedError when the demo's extra is not installed."""
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise UnsupportedError("the demo's model is not installed; pip install 'dreamdb-arrow[demo]'")
    folder = Path(spec.origin).parent
    missing = [name for name in (WEIGHTS, TOKENIZER) if not (folder / name).is_file()]
    if missing:
        raise UnsupportedError(
            f"the installed wordllama has no {missing[0]}; pip install 'dreamdb-arrow[demo]'"
        )
    try:
        tokenizers, safetensors = import_module("tokenizers"), import_module("safetensors.numpy")
    except ImportError as error:
        raise UnsupportedError(f"{error}; pip install 'dreamdb-arrow[demo]'") from None
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    weights = safetensors.load_file(folder / WEIGHTS)["embedding.weight"]
    return Model(tokenizer, weights.astype(np.float32))


def sum_tokens(vectors: F32, ids: I64, lengths: I64) -> F32:
    """Return the sum of each text's token vectors, (n, dim).

    Args:
        vectors: one a token, (tokens, dim).
        ids: the tokens of all texts, one after the other, (sum of lengths,).
        lengths: how many tokens each text has, (n,).
    """
    assert lengths.sum() == len(ids)
    out = np.zeros((len(lengths), vectors.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(lengths)  # reduceat would give a text without tokens the first token of the next
    stops = np.cumsum(lengths)
    starts = stops - lengths
    for rows in np.array_split(filled, max(1, -(-len(filled) // POOL_TEXTS))):
        if len(rows):
            low, high = int(starts[rows[0]]), int(stops[rows[-1]])
            out[rows] = np.add.reduceat(vectors[ids[low:high]], starts[rows] - low, axis=0)
    return out
