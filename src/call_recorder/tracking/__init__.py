"""tracking: the state of a recording: it merges facts into items and publishes the events that are due."""
