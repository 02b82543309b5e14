"""The HTTP API under /sonic/v1: the same routes and answers in every host, beside the host's own.

    mount(app, worker)

Heavy work runs in the worker's threads or, a few requests at a time, in the web framework's pool, never on
the event loop. Files come as base64 and lie in private folders while they are needed; no path is ever read
from a request.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image

from .. import __version__
from ..errors import BadInput, NotFound, SonicError, WrongTime
from ..files.home import private_home
from ..jobs import Batch, Job, Origin, Queue, Worker
from ..jobs.exporting import export, export_lock
from ..jobs.inputs import staging
from ..jobs.submission import search_of
from ..media.image import pixel_digest
from ..media.video import read_frames
from ..messages import ENGLISH, languages, of_header, said, speaking
from ..provenance.ledger import Ledger
from ..provenance.revocation import revoke
from ..settings import PRESETS, headings
from . import answers, requests, schemas, uploads
from .admission import Admission
from .asgi import PREFIX
from .benching import Benching
from .events import HEADERS, job_events
from .fetching import Fetching
from .page_words import texts_file
from .portraits import PortraitMaking
from .ranged import ranged
from .routing import MAX_BODY, Answer, Password, nothing_here, route_class
from .turns import Turns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..ports import Host
    from ..provenance.take import Take

FROM = "X-Sonic-From"
"""Header of a request: `page` where our page asks. It says who is named as having asked, no more."""

POSTER_QUALITY = 85
"""Of JPEG."""
MAX_WAITING = 5000
"""Videos that may wait at the same time, those of batches included."""
LOOKS_WAITING, CHECKS_WAITING = 20, 6
"""Requests that may wait until a picture is looked at, and until a video is checked."""
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_VIDEO: dict[str, Any] = {"content": {"video/mp4": _BINARY}}
_REFUSALS = {
    401: "User or password are wrong or missing, or the page's token is old.",
    403: "The gate says no: no consent, or one that does not hold.",
    404: "There is no such thing, or not any more.",
    409: "Too early, or done already.",
    413: "Too large.",
    415: "Not declared as JSON.",
    416: "The file ends before the range.",
    422: "Something in the request cannot be used.",
    503: "A part is missing, or too much is waiting.",
}


def mount(app: FastAPI, worker: Worker, admission: Admission, *, limit: int = MAX_BODY) -> None:
    """Add the API to an application; before whatever takes every path there.

    Args:
        app: FastAPI's.
        worker: carries the jobs out, those of the page and the script, too.
        admission: asked on every route.
        limit: bytes of a request's body.
    """
    app.include_router(router(worker, admission, limit))


def router(worker: Worker, admission: Admission, limit: int = MAX_BODY) -> APIRouter:
    """All routes of the API."""
    host = worker.host
    made = APIRouter(
        prefix=PREFIX,
        tags=["Sonic"],
        route_class=route_class(admission, limit),
        default_response_class=Answer,
        dependencies=[Depends(Password())],
    )
    looks = Turns(LOOKS_WAITING)
    animations = Animations(worker, looks)
    _add_animations(made, animations)
    _add_files(made, animations)
    _add_events(made, animations)
    _add_consents(made, Consents())
    _add_batches(made, Batches(worker, animations))
    _add_questions(made, Questions(host, made, looks))
    _add_fetching(made, Fetching(host))
    _add_portraits(made, PortraitMaking(host))
    _add_bench(made, Benching(host))
    every = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    made.add_api_route("/{path:path}", nothing_here, methods=every, include_in_schema=False)
    return made


def _add_animations(api: APIRouter, animations: Animations) -> None:
    one = schemas.SonicAnimation
    ended = one | schemas.SonicForgotten
    stop = "Stop a video; forget one that ended and delete what was not exported"
    _add_collection(
        api,
        "animations",
        "Of the video.",
        ("GET", "", animations.every, schemas.SonicAnimations, "List videos, newest first"),
        ("GET", "/{id}", animations.one, one, "How a video stands"),
        ("DELETE", "/{id}", animations.end, ended, stop),
        ("POST", "", animations.begin, one, "Begin a video"),
    )
    api.add_api_route(
        "/animations/{id}/resume",
        animations.resume,
        methods=["POST"],
        summary="Go on with a video that a restart interrupted",
        response_model=one,
        responses=_refusals(404, 413, 415, 422),
    )


def _add_batches(api: APIRouter, batches: Batches) -> None:
    one = schemas.SonicBatch
    ended = one | schemas.SonicForgotten
    stop = "Stop what is left of a batch; forget one that is over"
    _add_collection(
        api,
        "batches",
        "Of the batch.",
        ("GET", "", batches.every, schemas.SonicBatches, "List batches, newest first"),
        ("GET", "/{id}", batches.one, one, "How a batch stands"),
        ("DELETE", "/{id}", batches.end, ended, stop),
        ("POST", "", batches.begin, one, "Begin many videos"),
    )


def _add_collection(
    api: APIRouter, name: str, location: str, *routes: tuple[str, str, Callable[..., Any], Any, str]
) -> None:
    """What is listed, looked at, ended and begun.

    Args:
        location: what the header of that name tells, once something is begun.
        routes: method, path below the collection, answer, its model, summary.
    """
    header = {"Location": {"schema": {"type": "string"}, "description": location}}
    for method, path, answer, model, summary in routes:
        begins = method == "POST"
        refusals = (403, 413, 415, 422, 503) if begins else (404,) if path else ()
        api.add_api_route(
            f"/{name}{path}",
            answer,
            methods=[method],
            response_model=model,
            summary=summary,
            responses=_refusals(*refusals) | ({202: {"headers": header}} if begins else {}),
            status_code=202 if begins else 200,
        )


def _add_files(api: APIRouter, animations: Animations) -> None:
    for name, answer, summary in (
        ("preview", animations.preview, "The stamped preview"),
        ("video", animations.video, "The exported video"),
    ):
        api.add_api_route(
            f"/animations/{{id}}/{name}",
            answer,
            methods=["GET"],
            summary=summary,
            response_class=Response,
            responses={**_refusals(404, 409, 416), 200: _VIDEO, 206: _VIDEO | {"description": "A part."}},
        )
    pictures: tuple[tuple[str, Callable[..., Response], str, str], ...] = (
        ("poster", animations.poster, "image/jpeg", "A picture of the stamped preview"),
        ("frame", animations.frame, "image/png", "A frame of the video, of the preview before its export"),
    )
    for name, answer, kind, summary in pictures:
        api.add_api_route(
            f"/animations/{{id}}/{name}",
            answer,
            methods=["GET"],
            summary=summary,
            response_class=Response,
            responses=_refusals(404, 409, 422) | {200: {"content": {kind: _BINARY}}},
        )
    api.add_api_route(
        "/animations/{id}/export",
        animations.export,
        methods=["POST"],
        summary="Consent to a video and let it out",
        response_model=schemas.SonicExport,
        responses=_refusals(403, 404, 409, 413, 415, 422, 503),
    )


def _add_events(api: APIRouter, animations: Animations) -> None:
    stream = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
    api.add_api_route(
        "/events",
        animations.events,
        methods=["GET"],
        summary="How videos stand, told as it changes",
        response_class=StreamingResponse,
        responses=_refusals() | {200: stream},
    )


def _add_consents(api: APIRouter, consents: Consents) -> None:
    for method, path, answer, model, summary in (
        ("GET", "", consents.every, schemas.SonicRecords, "List consent records, newest first"),
        ("GET", "/{id}", consents.one, schemas.SonicRecord, "One consent record"),
        ("POST", "/{id}/revoke", consents.revoke, schemas.SonicRevocation, "Take a consent back, for good"),
    ):
        refusals = (404, 409) if path else (409,)
        api.add_api_route(
            f"/consents{path}",
            answer,
            methods=[method],
            response_model=model,
            summary=summary,
            responses=_refusals(*refusals, *((413, 415, 422) if method == "POST" else ())),
        )


def _add_questions(api: APIRouter, questions: Questions) -> None:
    sent = _refusals(413, 415, 422, 503)
    for method, name, answer, model, summary in (
        ("POST", "preflight", questions.preflight, schemas.SonicPreflight, "What a video will be"),
        ("POST", "verify", questions.verify, schemas.SonicVerification, "Which marks a file carries"),
        ("POST", "sync", questions.sync, schemas.SonicSync, "How far the mouth is from the voice"),
        ("GET", "engines", questions.engines, schemas.SonicEngines, "Engines, and why one is not ready"),
        ("GET", "weights", questions.weights, schemas.SonicWeights, "The sonic engine's model files"),
        ("GET", "settings", questions.settings, schemas.SonicSettings, "Settings, presets, consent notice"),
        ("GET", "messages/{language}", questions.messages, schemas.SonicMessages, "What the page says"),
        ("GET", "openapi.json", questions.description, dict[str, Any], "This description"),
    ):
        api.add_api_route(
            f"/{name}",
            answer,
            methods=[method],
            response_model=model,
            summary=summary,
            responses=sent if method == "POST" else _refusals(),
        )


def _add_fetching(api: APIRouter, fetching: Fetching) -> None:
    begun = (409, 413, 415, 422)
    _add_task(
        api,
        "weights",
        ("POST", "/fetch", fetching.fetch, schemas.SonicTask, "Begin to fetch model files", begun),
        (
            "POST",
            "/convert",
            fetching.convert,
            schemas.SonicTask,
            "Begin to convert pickles to safetensors",
            begun,
        ),
        ("GET", "/task", fetching.task, schemas.SonicTask, "How fetching or converting stands", ()),
        ("DELETE", "/task", fetching.stop, schemas.SonicTask, "Stop fetching or converting", ()),
    )


def _add_portraits(api: APIRouter, portraits: PortraitMaking) -> None:
    _add_task(
        api,
        "portraits",
        ("GET", "", portraits.samplers, schemas.SonicSamplers, "Whether portraits can be made here", ()),
        ("POST", "", portraits.begin, schemas.SonicTask, "Begin a portrait", (409, 413, 415, 422, 503)),
        ("GET", "/task", portraits.task, schemas.SonicTask, "How the portrait stands", ()),
        ("DELETE", "/task", portraits.stop, schemas.SonicTask, "Stop making the portrait", ()),
    )
    api.add_api_route(
        "/portraits/picture",
        portraits.picture,
        methods=["GET"],
        summary="The portrait that was made",
        response_class=Response,
        responses=_refusals(409) | {200: {"content": {"image/png": _BINARY}}},
    )


def _add_bench(api: APIRouter, benching: Benching) -> None:
    _add_task(
        api,
        "bench",
        ("POST", "", benching.begin, schemas.SonicTask, "Begin a bench", (409, 413, 415, 422, 503)),
        ("GET", "", benching.result, schemas.SonicBench, "What was measured", (409,)),
        ("GET", "/task", benching.task, schemas.SonicTask, "How the bench stands", ()),
        ("DELETE", "/task", benching.stop, schemas.SonicTask, "Stop the bench", ()),
    )


def _add_task(
    api: APIRouter, name: str, *routes: tuple[str, str, Callable[..., Any], Any, str, tuple[int, ...]]
) -> None:
    """What is begun and not waited for.

    Args:
        routes: method, path below the name, answer, its model, summary, refusals.
    """
    for method, path, answer, model, summary, refusals in routes:
        api.add_api_route(
            f"/{name}{path}",
            answer,
            methods=[method],
            response_model=model,
            summary=summary,
            responses=_refusals(*refusals),
            status_code=202 if method == "POST" else 200,
        )


def _refusals(*more: int) -> dict[int | str, Any]:
    """Answers that say no, for the description."""
    known = {code: _REFUSALS[code] for code in sorted({401, *more})} | {"default": "Something went wrong."}
    return {code: {"model": schemas.SonicProblem, "description": text} for code, text in known.items()}


class Animations:
    """The routes below /animations.

    Args:
        worker: carries them out.
        looks: turns of requests that look at a picture and listen to a voice.
    """

    def __init__(self, worker: Worker, looks: Turns) -> None:
        self._worker = worker
        self._looks = looks
        self._host = worker.host
        self._queue = worker.queue

    def begin(self, body: schemas.AnimationRequest, request: Request, response: Response) -> dict[str, Any]:
        """A portrait, a voice and settings; with consent, the video is exported as soon as it is made."""
        with self._looks.turn(), self._queue.staging() as staged:
            origin = Origin.PAGE if request.headers.get(FROM) == "page" else Origin.API
            job = self._worker.submit(requests.spec_of(self._host, body, staged, origin), staged)
        response.headers["Location"] = f"{_base(request)}/animations/{job.id}"
        return self.describe(job, request)

    def every(self, request: Request) -> dict[str, Any]:
        """Those of the page and of the script, too."""
        return {"animations": self.describe_all(self._queue.jobs(lane=self._host.lane), request)}

    def one(self, id: str, request: Request) -> dict[str, Any]:
        """Its state, what it waits for or does, what came of it."""
        return self.describe(self._queue.find(id), request)

    def end(self, id: str, request: Request) -> dict[str, Any]:
        """One that waits is cancelled at once, one that is being made within about a second."""
        job = self._queue.find(id)
        if not job.state.ended:
            return self.describe(self._queue.cancel(id), request)
        _forget(self._queue, job)
        return {"id": id, "forgotten": True}

    def resume(self, id: str, request: Request, body: schemas.NothingRequest | None = None) -> dict[str, Any]:
        """Where `held` is true it waits for somebody's word, as in a WebUI that was closed meanwhile."""
        return self.describe(self._worker.resume(id), request)

    def preview(self, id: str, request: Request) -> Response:
        """Small, and stamped on every frame: it may be shown before anybody consents."""
        return _served(self._take(id).preview, request)

    def poster(self, id: str) -> Response:
        """JPEG of its first frame."""
        take = self._take(id)
        with _there():
            take.preview.stat()  # what is gone is told from what cannot be read
        return _picture(next(read_frames(take.preview, 1)), "JPEG", "image/jpeg", quality=POSTER_QUALITY)

    def frame(self, id: str, at: float = 0.0) -> Response:
        """PNG of the one that is shown `at` so many seconds after the start. It is remembered whose it is, so
        that what img2img makes of it is known to come from this portrait."""
        take, exported = self._take(id), self._queue.find(id).exported
        if not math.isfinite(at):
            raise BadInput("at is not a number of seconds.", "Send seconds after the start.")
        video = take.preview if exported is None else exported.path
        with _there():
            video.stat()
        number = min(max(int(at * take.fps + 1e-3), 0), take.frames - 1)
        frame = next(islice(read_frames(video, number + 1), number, None))
        Ledger().remember_made_from(pixel_digest(frame), [take.portrait_pixel_sha256], "frame")
        return _picture(frame, "PNG", "image/png")

    def _take(self, id: str) -> Take:
        take = self._queue.find(id).take
        if take is None:
            raise WrongTime("There is no preview yet.", "Wait until its state is done.")
        return take

    def export(self, id: str, request: Request, body: schemas.ExportRequest | None = None) -> dict[str, Any]:
        """Consent is checked and recorded, then the video is signed and moved to the outputs folder."""
        self._queue.find(id)
        given = (body and body.consent) or schemas.SonicConsent()
        with self._queue.staging() as staged:
            to = requests.destination(self._host, given, staged)
            export(self._queue, id, to, staged.path, self._host.configuration())
        return answers.export(self._queue.find(id), f"{_base(request)}/animations/{id}") or {}

    def video(self, id: str, request: Request) -> Response:
        """After its export only."""
        exported = self._queue.find(id).exported
        if exported is None:
            raise WrongTime("The video was not exported.", "Export it first: POST …/export, with consent.")
        return _served(exported.path, request)

    def events(self, request: Request) -> Response:
        """Server-sent events: `animations`, then `animation` and `forgotten`; see docs/api.md."""
        language = of_header(request.headers.get("accept-language", ""))

        def look() -> list[dict[str, Any]]:
            with speaking(language):
                return list(self.every(request)["animations"])

        events = job_events(look(), look)  # what goes wrong at once is an answer of its own
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)

    def describe(self, job: Job, request: Request) -> dict[str, Any]:
        """`SonicAnimation`."""
        return answers.animation(job, self._queue.position(job), _base(request))

    def describe_all(self, jobs: Iterable[Job], request: Request) -> list[dict[str, Any]]:
        """The same of many jobs of the host's lane, counted once."""
        positions, base = self._queue.positions(self._host.lane), _base(request)
        return [answers.animation(job, positions.get(job.id, 0), base) for job in jobs]


class Batches:
    """The routes below /batches."""

    def __init__(self, worker: Worker, animations: Animations) -> None:
        self._worker = worker
        self._queue, self._host = worker.queue, worker.host
        self._animations = animations

    def begin(self, body: schemas.BatchRequest, request: Request, response: Response) -> dict[str, Any]:
        """All of them, or none: what is wrong is said entry by entry. Faces are looked for later."""
        with self._queue.staging() as staged:
            specs = requests.specs_of(self._host, body, staged)
            batch = self._queue.submit_batch(specs, staged, lane=self._host.lane, limit=MAX_WAITING)
        self._worker.start()
        response.headers["Location"] = f"{_base(request)}/batches/{batch.id}"
        return self._describe(batch, request)

    def every(self, request: Request) -> dict[str, Any]:
        """Without their videos."""
        return {"batches": [answers.batch(batch) for batch in self._queue.batches(self._host.lane)]}

    def one(self, id: str, request: Request) -> dict[str, Any]:
        """How many are made, how long the rest takes, and each video."""
        return self._describe(self._queue.batch(id, self._host.lane), request)

    def end(self, id: str, request: Request) -> dict[str, Any]:
        """Videos that are made stay; once all are over, the same forgets them as for a video alone."""
        over = self._queue.batch(id, self._host.lane).ended
        for job in self._queue.jobs(batch=id):
            if over:
                _forget(self._queue, job)
            else:
                self._queue.cancel(job.id)
        return {"id": id, "forgotten": True} if over else self.one(id, request)

    def _describe(self, batch: Batch, request: Request) -> dict[str, Any]:
        jobs = reversed(self._queue.jobs(batch=batch.id))
        return answers.batch(batch) | {"animations": self._animations.describe_all(jobs, request)}


class Consents:
    """The routes below /consents."""

    def every(self) -> dict[str, Any]:
        """The ledger is checked as a whole."""
        return {"records": [each.to_dict() for each in reversed(Ledger().records())]}

    def one(self, id: str) -> dict[str, Any]:
        """By its id, the beginning of it, or the id of its take."""
        return Ledger().show(id).to_dict()

    def revoke(self, id: str, body: schemas.RevokeRequest | None = None) -> dict[str, Any]:
        """The portrait is not exported again, under any record; its videos in the private folder are deleted.
        Exported files stay. The record is named by its whole id: this cannot be undone."""
        record = Ledger().show(id)
        if record.id != id:
            raise NotFound(f"There is no consent record {id}.", "Name it by its whole id: GET …/consents.")
        done = revoke(record.id, body.reason if body else "")
        return {
            "time": done.time.isoformat(),
            "records": list(done.records),
            "takes": list(done.takes),
            "hashes": list(done.hashes),
        }


class Questions:
    """The routes that begin no job.

    Args:
        host: where they are asked.
        made: all routes of the API.
        looks: turns of requests that look at a picture and listen to a voice.
    """

    def __init__(self, host: Host, made: APIRouter, looks: Turns) -> None:
        self._host = host
        self._router = made
        self._looks = looks
        self._checks = Turns(CHECKS_WAITING)
        """Of requests that check a video, which may take minutes: nobody's picture waits for them."""

    def preflight(self, body: schemas.PreflightRequest) -> dict[str, Any]:
        """Face box, length, size, forecast and warnings, before the work begins."""
        from .. import pipeline

        settings = requests.settings_of(self._host, body.settings)
        with self._looks.turn(), staging(private_home()) as staged:
            portrait = staged.path(requests.staged_portrait(staged, body.portrait))
            speech = staged.path(requests.staged_speech(staged, body.audio))
            second = requests.staged_speech(staged, body.audio_2, "audio_2") if body.audio_2 else None
            found = pipeline.preflight(
                portrait,
                speech,
                settings,
                devices=self._host.devices,
                configuration=self._host.configuration(),
                voice_2=staged.path(second) if second else None,
            )
        return answers.preflight(found)

    def verify(self, body: schemas.VerifyRequest) -> dict[str, Any]:
        """Signature, watermark, labels and this computer's consent record, and what they amount to."""
        from ..provenance.verify import verify

        with self._checks.turn(), staging(private_home()) as staged:
            file = staged.path(staged.write("file", uploads.decoded(body.video, "video")))
            found = verify(file, configuration=self._host.configuration())
        return answers.verification(found)

    def sync(self, body: schemas.SyncRequest) -> dict[str, Any]:
        """Offset of mouth and voice, of each face, and how sure that is. The video is not changed."""
        from ..sync.apart import measured_apart

        with self._checks.turn(), staging(private_home()) as staged:
            file = staged.path(staged.write("file", uploads.decoded(body.video, "video")))
            found = measured_apart(file, name="video")
        tracks = [answers.spoken(track, "note") for track in found["tracks"]]
        return answers.spoken(found, "summary", "reason", "hint", "warnings") | {"tracks": tracks}

    def engines(self) -> dict[str, Any]:
        """And the one that engine=auto takes now."""
        from .. import engines
        from ..engines import registry

        search = search_of(self._host)
        told = []
        for name in registry.names():
            lacks = {"detail": "", "hint": ""}
            try:
                engines.choose(name, devices=self._host.devices, search=search)
            except SonicError as error:
                lacks = {"detail": said(error.message), "hint": said(error.hint)}
            told.append({"name": name, "ready": not lacks["detail"], **lacks})
        return {
            "engines": told,
            "auto": engines.choose("auto", devices=self._host.devices, search=search).name,
        }

    def weights(self) -> dict[str, Any]:
        """What is there, where, what brings the rest, and what keeps it from being brought."""
        from .. import weights

        return answers.weights(weights.survey(search_of(self._host)), self._host.devices)

    def settings(self) -> dict[str, Any]:
        """Names, ranges, defaults and help, as a form needs them."""
        from ..provenance.consent import NOTICE, NOTICE_VERSION, Basis

        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Settings",
            "type": "object",
            "properties": schemas.setting_schemas(self._host.defaults()),
            "additionalProperties": False,
        }
        notice = {"version": NOTICE_VERSION, "text": NOTICE, "bases": [str(basis) for basis in Basis]}
        return {
            "settings": schema,
            "presets": PRESETS,
            "groups": headings(),
            "consent": notice,
            "languages": languages(),
        }

    def messages(self, language: str, request: Request) -> Response:
        """English → that language, for what the page itself says; `{names}` in both are filled in."""
        if language == ENGLISH or language not in languages():
            raise NotFound(
                f"There is no catalogue of {language!r}.", f"Catalogues: {', '.join(languages())}."
            )
        return texts_file(language).answer(request)

    def description(self) -> Response:
        """OpenAPI, of this API alone."""
        text = "A portrait and a voice become a marked, signed, consented video."
        routes = self._router.routes
        return JSONResponse(get_openapi(title="Sonic", version=__version__, description=text, routes=routes))


def _forget(queue: Queue, job: Job) -> None:
    """Remember an ended job no longer, and delete what was not exported of it."""
    from ..provenance.store import Store

    with export_lock(queue, job.id):
        queue.forget(job.id)
        if job.take is not None:
            Store(queue.home).discard(job.take_id)


def _base(request: Request) -> str:
    """Where the API is, as seen from outside."""
    return str(request.scope.get("root_path", "")).rstrip("/") + PREFIX


def _picture(frame: NDArray[np.uint8], form: str, media_type: str, **options: Any) -> Response:
    shown = io.BytesIO()
    Image.fromarray(frame).save(shown, form, **options)
    headers = {"Cache-Control": "private, no-store"}
    return Response(shown.getvalue(), media_type=media_type, headers=headers)


def _served(path: Path, request: Request) -> Response:
    with _there():
        return ranged(path, "video/mp4", request.headers.get("range"))


@contextmanager
def _there() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise NotFound("The file is not there any more.", "It expired, or was moved or deleted.") from None
