"""Engines at the edge: one foreign engine a file, and nothing below knows of them."""
