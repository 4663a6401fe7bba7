"""What happens to a recording: facts are merged into items, and events are published."""
