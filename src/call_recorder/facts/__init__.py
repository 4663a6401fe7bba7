"""The contract between the functions: call facts, commands, and the queue messages that carry them."""
