"""Plays one call against a callback URL: ``python -m local.simulator --help``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace

from pydantic import SecretStr

from local.simulator.calls import Application, IncomingCall, list_variants, parse_destination
from local.simulator.menu import FIRST_MENUS
from local.simulator.platform import PlayedCall, Simulator
from local.storage import StorageEndpoints

SECRET_VARIABLE = "SINCH_APPLICATION_SECRET"  # noqa: S105 - the name of the variable, not a secret
_DEFAULT_DESTINATION = "username:alice"


def main(arguments: list[str] | None = None) -> int:
    """Play the call that the arguments describe; return 0 if every step held."""
    options = _parser().parse_args(arguments)
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret:
        print(f"Put the application's secret into the environment variable {SECRET_VARIABLE}.", file=sys.stderr)
        return 2
    simulator = Simulator(
        options.url,
        Application(options.application_key, SecretStr(secret)),
        public_path=options.public_path,
        endpoints=StorageEndpoints(s3=options.s3, gs=options.gs, azure=options.azure),
        lenient=options.lenient,
        first_menu=options.first_menu,
    )
    try:
        played = simulator.play(_make_call(options))
    except ValueError:
        print(f"{SECRET_VARIABLE} is not Base64: copy it as the dashboard shows it.", file=sys.stderr)
        return 2
    report(played)
    return 0 if played.held else 1


def report(played: PlayedCall) -> None:
    """Print a played call: its steps, and each SVAML answer with its credentials masked."""
    for step in played.steps:
        print(f"  {'ok    ' if step.held else 'FAILED'} {step}")
    for answer in played.answers:
        print(f"SVAML that answered {answer.event.upper()}:")
        print(json.dumps(answer.svaml, indent=2))


def _make_call(options: argparse.Namespace) -> IncomingCall:
    forms = list_variants(options.to)
    call = replace(
        forms[options.variant],
        keys=tuple(options.key),
        answered=not options.no_answer,
        call_headers=dict(options.header),
    )
    if options.call_id:
        call = replace(call, call_id=options.call_id)
    return replace(call, cli=options.cli) if options.cli else call


def _parse_header(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise ValueError("write KEY=VALUE")
    return key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.simulator",
        description=f"Plays one call as Sinch does. Reads the application's secret from {SECRET_VARIABLE}.",
    )
    parser.add_argument("--url", required=True, help="the callback URL")
    parser.add_argument("--application-key", required=True)
    parser.add_argument("--public-path", help="the path to sign, if it is not the path of the URL")
    parser.add_argument(
        "--to",
        type=parse_destination,
        default=_DEFAULT_DESTINATION,
        metavar="TYPE:ENDPOINT",
        help="username:alice, number:+12025550100, sip:alice@example.com, conference:team, did:+12025550100",
    )
    parser.add_argument(
        "--variant",
        choices=sorted(list_variants(parse_destination(_DEFAULT_DESTINATION))),
        default="as documented",
        help="how the platform spells its callbacks",
    )
    parser.add_argument("--call-id")
    parser.add_argument("--cli", help="the caller's number")
    parser.add_argument("--header", type=_parse_header, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--key", action="append", default=[], help="the caller's input to a menu; once for each menu")
    parser.add_argument(
        "--first-menu",
        choices=FIRST_MENUS,
        default="mainMenu",
        help="the menu that Sinch plays first: the one with the id main, or the one that mainMenu names",
    )
    parser.add_argument("--no-answer", action="store_true", help="the callee does not answer")
    parser.add_argument("--lenient", action="store_true", help="accept fields in answers that Sinch does not document")
    parser.add_argument("--s3", metavar="URL", help="endpoint to use instead of Amazon S3")
    parser.add_argument("--gs", metavar="URL", help="endpoint to use instead of Google Cloud Storage")
    parser.add_argument("--azure", metavar="URL", help="endpoint to use instead of Azure Blob Storage")
    return parser


if __name__ == "__main__":
    sys.exit(main())
