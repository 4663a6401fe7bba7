"""Finds common faults of a stack. It changes nothing, and each finding says what to do."""
