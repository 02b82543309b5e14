"""What the grammars of the commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

AddCommand = Callable[..., argparse.ArgumentParser]
"""`add(commands, name, help, epilog)` makes a command with the options that all of them have."""
AddOptions = Callable[[argparse.ArgumentParser], None]


def number_from(low: int, high: int) -> Callable[[str], int]:
    """The type of an option that is a whole number in a range."""

    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"a number from {low} to {high} is needed")
        return value

    return number


def add_ray(made: argparse.ArgumentParser) -> None:
    """The options that name a cluster."""
    made.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="on a Ray cluster: HOST:PORT of its head node, or auto on one of its nodes; without an address, "
        "one is started here",
    )
    made.add_argument(
        "--ray-private-network",
        action="store_true",
        help="the cluster's network is private: do without TLS",
    )
