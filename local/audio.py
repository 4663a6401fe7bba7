"""Makes silent recordings in the formats that Sinch records in."""

from __future__ import annotations

import io
import wave
import zlib
from typing import Final

SAMPLE_RATE: Final = 32_000
SAMPLES_PER_FRAME: Final = 1152
FRAME_BYTES: Final = 144
"""A frame of MPEG-1 Layer III has 144 * bit rate / sample rate bytes. Here both rates are 32,000."""

# Sync word, MPEG-1, Layer III, no CRC; 32 kbit/s, 32 kHz, no padding; one channel, no copyright, no emphasis.
_HEADER: Final = bytes((0xFF, 0xFB, 0x18, 0xC0))
# Side information and main data are zeros: no spectral line is coded, so the frame is silent.
_FRAME: Final = _HEADER.ljust(FRAME_BYTES, b"\0")

_MIN_FRAMES: Final = 28
_DIFFERENT_LENGTHS: Final = 500


def count_frames(call_id: str) -> int:
    """Return the number of frames in a call's recording: 1 to 19 s, and always the same for the same call."""
    return _MIN_FRAMES + zlib.crc32(call_id.encode()) % _DIFFERENT_LENGTHS


def count_seconds(frames: int) -> int:
    """Return how many seconds a number of frames plays, rounded to the nearest second."""
    return round(frames * SAMPLES_PER_FRAME / SAMPLE_RATE)


def make_silence(audio_format: str, frames: int) -> bytes:
    """Return the content of a silent file.

    Args:
        audio_format: ``mp3`` or ``wav``.
        frames: the length in MP3 frames of 36 ms.
    """
    return _make_wav(frames) if audio_format == "wav" else _FRAME * frames


def _make_wav(frames: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(1)
        audio.setframerate(8000)
        # 8-bit samples are unsigned, so silence is the middle value.
        audio.writeframes(b"\x80" * (frames * SAMPLES_PER_FRAME * 8000 // SAMPLE_RATE))
    return file.getvalue()


def find_content_type(audio_format: str) -> str:
    """Return the media type of a format."""
    return "audio/wav" if audio_format == "wav" else "audio/mpeg"
