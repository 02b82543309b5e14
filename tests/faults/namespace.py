"""Folders that can be made read-only, and a disk that can be full: a mount namespace of this process's own.

Nothing outside of this process and its children sees what is mounted here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

NEW_MOUNTS, NEW_USERS = 0x00020000, 0x10000000
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE, DETACH = 1, 32, 4096, 16384, 1 << 18, 2
DISK_BYTES = 192 << 20


def enter() -> bool:
    """Whether there is one now: Linux, as root or where users may have namespaces."""
    if sys.platform != "linux":
        return False
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.geteuid(), os.getegid()
    if libc.unshare(NEW_MOUNTS):
        if libc.unshare(NEW_MOUNTS | NEW_USERS):
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount("none", Path("/"), "", RECURSIVE | PRIVATE)
    return True


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[None]:
    """An empty folder is a disk of its own while the block runs, and can be full."""
    _mount("tmpfs", folder, "tmpfs", 0, f"size={DISK_BYTES},mode=700")
    try:
        yield
    finally:
        _unmount(folder)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """What opens a file below `folder` while the block runs cannot write; what is open already can."""
    _mount(str(folder), folder, "", BIND)
    try:
        _mount("none", folder, "", REMOUNT | READ_ONLY | BIND)
        yield
    finally:
        _unmount(folder)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """While the block runs, nothing more fits onto the disk than what is deleted there."""
    ballast, size = disk / "ballast", 0
    try:
        with ballast.open("wb") as file:
            while free := _free_bytes(disk):
                with contextlib.suppress(OSError):  # others of the operation wrote meanwhile
                    os.posix_fallocate(file.fileno(), size, free)
                    size += free
        yield
    finally:
        ballast.unlink()


def _free_bytes(disk: Path) -> int:
    facts = os.statvfs(disk)
    return facts.f_bavail * facts.f_frsize


def _mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    _called("mount", source.encode(), os.fsencode(target), kind.encode(), flags, options.encode())


def _unmount(folder: Path) -> None:
    _called("umount2", os.fsencode(folder), DETACH)


def _called(name: str, *values: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*values):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
