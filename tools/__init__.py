"""Commands for the operators of a deployed stack."""
