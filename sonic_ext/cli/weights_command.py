"""`sonic weights list | check | fetch | convert`: grammar, deeds and words."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadSetting, MissingPart
from ..text import bytes_text
from .arguments import AddCommand
from .console import Console, ProgressLine
from .interrupt import Interrupts

if TYPE_CHECKING:
    from ..progress import Tick
    from ..weights import CheckReport, Finding, Part, Search, Survey


def grammar(commands: Any, add: AddCommand) -> None:
    """Add the command and its actions; `add` makes one."""
    made = add(commands, "weights", "Find, check, fetch or convert the weights of the sonic engine.")
    actions = made.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_parts(add(actions, "list", "Say what is there, where, and what brings the rest."))
    _check_grammar(_add_parts(add(actions, "check", "Compare what is there with the published weights.")))
    _fetch_grammar(_add_parts(add(actions, "fetch", "Bring weights from the Hugging Face Hub.")))
    _convert_grammar(_add_parts(add(actions, "convert", "Turn pickles into safetensors, once.")))


def _add_parts(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument(
        "parts", metavar="PART", nargs="*", help="default: whatever the command makes sense for"
    )
    command.add_argument("--models", metavar="FOLDER", help="look here too; default: $SONIC_MODELS")
    return command


def _check_grammar(command: argparse.ArgumentParser) -> None:
    command.add_argument("--file", metavar="FILE", help="compare this file with the one PART that is named")
    command.add_argument("--hash", action="store_true", help="read the files whole and compare their SHA-256")


def _fetch_grammar(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--accept-licences", action="store_true", help="I have read the licences and accept them"
    )
    command.add_argument("--revision", default="main", help="branch, tag or commit; default: %(default)s")
    command.add_argument("--endpoint", metavar="URL", help="another server with the Hub's interface")


def _convert_grammar(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--from", dest="source", metavar="FILE", help="the pickle of the one PART that is named"
    )
    command.add_argument("--again", action="store_true", help="replace what was converted before")
    command.add_argument(
        "--any-size",
        action="store_true",
        help="also what has other keys or shapes than the published weights",
    )


def run(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    """Carry out a parsed `weights` command; returns the exit code. Errors are raised."""
    from .. import weights

    signals.unwind()
    parts = weights.parts_named(options.parts)
    search = weights.Search.default(options.models)
    return _ACTIONS[options.action](options, parts, search, console, signals)


def _list(
    options: argparse.Namespace, parts: Any, search: Search, console: Console, signals: Interrupts
) -> int:
    from ..weights import PARTS, survey

    found = survey(search, parts or PARTS)
    console.result(found.to_dict(), *list_lines(found))
    return 0


def _check(
    options: argparse.Namespace, parts: Any, search: Search, console: Console, signals: Interrupts
) -> int:
    from ..weights import PARTS, PartState, check, survey

    if options.file:
        found, files = None, [(_one(parts, "--file"), Path(options.file))]
    else:
        found = survey(search, parts or PARTS)
        there = (each for each in found.findings if each.state not in (PartState.PARTIAL, PartState.MISSING))
        files = [(each.part, each.path) for each in there if each.path is not None]
    with _progress(signals) as tick:
        reports = [check(part, path, hashes=options.hash, tick=tick) for part, path in files]
    lacking = _missing(found, bool(parts)) if found else ()
    good = not lacking and all(report.problem is None for report in reports)
    code = 0 if good else MissingPart.exit_code
    values = {
        "ok": good,
        "exit_code": code,
        "files": [report.to_dict() for report in reports],
        "lacking": [finding.to_dict() for finding in lacking],
    }
    console.result(values, *check_lines(reports, lacking))
    return code


def _missing(found: Survey, asked: bool) -> tuple[Finding, ...]:
    """Required parts that are not usable; of parts that were asked for by name, also optional ones."""
    from ..weights import PartState

    absent = (PartState.PARTIAL, PartState.MISSING)
    lacking = found.missing()
    return tuple(each for each in found.findings if each in lacking or (asked and each.state in absent))


def _fetch(
    options: argparse.Namespace, parts: Any, search: Search, console: Console, signals: Interrupts
) -> int:
    from ..weights import REQUIRED, fetch, licence_text, survey

    wanted = parts or tuple(finding.part for finding in survey(search, REQUIRED).missing())
    if wanted:
        console.note(*licence_text(wanted).splitlines())
    with _progress(signals) as tick:
        fetched = wanted and fetch(
            wanted,
            search.target,
            accept=options.accept_licences,
            revision=options.revision,
            endpoint=options.endpoint,
            tick=tick,
        )
    paths = {name: str(path) for name, path in (fetched or {}).items()}
    nothing = ["Everything that the sonic engine needs is there already."]
    console.result({"fetched": paths}, *(paths.values() or nothing))
    _hint_at_conversion(search, wanted, console)
    return 0


def _hint_at_conversion(search: Search, parts: Iterable[Part], console: Console) -> None:
    from ..weights import PartState, survey

    if any(finding.state is PartState.CONVERT for finding in survey(search, parts).findings):
        console.note("Pickles are converted on first use, or now with: sonic weights convert")


def _convert(
    options: argparse.Namespace, parts: Any, search: Search, console: Console, signals: Interrupts
) -> int:
    from ..weights import convert, target_of

    todo = _to_convert(options, parts, search)
    done = {}
    with _progress(signals) as tick:
        for part, source in todo:
            target = target_of(part, search.target)
            strict = not options.any_size
            made = convert(part, source, target, again=options.again, strict=strict, tick=tick)
            done[part.name] = str(made)
    console.result({"converted": done}, *(done.values() or ["There is nothing to convert."]))
    return 0


def _to_convert(options: argparse.Namespace, parts: Any, search: Search) -> list[tuple[Part, Path]]:
    """What was named, or every part of which there is a pickle only; with --again any pickle."""
    from ..weights import PARTS, PartState, survey

    if options.source:
        return [(_one(parts, "--from"), Path(options.source))]
    found = survey(search, parts or PARTS)
    todo = []
    for finding in found.findings:
        pickle = finding.path if finding.state is PartState.CONVERT else None
        if pickle is None and options.again:
            pickle = next((each.path for each in finding.others if each.state is PartState.CONVERT), None)
        if pickle is not None:
            todo.append((finding.part, pickle))
    if parts and not todo and not options.again:
        found.require()
    return todo


def _one(parts: tuple[Part, ...], option: str) -> Part:
    if len(parts) != 1:
        raise BadSetting(
            f"{option} needs the name of one part.", "For example: sonic weights check vae --file FILE"
        )
    return parts[0]


_ACTIONS = {"list": _list, "check": _check, "fetch": _fetch, "convert": _convert}


@contextmanager
def _progress(signals: Interrupts) -> Iterator[Tick]:
    """Inside, a signal stops the work politely; gives the `Tick` that draws a line on stderr."""
    from ..progress import Ticker

    line = ProgressLine(lambda: signals.asked)
    with signals.polite():
        try:
            yield Ticker(line)
        finally:
            line.close()


def list_lines(found: Survey) -> list[str]:
    """A paragraph for each part."""
    from ..weights import fetch_command, free_bytes, obstacles

    lines = [line for finding in found.findings for line in _finding_lines(finding)]
    if found.ready:
        return [*lines, "The sonic engine has all that it needs."]
    command = fetch_command(each.part for each in found.missing())
    free = free_bytes(found.search.target)
    room = "" if free is None else f"; {bytes_text(free)} are free in {found.search.target}"
    return [
        *lines,
        f"The sonic engine cannot run yet. All that it lacks: {command}",
        f"To fetch: about {bytes_text(found.to_fetch)}{room}.",
        *(str(each.error) for each in obstacles() if each.task == "fetch"),
    ]


def _finding_lines(finding: Finding) -> list[str]:
    part = finding.part
    size = f", {bytes_text(finding.path.stat().st_size)}" if finding.path and finding.path.is_file() else ""
    lines = [f"{part.name:<14} {finding.state.value}{'' if part.required else ' (optional)'}{size}"]
    lines += [f"    {finding.path}  [{finding.place}]"] if finding.path and finding.place else []
    lines += [f"    {finding.detail}"] if finding.detail else []
    if finding.command:
        about = f", about {bytes_text(part.about)}" if part.about else ""
        lines += [f"    {part.title}{about}: {part.need}; {part.licence.name}", f"    {finding.command}"]
    return lines


def check_lines(reports: Iterable[CheckReport], lacking: Iterable[Finding]) -> list[str]:
    """A line or two for each file, then what is not there."""
    lines = []
    for report in reports:
        good = f"{report.tensors} tensors, {'/'.join(report.dtypes)}" if report.tensors else "as expected"
        lines.append(f"{report.part.name:<14} {report.problem or good}")
        lines += [f"    {note}" for note in report.notes]
    lines += [f"{each.part.name:<14} {each.state.value}: {each.command}" for each in lacking]
    return lines or ["Nothing to check."]
