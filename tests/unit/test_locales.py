"""The locales that Sinch's SDK and documents list, and no others."""

import pytest

from call_recorder.sinch.locales import (
    UnknownLocale,
    list_transcription_locales,
    list_voice_locales,
    normalize_transcription_locale,
    normalize_voice_locale,
)

# Sinch's callback pages of 2021 list these for prompts.
LISTED_IN_2021 = (
    "da-DK nl-NL en-AU en-GB en-IN en-US en-GB-WLS fr-FR fr-CA de-DE is-IS it-IT ja-JP ko-KR nb-NO pl-PL pt-BR pt-PT "
    "ro-RO ru-RU es-ES es-US sv-SE tr-TR cy-GB"
)


@pytest.mark.parametrize("locale", LISTED_IN_2021.split())
def test_the_locales_of_the_older_documents_are_known(locale: str) -> None:
    assert normalize_voice_locale(locale) == locale


def test_a_locale_is_spelt_as_listed_whatever_its_case() -> None:
    for spelt, listed in (
        (normalize_voice_locale, list_voice_locales()),
        (normalize_transcription_locale, list_transcription_locales()),
    ):
        assert len(listed) == len(set(listed)) > 40
        for locale in listed:
            assert spelt(locale) == spelt(locale.upper()) == spelt(locale.lower()) == locale


def test_only_prompts_have_a_gender_or_a_voice() -> None:
    assert {"en-US/female", "en-GB-WLS/male", "Geraint"} <= set(list_voice_locales())
    assert "en-GB-WLS/female" not in list_voice_locales()
    assert not any("/" in locale for locale in list_transcription_locales())
    with pytest.raises(UnknownLocale, match="such as en-US"):
        normalize_transcription_locale("Geraint")
