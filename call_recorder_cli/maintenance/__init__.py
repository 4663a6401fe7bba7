"""Looks after a running stack: its dead letters, its events, and its removal."""
