"""The names of an application's parameters, below ``/<prefix>/<applicationKey>/``."""

from typing import Final

SECRETS: Final = "application-secrets"
CREDENTIALS: Final = "storage-credentials"
PROFILE: Final = "recording-profile"
PARAMETERS: Final = (SECRETS, CREDENTIALS, PROFILE)
"""The names of all parameters of an application."""
