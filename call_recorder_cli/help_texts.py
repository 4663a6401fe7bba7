"""Parts of the help of commands."""


def write_examples(*examples: str) -> str:
    """Return the end of a command's help, with one example on each line. ``call-recorder`` is put before each."""
    return "\n".join(("\b", "Examples:", *(f"  call-recorder {each}" for each in examples)))
