"""The simulator's recordings are valid audio files."""

import io
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import audio

BIT_RATES = {1: 32, 2: 40, 3: 48, 4: 56, 5: 64}  # kbit/s by index, MPEG-1 Layer III (ISO 11172-3, table of 2.4.2.3)
SAMPLE_RATES = {0: 44_100, 1: 48_000, 2: 32_000}


def frame_lengths(content: bytes) -> list[int]:
    """Return the length of each frame of an MP3 file, by the frames' headers alone."""
    lengths = []
    while content:
        header = int.from_bytes(content[:4], "big")
        assert header >> 21 == 0b111_1111_1111, "no sync word where a frame must begin"
        assert (header >> 19) & 0b11 == 0b11, "not MPEG-1"
        assert (header >> 17) & 0b11 == 0b01, "not Layer III"
        bit_rate = BIT_RATES[(header >> 12) & 0b1111]
        sample_rate = SAMPLE_RATES[(header >> 10) & 0b11]
        padding = (header >> 9) & 1
        assert (header >> 6) & 0b11 == 0b11, "not one channel, so the side information is longer"
        length = 144 * bit_rate * 1000 // sample_rate + padding
        assert len(content) >= length, "the last frame is cut off"
        # 17 bytes of side information: zeros are a frame without main data.
        assert not any(content[4:21])
        lengths.append(length)
        content = content[length:]
    return lengths


@given(frames=st.integers(min_value=1, max_value=600))
def test_an_mp3_has_the_requested_number_of_whole_frames(frames: int) -> None:
    assert len(frame_lengths(audio.make_silence("mp3", frames))) == frames


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
