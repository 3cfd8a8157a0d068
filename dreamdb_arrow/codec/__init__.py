"""Bytes and values, both ways; pure."""
