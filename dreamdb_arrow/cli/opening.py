"""From arguments to what they name: a Space, or a dataset in it."""

from __future__ import annotations

from argparse import Namespace

from dreamdb_arrow.cli.environment import cache_dir
from dreamdb_arrow.dataset.dataset import Dataset
from dreamdb_arrow.dataset.space import Space
from dreamdb_arrow.errors import InvalidInputError


def open_space(args: Namespace) -> Space:
    """Return the Space. Raises NotFoundError when there is none."""
    return Space(args.backend, cache_dir=cache_dir(args.cache_dir), offline=args.offline)


def open_dataset(args: Namespace) -> Dataset:
    """Return the dataset of a Ref. Raises RefNotFoundError, with the Refs there are."""
    return Dataset.open_ref(args.ref, args.backend, cache_dir=cache_dir(args.cache_dir), offline=args.offline)


def open_for_writing(args: Namespace) -> Dataset:
    """Return the dataset of a Ref that may move. Raises InvalidInputError for a snapshot."""
    ds = open_dataset(args)
    if "@" in args.ref:
        raise InvalidInputError(
            f"{args.ref!r} is a snapshot, which stays as it is; name the ref it was taken of"
        )
    return ds
