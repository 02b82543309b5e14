"""What the commands of the command line do. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..app.facts import input_facts, preflight_facts
from ..errors import BadAudio, BadSetting, Cancelled, SonicError
from ..messages import said
from ..settings import PRESETS, Settings
from ..text import duration_text
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
from .console import Console, ProgressLine, spoken, with_progress
from .interrupt import Interrupts
from .outputs import check_picture, write_png

if TYPE_CHECKING:
    from ..jobs import ExportedFile, Job, Worker
    from ..jobs.inputs import Staging
    from ..pipeline import Preflight
    from ..provenance.consent import Consent
    from ..provenance.records import Record
    from ..provenance.take import Take


def run(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    """Carry out a parsed command; returns the exit code. Errors are raised."""
    name = options.command if options.command != "consent" else f"consent_{options.action}"
    return _COMMANDS[name](options, console, signals)


def _animate(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    settings, consent = _settings(options), _consent(options)
    from ..hosts.standalone import Standalone
    from ..jobs import Worker

    signals.unwind()
    output = Path(options.output).absolute()
    with (
        _animator(options, settings, console) as animate,
        Worker(Standalone(output.parent, lane=jobs_command.LANE), threaded=False, animate=animate) as worker,
        worker.queue.staging() as staged,
        signals.polite(),
    ):
        job = with_progress(
            signals, lambda progress: _run_job(options, settings, consent, worker, staged, progress)
        )
    return _report_job(job, console)


@contextmanager
def _animator(
    options: argparse.Namespace, settings: Settings, console: Console
) -> Iterator[Callable[..., Take] | None]:
    """What makes the take: a cluster that draws its windows, or None for this process alone."""
    if options.ray is None:
        yield None
        return
    from .. import pipeline
    from ..batch.cluster.connection import Connection
    from ..batch.cluster.windows import WindowCluster
    from ..engines.registry import AUTO, spec_of
    from ..processes import cores
    from ..weights import Search

    if settings.engine == AUTO or spec_of(settings.engine).window_worker is None:
        raise BadSetting(
            f"engine={settings.engine} does not draw one video on many computers.",
            "Use --engine sonic, or have many videos made: sonic batch --ray",
        )
    connection = Connection(options.ray, options.ray_workers or cores(), options.ray_private_network)
    with WindowCluster(
        connection,
        settings.engine,
        settings,
        Search.default(),
        options.ray_workers,
        lambda problem: console.note(spoken(problem)),
    ) as pool:
        yield partial(pipeline.animate, window_pool=pool)


def _run_job(
    options: argparse.Namespace,
    settings: Settings,
    consent: Consent,
    worker: Worker,
    staged: Staging,
    progress: ProgressLine,
) -> Job:
    """The job, over; one of the same command that was killed before is gone on with."""
    from ..jobs import Destination, Origin
    from ..jobs.submission import specified
    from ..media.image import read_portrait

    evidence = staged.copy(consent.evidence) if consent.evidence else None
    portrait = read_portrait(options.portrait)
    spec = specified(
        worker.host,
        staged,
        origin=Origin.CLI,
        portrait=staged.write(portrait.path.name, portrait.data),
        audio=staged.copy(Path(options.audio), BadAudio),
        audio_2=staged.copy(Path(options.voice_2), BadAudio) if options.voice_2 else None,
        settings=settings,
        export=Destination(
            replace(consent, evidence=None),
            evidence,
            path=str(Path(options.output).absolute()),
            overwrite=options.overwrite,
        ),
        look=False,
    )
    for earlier in worker.queue.find_by_digest(spec.digest):
        if not earlier.state.ended and (job := worker.adopt(earlier.id, progress)):
            return job
    _check_output(options)
    return worker.run(spec, staged, observer=progress)


def _report_job(job: Job, console: Console) -> int:
    """Say what came of a job; a take that did not pass the gate stays in the private store, and its id is
    said."""
    take = job.result()
    console.warnings(take.warnings)
    if job.exported is None:
        return _report_refusal(take, job.error or Cancelled(), console)
    return _report_export(take, job.exported, console)


def _export(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    from ..jobs import Destination, Queue
    from ..jobs.exporting import export_take
    from ..provenance.store import Store

    consent = _consent(options)
    output = _check_output(options)
    signals.unwind()
    take = Store().load(options.take)
    to = Destination(consent, path=str(output.absolute()), overwrite=options.overwrite)
    try:
        exported = export_take(Queue(), take, to)
    except (SonicError, KeyboardInterrupt) as problem:
        return _report_refusal(take, problem if isinstance(problem, SonicError) else Cancelled(), console)
    return _report_export(take, exported, console)


def _preflight(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    settings = _settings(options)
    from .. import pipeline

    signals.unwind()
    picture = Path(options.picture) if options.picture else None
    if picture is not None:
        check_picture(picture, options.overwrite)
    found = with_progress(
        signals,
        lambda progress: pipeline.preflight(
            options.portrait, options.audio, settings, progress=progress, voice_2=options.voice_2
        ),
    )
    if picture is not None:
        write_png(picture, found.picture, options.overwrite)
    values = found.to_dict() | ({"picture": str(picture)} if picture else {})
    console.result(values, *preflight_lines(found))
    console.warnings(found.warnings)
    return 0


def _verify(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    from ..progress import Ticker
    from ..provenance.verify import verify

    signals.unwind()
    found = with_progress(signals, lambda progress: verify(options.file, tick=Ticker(progress)))
    console.result(found.to_dict() | {"exit_code": found.verdict.exit_code}, *found.lines())
    return found.verdict.exit_code


def _consent_list(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    from ..provenance.ledger import Ledger
    from ..provenance.recovery import recover

    signals.unwind()
    recover()
    ledger = Ledger()
    ledger.check()
    records = ledger.records()
    lines = [_record_line(record) for record in records] or ["No consent has been recorded yet."]
    console.result({"records": [record.to_dict() for record in records]}, *lines)
    return 0


def _consent_show(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    from ..provenance.ledger import Ledger
    from ..provenance.recovery import recover

    signals.unwind()
    recover()
    record = Ledger().show(options.id)
    console.result(record.to_dict(), *record_lines(record))
    return 0


def _consent_revoke(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    from ..provenance.revocation import revoke

    signals.unwind()
    done = revoke(options.id, options.reason)
    values = {
        "time": done.time.isoformat(),
        "hashes": list(done.hashes),
        "records": list(done.records),
        "takes": list(done.takes),
    }
    text = (
        f"Revoked. No further export of this portrait; records: {', '.join(done.records) or 'none'}; "
        f"deleted from the private folder: {', '.join(done.takes) or 'nothing'}."
    )
    console.result(values, text)
    return 0


def _serve(options: argparse.Namespace, console: Console, signals: Interrupts) -> int:
    from ..app.credentials import credentials
    from ..app.server import serve
    from ..hosts.standalone import Standalone

    signals.unwind()
    host = Standalone(Path(options.output_dir), slots=options.jobs)
    place = "The API is at {}sonic/v1" if options.api_only else "The page is at {}"
    serve(
        host,
        options.host,
        options.port,
        opened=lambda url: console.result({"url": url}, f"{place.format(url)} - stop it with Ctrl-C."),
        browser=options.open,
        page=not options.api_only,
        credentials=credentials(options.auth),
        names=options.allowed_host,
    )
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace, Console, Interrupts], int]] = {
    "animate": _animate,
    "batch": lambda options, *rest: batch_command.run(options, _settings(options), *rest),
    "jobs": jobs_command.run,
    "export": _export,
    "preflight": _preflight,
    "verify": _verify,
    "eval": eval_command.run,
    "doctor": doctor_command.run,
    "bench": lambda options, *rest: bench_command.run(options, _settings(options), *rest),
    "sync": sync_command.run,
    "train": train_command.run,
    "consent_list": _consent_list,
    "consent_show": _consent_show,
    "consent_revoke": _consent_revoke,
    "weights": weights_command.run,
    "serve": _serve,
}


def _settings(options: argparse.Namespace) -> Settings:
    """Preset, then --engine, then every --set in its order."""
    named: dict[str, Any] = dict(PRESETS[options.preset])
    if options.engine:
        named["engine"] = options.engine
    for change in options.changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise BadSetting(f"--set {change!r} has no value.", "Write it as --set name=value.")
        named[name.strip()] = value
    return Settings.from_mapping(named)


def _consent(options: argparse.Namespace) -> Consent:
    """The consent as stated, checked as far as it can be before there is a video."""
    from ..provenance.consent import Consent

    prefix = "consent_"
    named = {key[len(prefix) :]: value for key, value in vars(options).items() if key.startswith(prefix)}
    consent = Consent.from_mapping(named)
    consent.check()
    return consent


def _check_output(options: argparse.Namespace) -> Path:
    """The place of the video, refused now if it could not be written to after minutes of work."""
    from ..provenance.gate import check_output
    from ..provenance.recovery import recover

    recover()  # an interrupted export to the same place is not in the way of its repetition
    return check_output(options.output, options.overwrite)


def _report_refusal(take: Take, error: SonicError, console: Console) -> int:
    from ..configuration import Configuration

    code = console.error(error, {"take": take.id})
    kept = Configuration.from_environment().retention_text
    console.note(said(f"The finished video is kept for {kept}: sonic export {take.id} -o OUT.mp4 …"))
    return code


def _report_export(take: Take, exported: ExportedFile, console: Console) -> int:
    console.warnings(exported.warnings)
    console.result(_exported_values(take, exported), *exported_lines(take, exported))
    return 0


def _exported_values(take: Take, exported: ExportedFile) -> dict[str, Any]:
    names = ("engine", "seed", "width", "height", "fps", "frames", "seconds", "framing", "sync_offset")
    return {
        "path": str(exported.path),
        "record": exported.record,
        "take": take.id,
        **{name: getattr(take, name) for name in names},
        "sha256": exported.sha256,
        "warnings": [*take.warnings, *exported.warnings],
    }


def exported_lines(take: Take, exported: ExportedFile) -> tuple[str, ...]:
    """Where the video is and what it is."""
    return (
        str(exported.path),
        f"{take.width}×{take.height}, {duration_text(take.seconds)}, {take.fps} frames/s, "
        f"{take.engine} engine, seed {take.seed}",
        said(f"Consent record {exported.record}. Check it with: sonic verify"),
    )


def preflight_lines(found: Preflight) -> tuple[str, ...]:
    """What the video will be, a line for each fact."""
    pairs = (*preflight_facts(found), *input_facts(found))
    return tuple(f"{label + ':':<17}{text}" for label, text in pairs)


def _record_line(record: Record) -> str:
    until = f"until {record.expires}" if record.expires else "no end"
    second = f"second face {record.face_2}, second voice {record.voice_2}, " if record.face_2 else ""
    return (
        f"{record.id}  {record.time:%Y-%m-%d %H:%M}  {record.state:<12}  "
        f"face {record.face}, voice {record.voice}, {second}{until}  {record.output_name}"
    ).rstrip()


def record_lines(record: Record) -> list[str]:
    """A line for each field that holds something."""
    shown = {name: value for name, value in record.to_dict().items() if "perceptual_hash" not in name}
    return [f"{name}: {value}" for name, value in shown.items() if value not in ("", None, [])]
