"""functions: the entry points of the Lambda functions. Each composes its function from the environment."""
