"""The locales and voices of Sinch's prompts, and the locales of its transcripts.

With an unknown locale, Sinch plays no prompt or makes no transcript, and reports neither to the callback URL.

Sources: the types ``TtsVoice`` and ``TranscriptionLocale`` of Sinch's Node SDK (github.com/sinch/sinch-sdk-node,
packages/voice/src/models/v1), and the pages
https://developers.sinch.com/docs/voice/api-reference/voice-locales and
https://developers.sinch.com/docs/voice/api-reference/transcription-locales. Case does not matter. The lists here are
the SDK's, with the additional entries of the pages, as far as they could be read. Sinch's callback pages of 2021 list
no other locale.
"""

from __future__ import annotations

from functools import cache

# One language per line: its locale, the genders that may follow it after a slash, and the names of its voices.
_VOICES = """
arb female Zeina
az-AZ female male Banu Babek
bg-BG female male Kalina Boris
ca-ES female Arlet
cmn-CN female Zhiyu
cs-CZ female male Vlasta Antonin
cy-GB female Gwyneth
da-DK female male Naja Mads
de-AT female Hannah
de-DE female male Marlene Vicki Hans Daniel
el-GR female male Athina Nestoras
en-AU female male Nicole Olivia Russell
en-GB female male Amy Emma Brian Arthur
en-GB-WLS male Geraint
en-IN female Aditi Raveena Kajal
en-NZ female Aria
en-US female male Ivy Joanna Kendra Kimberly Salli Joey Justin Kevin Matthew
en-ZA female Ayanda
es-ES female male Conchita Lucia Enrique
es-MX female Mia
es-US female male Lupe Penélope Penelope Miguel Pedro
et-EE female male Anu Kert
fi-FI female Suvi
fil-PH female male Angelo Blessica
fr-CA female male Chantal Gabrielle Liam
fr-FR female male Céline Celine Léa Mathieu
hi-IN female Aditi Kajal
hr-HR female male Gabrijela Srecko
hu-HU female male Noemi Tamas
id-ID female male Ardi Gadis
is-IS female male Dóra Dora Karl
it-IT female male Carla Bianca Giorgio
ja-JP female male Mizuki Takumi
ka-GE female male Eka Giorgi
ko-KR female Seoyeon
lt-LT female male Ona Leonas
lv-LV female male Everita Nils
ms-MY female male Osman Yasmin
mt-MT female male Grace Joseph
my-MM female male Nilar Thiha
nb-NO female Liv
nl-NL female male Lotte Ruben
pl-PL female male Ewa Maja Jacek Jan
pt-BR female male Camila Vitória Vitoria Ricardo
pt-PT female male Inês Ines Cristiano
ro-RO female Carmen
ru-RU female male Tatyana Maxim
sk-SK female male Viktoria Lukas
sl-SI female male Petra Rok
sv-SE female Astrid
th-TH female male Achara Niwat Premwadee
tr-TR female male Filiz
uk-UA female male Polina Ostap
uz-UZ female male Madina Sardor
vi-VN female male HoaiMy NamMinh
zh-HK female male HiuGaai HiuMaan WanLung
"""

_TRANSCRIBED = """
ab-GE af-ZA ar-AE ar-SA ast-ES az-AZ ba-RU be-BY bg-BG bn-IN bs-BA ca-ES ckb-IQ ckb-IR cs-CZ da-DK de-CH de-DE
en-AB en-AU en-GB en-IE en-IN en-NZ en-US en-WL en-ZA es-ES es-US fa-IR fr-CA fr-FR ga-IE gd-GB gd_GB he-IL
hi-IN hr-HR hy-AM id-ID it-IT ja-JP ko-KR ms-MY nl-NL pt-BR pt-PT ru-RU sv-SE ta-IN te-IN th-TH tr-TR vi-VN
zh-CN zh-HK zh-TW
"""


class UnknownLocale(ValueError):
    """Sinch has no such locale or voice. The text says what to write instead."""


def normalize_voice_locale(text: str) -> str:
    """Return the locale or voice of a prompt in Sinch's spelling: ``en-US``, ``en-US/female`` or ``Joanna``.

    Raises:
        UnknownLocale: Sinch lists no such locale or voice.
    """
    correction = "write a locale or voice that Sinch lists, such as en-US, en-US/female or Joanna"
    return _normalize(text, _index_voices(), correction)


def normalize_transcription_locale(text: str) -> str:
    """Return the locale of a transcript in Sinch's spelling, such as ``en-US``.

    Raises:
        UnknownLocale: Sinch lists no such locale.
    """
    return _normalize(text, _index_transcribed(), "write a locale that Sinch transcribes, such as en-US")


def list_voice_locales() -> list[str]:
    """Return all locales and voices of prompts."""
    return sorted(_index_voices().values())


def list_transcription_locales() -> list[str]:
    """Return all locales of transcripts."""
    return sorted(_index_transcribed().values())


def _normalize(text: str, spellings: dict[str, str], correction: str) -> str:
    # An underscore is accepted as in en_US. Sinch itself lists one locale with an underscore.
    spelling = spellings.get(text.lower()) or spellings.get(text.lower().replace("_", "-"))
    if spelling is None:
        raise UnknownLocale(correction)
    return spelling


@cache
def _index_voices() -> dict[str, str]:
    """Return the spellings of locales and voices, by their lower case."""
    spellings = []
    for line in _VOICES.strip().splitlines():
        locale, *words = line.split()
        spellings += [locale, *(f"{locale}/{word}" if word in ("female", "male") else word for word in words)]
    return {spelling.lower(): spelling for spelling in spellings}


@cache
def _index_transcribed() -> dict[str, str]:
    return {spelling.lower(): spelling for spelling in _TRANSCRIBED.split()}
