"""Finds recordings, says what became of them, and fetches their files."""
