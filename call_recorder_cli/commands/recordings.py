"""Find recordings: ``call-recorder recordings``."""

from __future__ import annotations

import click

from call_recorder_cli.commands.count_recordings import count_recordings
from call_recorder_cli.commands.fetch_files import download_files, print_urls
from call_recorder_cli.commands.list_recordings import list_recordings
from call_recorder_cli.commands.show_recording import show_recording


@click.group("recordings")
def recordings() -> None:
    """Find recordings, and fetch their files."""


for each in (list_recordings, show_recording, print_urls, download_files, count_recordings):
    recordings.add_command(each)
