"""The simulator's recordings are valid audio files."""

import io
import wave

import pytest

from local import audio


@pytest.mark.parametrize("frames", [1, 500])
def test_an_mp3_has_the_requested_number_of_whole_frames(frames: int) -> None:
    content = audio.make_silence("mp3", frames)
    length = 144 * 32_000 // 32_000  # ISO 11172-3, 2.4.3.1: 144 * bit rate / sample rate

    assert len(content) == frames * length
    for start in range(0, len(content), length):
        header = int.from_bytes(content[start : start + 4], "big")
        assert header >> 17 == 0b111_1111_1111_11_01, "sync word, MPEG-1, Layer III"
        assert (header >> 9) & 0b1111_11_1 == 0b0001_10_0, "32 kbit/s, 32 kHz, no padding"
        assert (header >> 6) & 0b11 == 0b11, "one channel, which has 17 bytes of side information"
        assert not any(content[start + 4 : start + 21]), "no main data"


def test_the_recording_of_a_call_has_its_own_fixed_length() -> None:
    lengths = {audio.count_frames(f"call-{number}") for number in range(20)}

    assert len(lengths) > 15
    assert audio.count_frames("call-1") == audio.count_frames("call-1")
    assert all(1 <= audio.count_seconds(frames) <= 19 for frames in lengths)


@pytest.mark.parametrize("frames", [28, 500])
def test_a_wav_plays_as_long_as_the_mp3(frames: int) -> None:
    with wave.open(io.BytesIO(audio.make_silence("wav", frames))) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(frames * 0.036)
        assert set(file.readframes(file.getnframes())) == {0x80}
