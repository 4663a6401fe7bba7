"""Redaction: remove what may be a credential from texts that come from outside.

Sinch's error messages may quote the answer that they complain about, and an answer that records holds the storage
credentials. Sinch does not document what it quotes, so everything that looks like a credential is removed.
"""

from __future__ import annotations

import re
from typing import Final

REDACTED: Final = "***"

# Keys, secrets, signatures and URLs are long runs of these characters. Runs of words, such as a field's path, stay.
_MAYBE_CREDENTIAL = re.compile(r"[A-Za-z0-9+/=_%~&?.:@-]{16,}")
_WORDS = re.compile(r"[A-Za-z]{1,24}(?:[._:-][A-Za-z]{0,24})*")
_ACCESS_KEY = re.compile(r"A[KS]I[AD][A-Z0-9]{12,}")


def redact(text: str) -> str:
    """Return a text without anything that may be a credential. Words, numbers and short ids stay."""
    return _MAYBE_CREDENTIAL.sub(lambda run: run[0] if _is_words(run[0]) else REDACTED, text)


def _is_words(run: str) -> bool:
    return bool(_WORDS.fullmatch(run)) and not _ACCESS_KEY.search(run)
