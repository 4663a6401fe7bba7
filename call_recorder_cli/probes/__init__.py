"""Tries out what Sinch will use: each destination with its credentials, and the callback URL with the signature."""
