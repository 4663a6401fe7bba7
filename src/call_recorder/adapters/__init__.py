"""Adapters to AWS. They turn AWS's errors into the domain's and hold no rule of their own."""
