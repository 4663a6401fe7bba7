"""facts: the contract between the functions: facts, commands, and the queue messages that contain them."""
