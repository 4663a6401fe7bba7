"""Adapters to AWS. They turn botocore's errors into the domain's and hold no rule of their own."""
