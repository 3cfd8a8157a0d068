"""Kernels beside those of libraries, on the same vectors: what the choice of each rests on."""
