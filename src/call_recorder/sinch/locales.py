"""Languages and voices that Sinch speaks, and languages that it transcribes.

A locale that Sinch does not know costs the prompt or the transcript, and Sinch reports neither to the callback URL.

Sources: the types ``TtsVoice`` and ``TranscriptionLocale`` of Sinch's Node SDK (github.com/sinch/sinch-sdk-node,
packages/voice/src/models/v1), and the pages
https://developers.sinch.com/docs/voice/api-reference/voice-locales and
https://developers.sinch.com/docs/voice/api-reference/transcription-locales: case does not count, and what they list
and the SDK does not is here too, as far as it could be read. Sinch's callback pages of 2021 list no other locale.
"""

from __future__ import annotations

from functools import cache

# One language a line: its locale, the genders that may be written behind it with a slash, and its voices by name.
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
    """Sinch has no such locale or voice; the text says what to write."""


def voice_locale(text: str) -> str:
    """Return the locale or voice of a prompt, such as ``en-US``, ``en-US/female`` or ``Joanna``, as Sinch spells it.

    Raises:
        UnknownLocale: Sinch lists no such locale or voice.
    """
    return _spelt(text, _voices(), "write a locale or voice that Sinch lists, such as en-US, en-US/female or Joanna")


def transcription_locale(text: str) -> str:
    """Return the locale of a transcript, such as ``en-US``, as Sinch spells it.

    Raises:
        UnknownLocale: Sinch lists no such locale.
    """
    return _spelt(text, _transcribed(), "write a locale that Sinch transcribes, such as en-US")


def voice_locales() -> list[str]:
    """Return every locale and voice that a prompt may have."""
    return sorted(_voices().values())


def transcription_locales() -> list[str]:
    """Return every locale that a transcript may have."""
    return sorted(_transcribed().values())


def _spelt(text: str, known: dict[str, str], mend: str) -> str:
    # Some write en_US; Sinch itself lists one locale with a low line.
    spelling = known.get(text.lower()) or known.get(text.lower().replace("_", "-"))
    if spelling is None:
        raise UnknownLocale(mend)
    return spelling


@cache
def _voices() -> dict[str, str]:
    """Return the spellings by what they are in lower case."""
    known = []
    for line in _VOICES.strip().splitlines():
        locale, *words = line.split()
        known += [locale, *(f"{locale}/{word}" if word in ("female", "male") else word for word in words)]
    return {spelling.lower(): spelling for spelling in known}


@cache
def _transcribed() -> dict[str, str]:
    return {spelling.lower(): spelling for spelling in _TRANSCRIBED.split()}
