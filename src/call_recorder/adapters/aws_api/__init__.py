"""aws_api: our own client for AWS, for the calls that a caller waits for. It needs no SDK."""
