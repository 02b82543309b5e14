"""Who is let in by a WebUI: its own page by the token, others as its command line has it.

The servers are real ones, of the gradio that is installed; `webui_page.py` is the process.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hosted_page import USER, Served, basic, webui

FRIEND, STRANGER = "https://friend.example", "https://stranger.example"
ASKED = "/sonic/v1/engines"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Without an API."""
    with webui(tmp_path_factory.mktemp("webui")) as served:
        yield served


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With an API that asks for a password, and lets one other site's pages ask."""
    words = ("--api", "--api-auth", USER, "--cors-allow-origins", FRIEND)
    with webui(tmp_path_factory.mktemp("webui"), *words) as served:
        yield served


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Without an API, and its page asks for a login."""
    with webui(tmp_path_factory.mktemp("webui"), "--gradio-auth", USER) as served:
        yield served


def test_without_an_api_only_the_page_is_let_in(alone: Served) -> None:
    assert alone.ask("GET", ASKED).refusal() == (403, "PageOnly")
    assert alone.ask("GET", ASKED, X_Sonic_Token=alone.token()).status == 200
    old = alone.ask("GET", ASKED, X_Sonic_Token="of another start")
    assert old.refusal() == (401, "Unauthorised")
    assert old.json["hint"] == "Reload the page."
    assert "www-authenticate" not in old.headers  # browsers would ask for a password
    assert alone.ask("GET", ASKED, Authorization=basic(USER)).refusal() == (403, "PageOnly")
    stands = alone.ask("GET", "/config", Origin=STRANGER)
    assert "access-control-allow-origin" not in stands.headers  # other sites' pages cannot read it


def test_events_come_at_once_through_the_webuis_gzip(alone: Served) -> None:
    headers = {"X_Sonic_Token": alone.token(), "Accept_Encoding": "gzip"}
    with alone.asking("GET", "/sonic/v1/events", **headers) as answer:
        assert answer.getheader("content-encoding") == "identity"
        assert answer.readline() == b"retry: 500\n"
        assert answer.readline() == b"event: animations\n"


def test_the_password_of_the_api_is_for_programs_and_the_token_for_the_page(shared: Served) -> None:
    assert shared.ask("GET", ASKED).refusal() == (401, "Unauthorised")
    assert shared.ask("GET", ASKED, Authorization=basic("somebody:else")).refusal() == (401, "Unauthorised")
    assert shared.ask("GET", ASKED, Authorization=basic(USER)).status == 200
    assert shared.ask("GET", ASKED, X_Sonic_Token=shared.token()).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": STRANGER}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Origin": STRANGER, "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Origin": FRIEND}, 200),
        ({"Origin": FRIEND, "Sec_Fetch_Site": "cross-site"}, 200),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
    ],
)
def test_other_sites_ask_only_where_the_webui_lets_them(
    shared: Served, headers: dict[str, str], status: int
) -> None:
    assert shared.ask("GET", ASKED, Authorization=basic(USER), **headers).status == status


def test_a_token_is_worth_nothing_without_the_login_that_its_page_asks_for(locked: Served) -> None:
    inside = locked.log_in()
    token = inside.token()
    assert inside.ask("GET", ASKED, X_Sonic_Token=token).status == 200
    assert locked.ask("GET", ASKED, X_Sonic_Token=token).refusal() == (401, "Unauthorised")
    assert inside.ask("GET", ASKED).refusal() == (403, "PageOnly")
    assert locked.ask("GET", "/config").status == 401  # where the token stands
    assert locked.ask("GET", "/sonic/page/app.js").status == 200  # anybody's
