"""Tracks: rows to the Objects of one field, and back."""
