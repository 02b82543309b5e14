"""Jobs as data: what is to be made is written to a durable queue, and workers carry it out.

spec         JobSpec: one video, as JSON
inputs       the files that jobs need, by their SHA-256
submission   from a request to a spec: says at once what is wrong
database     the queue's tables
queue        Queue: states, order, leases, what came of it
making       one job, from top to bottom
receiving    a take that was made elsewhere: verified, and taken into the store
exporting    its video through the gate, once
worker       Worker: threads that carry out what waits
"""

from __future__ import annotations

from .job import Batch, ExportedFile, Job, State
from .queue import Queue
from .spec import Destination, Input, JobSpec, Origin, PortraitRequest
from .worker import Worker

__all__ = [
    "Batch",
    "Destination",
    "ExportedFile",
    "Input",
    "Job",
    "JobSpec",
    "Origin",
    "PortraitRequest",
    "Queue",
    "State",
    "Worker",
]
