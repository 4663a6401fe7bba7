"""Silence, in the formats that Sinch records in, and as long as it should be."""

from __future__ import annotations

import io
import wave
import zlib
from typing import Final

SAMPLE_RATE: Final = 32_000
SAMPLES_PER_FRAME: Final = 1152
FRAME_BYTES: Final = 144
"""MPEG-1 Layer III takes 144 * bit rate / sample rate bytes a frame, and here both rates are 32,000."""

# Sync word, MPEG-1, Layer III, no CRC; 32 kbit/s, 32 kHz, no padding; one channel, no copyright, no emphasis.
_HEADER: Final = bytes((0xFF, 0xFB, 0x18, 0xC0))
# Side information and main data of zeros say that no spectral line was coded: silence.
_FRAME: Final = _HEADER.ljust(FRAME_BYTES, b"\0")

_SHORTEST_FRAMES: Final = 28
_MAX_FURTHER_FRAMES: Final = 500


def frames_for(call_id: str) -> int:
    """Return how many frames the recording of a call has: 1 to 19 s, and always the same for one call."""
    return _SHORTEST_FRAMES + zlib.crc32(call_id.encode()) % _MAX_FURTHER_FRAMES


def seconds(frames: int) -> int:
    """Return how long that many frames play, to the nearest second."""
    return round(frames * SAMPLES_PER_FRAME / SAMPLE_RATE)


def silence(audio_format: str, frames: int) -> bytes:
    """Return a file of silence.

    Args:
        audio_format: ``mp3`` or ``wav``.
        frames: its length in MP3 frames of 36 ms.
    """
    return _wav(frames) if audio_format == "wav" else _FRAME * frames


def _wav(frames: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(1)
        audio.setframerate(8000)
        # 8-bit samples are unsigned, with silence in the middle.
        audio.writeframes(b"\x80" * (frames * SAMPLES_PER_FRAME * 8000 // SAMPLE_RATE))
    return file.getvalue()


def content_type(audio_format: str) -> str:
    """Return the media type of a format."""
    return "audio/wav" if audio_format == "wav" else "audio/mpeg"
