"""Whether a path leads to what no web server may hand out, by whatever name it is called.

    private().holds("/anything/that/a/request/named")

A path is compared as it is written, as it is after every link has been followed, and by the identity of the
folders above it (device and file number), which also finds another case on a file system that does not tell
cases apart, short names, network names of this computer and mounts of a folder at a second place. A file that
another file is a hard link of is known only where it lies directly in the private home.
"""

from __future__ import annotations

import contextlib
import ntpath
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..configuration import Configuration
from ..errors import BadOutput, BadSetting
from ..files.home import HOME_VARIABLE, private_home

Name = str | os.PathLike[str]
Identity = tuple[int, int]
"""Device and file number."""


@dataclass(frozen=True)
class Boundary:
    """Around folders and files, as they were when this was made by `around`."""

    spellings: frozenset[str]
    """Absolute paths as written and with links followed, in the system's normal case."""
    identities: frozenset[Identity]
    """Of those that exist, and of what lies directly in them: a link there may lead elsewhere."""

    @classmethod
    def around(cls, places: Iterable[Name]) -> Boundary:
        """Of places that need not exist."""
        known = [os.fspath(place) for place in places]
        inside = (child for place in known for child in _children(place))
        return cls(
            frozenset(spelling for place in known for spelling in _spellings(place)),
            frozenset(found for name in (*known, *inside) for found in _identity(name)),
        )

    def holds(self, name: Name) -> bool:
        """Whether the path is one of the places or lies below one; it need not exist.

        What no file system takes for a path, such as a NUL in it, lies nowhere.
        """
        text = os.fspath(name)
        if os.name == "nt":
            text = plain_windows_path(text)
            if on_a_foreign_share(text, self.spellings):  # asking it would be asking another computer
                return any(named_on_share(text, place) for place in self.spellings)
        try:
            return self._holds(text)
        except (OSError, ValueError):
            return False

    def reaches(self, name: Name) -> bool:
        """Whether the path leads to something that is there and lies within."""
        return self.holds(name) and os.path.lexists(name)

    def _holds(self, text: str) -> bool:
        written, followed = _spellings(text)
        if any(lies_below(each, place) for each in (written, followed) for place in self.spellings):
            return True
        above = (followed, *(str(parent) for parent in Path(followed).parents))
        return any(found in self.identities for each in above for found in _identity(each))


def private(configuration: Configuration | None = None) -> Boundary:
    """Around the private home, where there is one, and a signing key of the user's own."""
    own_key = (configuration or Configuration.from_environment()).key
    places: list[Name] = [own_key] if own_key else []
    with contextlib.suppress(BadOutput):  # a WebUI whose user has no home goes on without this extension
        places.append(private_home())
    return Boundary.around(places)


def refuse_served(home: Path, served: Iterable[Path]) -> None:
    """Refuse a private home in a folder that a web server hands out, or around one.

    Raises:
        BadSetting: `home` is one of the `served` folders, lies below one or holds one.
    """
    inside = Boundary.around([home])
    for folder in served:
        if Boundary.around([folder]).holds(home):
            raise BadSetting(
                f"The private folder {home} lies in {folder}, which the web server hands out.",
                f"Set {HOME_VARIABLE} to a folder outside of it, delete a link there that leads to it, "
                "or start in another working folder.",
            )
        if inside.holds(folder):
            raise BadSetting(
                f"The folder {folder}, which the web server hands out, lies in the private folder {home}.",
                f"Set {HOME_VARIABLE} to another folder.",
            )


def refuse_inside(path: Path, home: Path) -> None:
    """Refuse a file to be written that would lie in the private home, by whatever name that is reached.

    Raises:
        BadOutput: it would.
    """
    if Boundary.around([home]).holds(path):
        raise BadOutput(f"{path} lies in the private folder {home}.", "Choose a folder outside of it.")


def lies_below(path: str, place: str, system: ModuleType = os.path) -> bool:
    """Whether one absolute path is the other or below it, as written.

    Args:
        system: whose rules count: `os.path`, `ntpath` or `posixpath`.
    """
    path, place = (system.normcase(system.normpath(each)) for each in (path, place))
    return path == place or path.startswith(place.rstrip(system.sep) + system.sep)


def plain_windows_path(text: str) -> str:
    r"""A path of Windows without `\\?\`, and without streams: `C:\home::$INDEX_ALLOCATION` is `C:\home`."""
    text = re.sub(
        r"^\\\\[?.]\\(?=[A-Za-z]:)", "", re.sub(r"^\\\\[?.]\\UNC\\", r"\\\\", _back(text), flags=re.I)
    )
    drive, rest = ntpath.splitdrive(text)
    return drive + re.sub(r":[^\\]*", "", rest)


def on_a_foreign_share(text: str, places: Iterable[str]) -> bool:
    """Whether Windows would ask a share, or a device, that none of the places lies on."""
    drive = _drive(text)
    return drive.startswith("\\\\") and all(drive != _drive(place) for place in places)


def named_on_share(text: str, place: str) -> bool:
    """Whether a path on a share names the place's last two folders one after the other, so may lead there."""
    parts = ntpath.normcase(ntpath.normpath(_back(text))).split("\\")
    wanted = ntpath.normcase(ntpath.normpath(_back(place))).split("\\")[-2:]
    return wanted in (parts[at : at + 2] for at in range(len(parts)))


def _drive(text: str) -> str:
    return ntpath.normcase(ntpath.splitdrive(_back(text))[0])


def _back(text: str) -> str:
    return text.replace("/", "\\")


def _spellings(name: str) -> tuple[str, str]:
    written = os.path.abspath(name)  # noqa: PTH100 - links not followed
    return os.path.normcase(written), os.path.normcase(os.path.realpath(name))


def _children(place: str) -> Iterator[str]:
    try:
        with os.scandir(place) as found:
            yield from (entry.path for entry in found)
    except OSError:  # not made yet, or a file
        return


def _identity(name: str) -> Iterator[Identity]:
    try:
        found = Path(name).stat()
    except OSError:
        return
    if found.st_ino:  # some file systems of Windows have no such numbers
        yield found.st_dev, found.st_ino
