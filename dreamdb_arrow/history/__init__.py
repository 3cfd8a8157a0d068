"""Versions of a Space: refs, commits, ancestry, deletion. Spec 0008."""
