"""What tests of a Space need, shipped for other implementations too."""

from dreamdb_arrow.testing.faulty import FaultyStore

__all__ = ["FaultyStore"]
