"""Who may ask the standalone server: by which name, from which page, with which password."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonic_ext.app.access import Access, Authority, Names, authority, stranger
from sonic_ext.errors import BadSetting

ALONE = Names.of("127.0.0.1")
OPEN = Names.of("0.0.0.0", ["box.example"])
Header = tuple[bytes, bytes]


def scope_of(*headers: Header, kind: str = "http") -> dict[str, Any]:
    """A request with these headers."""
    return {"type": kind, "path": "/", "method": "GET", "headers": list(headers), "server": ("127.0.0.1", 1)}


def asked(access: Access, *headers: Header, kind: str = "http") -> tuple[int, dict[str, str]]:
    """Status and body of an answer; of a web socket 200 or the code that closed it."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(access(scope_of(*headers, kind=kind), receive, send))
    if kind == "websocket":
        return sent[0].get("code", 200), {}
    return sent[0]["status"], json.loads(sent[1]["body"])


async def reached(scope: Any, receive: Any, send: Any) -> None:
    """The application behind."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def basic(text: str) -> Header:
    """HTTP Basic."""
    return b"authorization", b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", Authority("localhost", None)),
        ("LocalHost.:80", Authority("localhost", 80)),
        ("127.0.0.1:7870", Authority("127.0.0.1", 7870)),
        ("[::1]:7870", Authority("::1", 7870)),
        ("[0:0::0:1]", Authority("::1", None)),
        ("[fe80::1%25eth0]:1", Authority("fe80::1", 1)),
        ("[fe80::1%eth0]", Authority("fe80::1", None)),
        *(
            (bad, None)
            for bad in ("", ":", ":80", ".", "a:b", "a:", "a:123456", "a:65536", "[", "[]", "[::1", "::1")
        ),
        *(
            (bad, None)
            for bad in ("[x]", "a b", "a/b", "u@a", "a?b", "a#b", "a\n", "é", "a,b", "[::1]x", "a:１")
        ),
    ],
)
def test_names_of_servers(text: str, expected: Authority | None) -> None:
    assert authority(text) == expected


@pytest.mark.parametrize(
    "host", [b"127.0.0.1:7870", b"localhost:7870", b"[::1]:7870", b"127.0.0.2", b"LOCALHOST."]
)
def test_loopback_answers_to_its_own_names(host: bytes) -> None:
    assert stranger(scope_of((b"host", host)), ALONE) is None


@pytest.mark.parametrize(
    "host", [b"elsewhere.example", b"10.0.0.1", b"localhost.elsewhere.example", b"127.0.0.1.nip.io"]
)
def test_loopback_answers_to_no_other(host: bytes) -> None:
    problem = stranger(scope_of((b"host", host)), ALONE)
    assert problem is not None and problem.status == 403


def test_a_server_for_others_answers_to_addresses_and_names_it_was_told() -> None:
    for host in (b"10.0.0.1:80", b"[2001:db8::1]", b"box.example", b"BOX.example:7870", b"localhost"):
        assert stranger(scope_of((b"host", host)), OPEN) is None, host
    for host in (b"elsewhere.example", b"box.example.org", b"example"):
        assert stranger(scope_of((b"host", host)), OPEN) is not None, host
    for name in ("a b", "box.example:80", "", "http://box.example"):
        with pytest.raises(BadSetting, match="no name of a server"):
            Names.of("127.0.0.1", [name])


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://box.example", True),
        ("HTTP://BOX.EXAMPLE:80", True),
        ("https://box.example", False),  # without a port the page's is 443, and what it asks for says 80
        ("http://box.example:8080", False),
        ("http://elsewhere.example", False),
        *(
            (odd, False)
            for odd in ("null", "", "box.example", "http://", "http://box.example/x", "http://u@box.example")
        ),
    ],
)
def test_only_the_page_itself(origin: str, allowed: bool) -> None:
    scope = scope_of((b"host", b"box.example:80"), (b"origin", origin.encode()))
    assert (stranger(scope, OPEN) is None) is allowed
    secure = scope_of((b"host", b"box.example"), (b"origin", b"https://box.example"))
    assert stranger(secure, OPEN) is None  # behind a proxy that speaks TLS
    twice = scope_of((b"host", b"box.example:80"), *[(b"origin", b"http://box.example")] * 2)
    assert stranger(twice, OPEN) is not None


NAME = st.sampled_from([b"host", b"Host", b"origin", b"ORIGIN", b"authorization", b"cookie", b"x"])
VALUE = st.one_of(
    st.binary(max_size=40),
    st.from_regex(rb"\A(https?://)?(\[[0-9a-f:%]*\]?|[a-z0-9.]*)(:[0-9]*)?\Z"),
    st.sampled_from([b"127.0.0.1", b"localhost:80", b"http://localhost:80", b"null", b"Basic bWU6c2VjcmV0"]),
)


@given(st.lists(st.tuples(NAME, VALUE), max_size=4), st.sampled_from(["http", "websocket"]))
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_is_answered(headers: list[Header], kind: str) -> None:
    for names in (ALONE, OPEN):
        status, told = asked(Access(reached, names, {"me": "secret"}), *headers, kind=kind)
        assert status in (200, 400, 401, 403, 1008)
        hosts = [value for name, value in headers if name.lower() == b"host"]
        if status != 200:
            assert kind == "websocket" or set(told) == {"error", "detail", "hint"}
            continue
        found = authority(hosts[0].decode("latin-1"))
        assert len(hosts) == 1 and found is not None and (b"Basic bWU6c2VjcmV0" in dict(headers).values())
        address = found.address
        assert found.name in {*OPEN.more, "localhost"} or isinstance(
            address, (ipaddress.IPv4Address, ipaddress.IPv6Address)
        )


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_passwords(kind: str) -> None:
    own = (b"host", b"localhost")
    access = Access(reached, ALONE, {"me": "ge:heim é", "you": "other"})
    refused = 1008 if kind == "websocket" else 401
    for header in (basic("me:ge:heim é"), basic("you:other")):
        assert asked(access, own, header, kind=kind)[0] == 200
    odd = (
        (b"authorization", value)
        for value in (b"", b"Basic", b"Basic \xff", b"Bearer", b"Bearer tokens", b"Bearer \xff")
    )
    for header in (basic("me:other"), basic("me:"), basic(":"), *odd):
        assert asked(access, own, header, kind=kind)[0] == refused
    assert asked(access, own, kind=kind)[0] == refused
    assert asked(access, own, basic("you:other"), basic("you:other"), kind=kind)[0] == refused
    assert asked(Access(reached, ALONE), own, kind=kind)[0] == 200


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({}, True),
        ({b"sec-fetch-site": b"same-origin", b"origin": b"https://its.proxy"}, True),
        ({b"sec-fetch-site": b"none"}, True),
        ({b"sec-fetch-site": b"cross-site", b"sec-fetch-mode": b"navigate"}, True),
        ({b"sec-fetch-site": b"cross-site", b"sec-fetch-mode": b"no-cors"}, False),
        ({b"sec-fetch-site": b"same-site"}, False),
        ({b"sec-fetch-site": b""}, False),
        ({b"origin": b"https://its.proxy", b"x-forwarded-host": b"its.proxy"}, True),
        ({b"origin": b"https://evil.example", b"x-forwarded-host": b"its.proxy"}, False),
    ],
)
def test_other_sites_pages(headers: dict[bytes, bytes], let_in: bool) -> None:
    """`Sec-Fetch-Site` is the browser's word, which no page can write."""
    status = asked(Access(reached, ALONE), (b"host", b"localhost"), *headers.items())[0]
    assert (status == 200) is let_in
