"""The demo: real data into one Space, then a tour of SQL over it."""

from dreamdb_arrow.demo.run import run_demo

__all__ = ["run_demo"]
