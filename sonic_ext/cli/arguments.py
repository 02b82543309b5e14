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
