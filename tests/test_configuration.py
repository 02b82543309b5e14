"""What the user sets for this computer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sonic_ext.configuration import DAYS, Configuration
from sonic_ext.provenance.boundary import private
from sonic_ext.provenance.store import Store
from sonic_ext.weights import Search


def test_nothing_is_set_by_itself() -> None:
    assert Configuration.from_environment({}) == Configuration()


def test_the_environment_says_it_all() -> None:
    environment = {
        "SONIC_MODELS": f" /a{os.pathsep} /b {os.pathsep}",
        "COMFYUI_PATH": "/comfy",
        "SONIC_C2PA_CERT": "chain.pem ",
        "SONIC_C2PA_KEY": "key.pem",
        "SONIC_C2PA_ANCHORS": "lists",
        "SONIC_C2PA_TSA": "http://tsa.example.com",
        "SONIC_C2PA_HASHES": "plain",
        "SONIC_AIGC_PRODUCER": "001191110102MAC",
        "SONIC_LEDGER_HEAD": "/other disk/head.json",
        "SONIC_RETENTION_DAYS": "0.5",
    }
    found = Configuration.from_environment(environment)
    assert found.models_folders == (Path("/a"), Path("/b"))
    assert found.retention_text == "0.5 days"
    assert found.certificate == "chain.pem"
    of_the_host = ("host_models", "checkpoints")
    assert all(value for name, value in vars(found).items() if name not in of_the_host)


@pytest.mark.parametrize(
    ("text", "days"), [("1", 1), ("x", DAYS), ("0", DAYS), ("-1", DAYS), ("inf", DAYS), ("nan", DAYS)]
)
def test_days_that_are_none_count_for_nothing(text: str, days: float) -> None:
    assert Configuration.from_environment({"SONIC_RETENTION_DAYS": text}).retention_days == days


def test_what_is_empty_overrides_nothing() -> None:
    before = Configuration(key="a", retention_days=3)
    assert before.overridden(key="", retention_days=None) == before
    assert before.overridden(key="b", retention_days=1) == Configuration(key="b", retention_days=1)


def test_it_is_passed_on(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("")
    configuration = Configuration(models=str(tmp_path), key=str(key), retention_days=2)
    store = Store(tmp_path / "home", configuration)
    assert store.configuration is store.ledger.configuration is configuration
    assert private(configuration).holds(key) and not private().holds(key)
    assert Search.default(configuration=configuration).configured == (tmp_path,)
    assert Search.default("", configuration=configuration).configured == ()
