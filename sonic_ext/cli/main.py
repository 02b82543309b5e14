"""The command line: `sonic animate | batch | jobs | export | preflight | verify | sync | consent | …`."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__, messages
from ..app import form
from ..errors import BadInput, Cancelled, MissingPart, SonicError, device_lost
from ..settings import PRESETS, describe
from . import (
    batch_command,
    bench_command,
    doctor_command,
    eval_command,
    jobs_command,
    sync_command,
    train_command,
    weights_command,
)
from .arguments import add_ray, number_from
from .console import Console, language, tolerate_any_text
from .interrupt import interrupts

CODES = """\
Exit codes, the same for every command:

    0    done; for verify: intact
    1    an error that nobody foresaw; SONIC_DEBUG=1 shows its traceback
    2    bad input or usage
    3    refused by the gate, ledger altered; for verify: altered, or its marks contradict each other
    4    something is missing; the message says the command that brings it
    5    verify only: no change shows, but the signature is gone, was never there, or there are no marks
    6    verify only: unchanged, but signed by somebody nobody here vouches for
    7    verify only: unchanged, but the signer's certificate is not valid at this time, or a clock is wrong
    8    batch, eval: some videos were not made or measured; doctor: something needs your decision; what is
         wrong is said, the rest is done
    9    sync only: mouth and voice are more than 20 ms apart
    10   sync only: the lip sync cannot be measured, or not surely enough
    130  interrupted
"""

EXAMPLE = """\
A portrait and a voice become a marked, signed, consented video.

example:

    sonic animate portrait.jpg speech.wav -o hello.mp4 --consent-face self --consent-voice self

`sonic COMMAND --help` tells more of a command."""


class BadUsage(BadInput):
    """The command line itself cannot be understood."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        names = (word.lstrip("-").partition("=")[0].replace("-", "_") for word in message.split())
        raise self._bad_usage(
            message, *(f"Settings are given as --set {name}=VALUE. " for name in names if name in describe())
        )

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            near = difflib.get_close_matches(str(value), map(str, action.choices or ()), n=1)
            raise self._bad_usage(str(error), *(f"Did you mean {name}? " for name in near)) from error

    def _bad_usage(self, message: str, *advice: str) -> BadUsage:
        return BadUsage(
            f"{message[:1].upper()}{message[1:]}.", f"{next(iter(advice), '')}See: {self.prog} --help"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, or print the help where none is named; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    console = Console("--json" in words)
    tolerate_any_text()
    with messages.speaking(language()), interrupts(console.json_wanted) as signals:
        try:
            options = parser().parse_args(words)
            _require_folder()
            from . import commands

            return commands.run(options, console, signals)
        except SonicError as error:
            return console.error(error)
        except KeyboardInterrupt:
            return console.error(Cancelled())
        except SystemExit as leaving:  # --help and --version
            return int(leaving.code or 0)
        except ImportError as error:
            return console.error(_not_installed(error, console))
        except Exception as error:
            return console.error(_unforeseen(error, console))


def _not_installed(error: ImportError, console: Console) -> MissingPart:
    _show_traceback(console)
    return MissingPart(
        f"{error.name or 'A part'} is not installed or does not load ({error}).",
        "Bring it with: python -m pip install --upgrade sonic-ext",
    )


def _require_folder() -> None:
    """Refuse to begin where relative paths have no beginning; libraries ask for it even with whole ones.

    Raises:
        BadInput: the working folder was deleted.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise BadInput(
            "The working folder is gone: it was moved or deleted.", "Go to one that is there, then try again."
        ) from None


def _unforeseen(error: Exception, console: Console) -> SonicError:
    _show_traceback(console)
    return device_lost(error) or SonicError(
        f"Something went wrong inside ({type(error).__name__}: {error}).",
        "Run it again with SONIC_DEBUG=1 in the environment and report what it prints.",
    )


def _show_traceback(console: Console) -> None:
    if os.environ.get("SONIC_DEBUG"):
        console.note(*traceback.format_exc().splitlines())


def parser() -> argparse.ArgumentParser:
    """The whole grammar of the command line."""
    top = _Parser(
        prog="sonic",
        description=EXAMPLE,
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"sonic {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _animate(commands)
    batch_command.grammar(commands, _command, (_add_consent, _add_settings), _settings_help())
    jobs_command.grammar(commands, _command)
    _export(commands)
    _preflight(commands)
    _verify(commands)
    eval_command.grammar(commands, _command)
    bench_command.grammar(commands, _command, _add_settings)
    sync_command.grammar(commands, _command)
    train_command.grammar(commands, _command)
    _consent(commands)
    weights_command.grammar(commands, _command)
    doctor_command.grammar(commands, _command)
    _serve(commands)
    return top


def _command(commands: Any, name: str, help: str, epilog: str = "") -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=help,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout, also for errors")
    return made


def _animate(commands: Any) -> None:
    made = _command(commands, "animate", "Make a video and export it.", _settings_help())
    _add_sources(made)
    _add_output(made)
    _add_consent(made)
    add_ray(made)
    made.add_argument(
        "--ray-workers",
        type=number_from(1, 1024),
        metavar="N",
        help="of the cluster that draw the video together; default: one for each card, else for each core",
    )
    _add_settings(made)


def _export(commands: Any) -> None:
    made = _command(
        commands,
        "export",
        "Export a video that is finished but was not let out: refused or interrupted at the gate.",
    )
    made.add_argument("take", metavar="TAKE", help="id that `sonic animate` named, 16 digits")
    _add_output(made)
    _add_consent(made)


def _preflight(commands: Any) -> None:
    made = _command(commands, "preflight", "Show what a video will be before it is made.", _settings_help())
    _add_sources(made)
    made.add_argument("--picture", metavar="OUT.png", help="write the portrait with the face box drawn on it")
    made.add_argument("--overwrite", action="store_true", help="replace a picture that exists")
    _add_settings(made)


def _verify(commands: Any) -> None:
    made = _command(
        commands,
        "verify",
        "Say where a video comes from and whether it was altered.",
        "FILE is a video, or a picture of one: a screenshot, a GIF. In a picture the watermark and a\n"
        "signature are looked for; crop a screenshot to the video.\n\n"
        "exit codes: 0 intact; 3 altered or contradictory; 5 no change shows, but the signature is gone\n"
        "or there are no marks; 6 signed by somebody nobody here vouches for; 7 the certificate is not\n"
        "valid at this time; 2 neither video nor picture. --json says more under `verdict` and `hint`.",
    )
    made.add_argument("file", metavar="FILE", help="a video, or a PNG, JPEG, WebP, GIF or BMP picture")


def _consent(commands: Any) -> None:
    made = _command(commands, "consent", "Look into the consent ledger, or take a consent back.")
    actions = made.add_subparsers(dest="action", metavar="ACTION", required=True)
    _command(actions, "list", "List all records; says so if the ledger was altered.")
    show = _command(actions, "show", "Show one record.")
    show.add_argument("id", metavar="ID", help="id of a record or of a take; its beginning is enough")
    revoke = _command(actions, "revoke", "Stop further exports of the portrait of a record, for good.")
    revoke.add_argument("id", metavar="ID", help="id of a record, or SHA-256 of a portrait")
    revoke.add_argument("--reason", default="", metavar="TEXT", help="kept in the ledger")


def _serve(commands: Any) -> None:
    made = _command(commands, "serve", "Serve the page and the API on this computer.")
    made.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="default: %(default)s, for this computer alone"
    )
    made.add_argument(
        "--port", type=number_from(0, 65535), metavar="NUMBER", help="default: the first free one from 7870"
    )
    made.add_argument("--open", action="store_true", help="open the browser")
    made.add_argument(
        "--output-dir", default="outputs", metavar="FOLDER", help="exported videos; default: ./%(default)s"
    )
    made.add_argument(
        "--auth",
        metavar="USER:PASSWORD",
        help="asked for by page and API; also @FILE, or $SONIC_AUTH; needed where --host lets others in",
    )
    made.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="what this server is also called, such as by a proxy; may be repeated",
    )
    made.add_argument(
        "--jobs",
        type=number_from(1, 64),
        default=1,
        metavar="NUMBER",
        help="videos made at the same time on the processor, default: %(default)s; a graphics card makes one",
    )
    made.add_argument("--api-only", action="store_true", help="the API without the page")


def _add_sources(command: argparse.ArgumentParser) -> None:
    command.add_argument("portrait", metavar="PORTRAIT", help="a picture with a face")
    command.add_argument("audio", metavar="AUDIO", help="speech, or a video with speech")
    told = "what the second of two persons in the picture says; by default the right one"
    command.add_argument("--voice-2", metavar="AUDIO", help=told)


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", required=True, metavar="OUT.mp4", help="where the video goes")
    command.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def _add_consent(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("consent", "BASIS is self, authorised, synthetic or estate.")
    group.add_argument("--consent-face", default="", metavar="BASIS", help="why this face may be shown")
    group.add_argument("--consent-voice", default="", metavar="BASIS", help="why this voice may be used")
    group.add_argument("--consent-face-2", default="", metavar="BASIS", help="the same of a second person")
    group.add_argument("--consent-voice-2", default="", metavar="BASIS", help="the same of a second person")
    group.add_argument("--consent-purpose", default="", metavar="TEXT", help="what the video is for")
    group.add_argument("--consent-expires", default="", metavar="YYYY-MM-DD", help="last day of the consent")
    group.add_argument("--consent-contact", default="", metavar="TEXT", help="where it can be taken back")
    group.add_argument("--consent-operator", default="", metavar="TEXT", help="who exports")
    group.add_argument("--consent-subject", default="", metavar="TEXT", help="names; stay on this computer")
    group.add_argument("--consent-evidence", default="", metavar="FILE", help="only its hash is kept")
    told = "why the portrait is not the revoked one that it looks like; asked for only then"
    group.add_argument("--consent-unlike-reason", default="", metavar="TEXT", help=told)


def _add_settings(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("settings")
    group.add_argument("--engine", choices=describe()["engine"].choices, help="default: auto")
    group.add_argument("--preset", choices=tuple(PRESETS), default="standard", help="default: %(default)s")
    group.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="changes", help="may be repeated"
    )


def _settings_help() -> str:
    """Every setting with its default and range, for `--set`."""
    lines = ["settings for --set:"]
    for control in form.controls():
        legal = form.range_text(describe()[control.name])
        default = control.value if control.value != "" else "none"
        lines.append(f"  {control.name} = {default}" + (f"  ({legal})" if legal else ""))
        lines.append(f"      {control.help}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
