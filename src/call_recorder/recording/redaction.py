"""What may be a credential is taken out of texts that others wrote.

Sinch's error messages may quote the answer that they are about, and a recording's answer has the storage credentials
in it. Sinch does not document what it quotes, so what has the look of a credential goes, whoever's it is.
"""

from __future__ import annotations

import re
from typing import Final

REDACTED: Final = "***"

# Runs of what keys, secrets, signatures and URLs are made of, and what may stay of them: words, such as a field's path.
_MAYBE_CREDENTIAL = re.compile(r"[A-Za-z0-9+/=_%~&?.:@-]{16,}")
_WORDS = re.compile(r"[A-Za-z]{1,24}(?:[._:-][A-Za-z]{0,24})*")
_ACCESS_KEY = re.compile(r"A[KS]I[AD][A-Z0-9]{12,}")


def redact(text: str) -> str:
    """Return a text without anything that may be a credential; words, numbers and short ids stay."""
    return _MAYBE_CREDENTIAL.sub(lambda run: run[0] if _is_words(run[0]) else REDACTED, text)


def _is_words(run: str) -> bool:
    return bool(_WORDS.fullmatch(run)) and not _ACCESS_KEY.search(run)
