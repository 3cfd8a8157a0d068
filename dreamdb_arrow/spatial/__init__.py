"""Vectors meet Objects: cells, probing, training, exact search."""
