"""Makes the files beside it: real exports, signed at another time by real certificates.

    faketime '2024-01-02 12:00:00' python tests/data/signed/make.py ended stamped stamped_late
    faketime '2120-01-02 12:00:00' python tests/data/signed/make.py not_begun

(`faketime` is libfaketime's program.) The certificates last from the day before to 90 days later, so that the
files are in their state for good. They carry the first watermark, as files of old do. Beside each video lies
the root of its signer; `clock.pem` is that of the time-stamp authority.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]

from certificates import DAY, NOW, certified, time_stamping  # noqa: E402
from made_takes import FPS, adopt_clip, record_clip  # noqa: E402
from time_stamps import TimeStampAuthority  # noqa: E402

from sonic_ext.media.video import read_planes  # noqa: E402
from sonic_ext.provenance.consent import Consent  # noqa: E402
from sonic_ext.provenance.gate import export  # noqa: E402
from sonic_ext.provenance.store import MASTER_NAME, Store  # noqa: E402
from sonic_ext.provenance.watermark import detect, version1  # noqa: E402
from sonic_ext.settings import Settings  # noqa: E402

FRAMES = 55
LATER = NOW + 36500 * DAY
CLOCKS = {"stamped": timedelta(), "stamped_late": 200 * DAY}
"""How late the time-stamp authority's clock is; the others have none."""


def make(name: str, authority: TimeStampAuthority) -> None:
    """One video and the root of its signer."""
    who, late = certified(name.replace("_", " ").title(), root_ends=LATER), CLOCKS.get(name)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        (Path(folder) / "chain.pem").write_text(who.chain_pem, encoding="ascii")
        (Path(folder) / "key.pem").write_text(who.key_pem, encoding="ascii")
        os.environ["SONIC_C2PA_CERT"] = str(Path(folder) / "chain.pem")
        os.environ["SONIC_C2PA_KEY"] = str(Path(folder) / "key.pem")
        os.environ["SONIC_C2PA_TSA"] = "" if late is None else authority.url
        authority.now = NOW + (late or timedelta())
        record_clip(Path(folder), Settings(), FRAMES, algorithm=version1.ALGORITHM)
        mark = detect(read_planes(Path(folder) / MASTER_NAME), FPS)
        take = adopt_clip(
            Store(home), Path(folder), frames=FRAMES, mark_algorithm=version1.ALGORITHM, mark=mark
        )
        video = HERE / f"{name}.mp4"
        done = export(take, video, Consent(face="self", voice="self"), overwrite=True)
        assert not done.warnings and bool(done.signature.time_stamp) == (late is not None), done
    (HERE / f"{name}.pem").write_text(who.root_pem, encoding="ascii")


if __name__ == "__main__":
    clock = time_stamping(begins=NOW - 900 * DAY, ends=LATER, root_ends=LATER)
    with TimeStampAuthority(clock).serving() as served:
        for wanted in sys.argv[1:]:
            make(wanted, served)
        if served.asked:
            (HERE / "clock.pem").write_text(clock.root_pem, encoding="ascii")
