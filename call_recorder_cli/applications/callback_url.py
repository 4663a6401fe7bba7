"""The callback URL that an application has at Sinch, and that of the stack."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from call_recorder_cli.applications.sinch_configuration import (
    API_URL_VARIABLE,
    CallbackUrls,
    find_api_url,
    read_callback_url,
    set_callback_url,
)
from call_recorder_cli.errors import NoRight

if TYPE_CHECKING:
    from pydantic import SecretStr

    from call_recorder_cli.applications.parameters import StoredApplication
    from call_recorder_cli.stack import Stack


def can_call(stack: Stack) -> bool:
    """Tell whether Sinch can call the stack: the URL of an emulator is of no use to the real Sinch."""
    return stack.on_aws or API_URL_VARIABLE in os.environ


@dataclass(frozen=True)
class CallbackUrlAtSinch:
    """The callback URLs of an application at Sinch.

    Attributes:
        application_key: the key of the application.
        secret: the secret that Sinch accepts now.
        urls: the present URLs.
        ours: the URL of the stack.
    """

    application_key: str
    secret: SecretStr
    urls: CallbackUrls
    ours: str

    @classmethod
    def read(cls, application: StoredApplication, ours: str) -> CallbackUrlAtSinch:
        """Read the URLs. Raises what ``read_callback_url`` raises."""
        *others, last = application.secrets
        for secret in others:
            try:
                urls = read_callback_url(application.key, secret, api_url=find_api_url())
            except NoRight:
                continue  # While the secret is changed, Sinch accepts one of the two.
            return cls(application.key, secret, urls, ours)
        return cls(application.key, last, read_callback_url(application.key, last, api_url=find_api_url()), ours)

    @property
    def is_ours(self) -> bool:
        """Whether Sinch sends all callbacks to the stack."""
        return self.urls.primary == self.ours

    @property
    def names_ours(self) -> bool:
        """Whether Sinch sends any callback to the stack."""
        return self.ours in (self.urls.primary, self.urls.fallback)

    def set_ours(self) -> bool:
        """Have Sinch call the stack. The fallback stays. Return whether Sinch does it."""
        return self._set(replace(self.urls, primary=self.ours)).is_ours

    def remove_ours(self) -> bool:
        """Have Sinch call the stack no more. Return whether Sinch does it."""
        left = [url if url != self.ours else "" for url in (self.urls.primary, self.urls.fallback)]
        return not self._set(CallbackUrls(*left)).names_ours

    def _set(self, urls: CallbackUrls) -> CallbackUrlAtSinch:
        kept = set_callback_url(self.application_key, self.secret, urls, api_url=find_api_url())
        return replace(self, urls=kept)
