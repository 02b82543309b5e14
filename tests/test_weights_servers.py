"""Which server is asked for weights, and through which proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_hub import TinyHub, serving

from sonic_ext import weights
from sonic_ext.errors import BadSetting, MissingPart
from sonic_ext.weights import RIFE
from sonic_ext.weights.servers import HUB, endpoint, excepted, proxy_of, without_password

HUB_FILE = "https://huggingface.co/a/b"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "hf_endpoint"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture
def hub() -> Iterator[TinyHub]:
    pytest.importorskip("httpx", reason="weights are fetched with httpx")
    with serving(TinyHub({})) as running:
        yield running


@pytest.mark.parametrize(
    ("exceptions", "host", "expected"),
    [
        ("*", "huggingface.co", True),
        ("localhost, *", "huggingface.co", True),
        ("", "huggingface.co", False),
        (",", "huggingface.co", False),
        (".local,", "box.local", True),
        (".local,", "local", True),
        (".local,", "huggingface.co", False),
        ("*.co", "huggingface.co", True),
        ("face.co", "huggingface.co", False),
        ("HuggingFace.co.", "huggingface.co", True),
        ("huggingface.co:443", "huggingface.co", True),
        ("huggingface.co:8443", "huggingface.co", False),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("[::1]:443", "::1", True),
        ("fd00::/8", "fd12::1", True),
        ("[fd00::]/8", "fd12::1", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "10.example.org", False),
        ("a b, http://x, %%, [", "huggingface.co", False),
    ],
)
def test_who_is_asked_without_a_proxy(exceptions: str, host: str, expected: bool) -> None:
    assert excepted(host, 443, exceptions) is expected


def test_proxies(environment: pytest.MonkeyPatch) -> None:
    assert proxy_of(HUB_FILE) is None
    environment.setenv("ALL_PROXY", "socks5h://me:secret@127.0.0.1:1080")
    assert proxy_of(HUB_FILE) == "socks5://me:secret@127.0.0.1:1080"
    environment.setenv("https_proxy", "proxy.example.com:8080")
    assert proxy_of(HUB_FILE) == "http://proxy.example.com:8080"
    environment.setenv("NO_PROXY", "[::1],.huggingface.co")
    assert proxy_of(HUB_FILE) is None
    assert without_password("socks5://me:secret@127.0.0.1:1080") == "socks5://127.0.0.1:1080"
    assert without_password("me:secret@127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize("given", [None, "", " ", "/"])
def test_an_empty_endpoint_is_the_hub(given: str | None, environment: pytest.MonkeyPatch) -> None:
    if given is not None:
        environment.setenv("HF_ENDPOINT", given)
    assert endpoint(None) == HUB
    assert endpoint("http://mirror/") == "http://mirror"


@pytest.mark.parametrize(
    "exceptions", ["::1,127.0.0.1", "[::1],127.0.0.1", "*", "127.0.0.0/8,fd00::/8", "127.0.0.1,.local,"]
)
def test_forms_that_httpx_refuses(
    exceptions: str, hub: TinyHub, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """The tiny hub has no such file, and says so: it was reached."""
    environment.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    environment.setenv("NO_PROXY", exceptions)
    with pytest.raises(MissingPart, match="no longer has the file"):
        weights.fetch([RIFE], tmp_path, accept=True, endpoint=f"{hub.url}/")


def test_a_socks_proxy_without_socksio(hub: TinyHub, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "socks5://me:secret@127.0.0.1:9")
    try:
        import socksio  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(MissingPart, match=r"SOCKS proxy \(socks5://127.0.0.1:9\)") as caught:
            weights.fetch([RIFE], tmp_path, accept=True, endpoint=hub.url)
        assert caught.value.hint.endswith("pip install socksio")
    else:
        with pytest.raises(MissingPart, match="cannot be reached"):
            weights.fetch([RIFE], tmp_path, accept=True, endpoint=hub.url)


def test_a_proxy_that_is_none(hub: TinyHub, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("http_proxy", "gopher://me:secret@127.0.0.1:9")
    with pytest.raises(BadSetting, match=r"cannot be used: gopher://127.0.0.1:9"):
        weights.fetch([RIFE], tmp_path, accept=True, endpoint=hub.url)


def test_an_endpoint_that_is_none(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx", reason="weights are fetched with httpx")
    environment.setenv("HF_ENDPOINT", "hf-mirror.example.com")
    with pytest.raises(BadSetting, match=r"hf-mirror\.example\.com in the place of the Hub"):
        weights.fetch([RIFE], tmp_path, accept=True)


def test_a_mirror_that_does_not_have_it(
    hub: TinyHub, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    hub.knows_codes = False
    environment.setenv("HF_ENDPOINT", f"{hub.url}/")
    with pytest.raises(MissingPart) as caught:
        weights.fetch([RIFE], tmp_path, accept=True)
    assert f"{hub.url}, which is asked in the place of the Hub, answers 404" in caught.value.message
    assert f"{hub.url}/{RIFE.repos[0]}/resolve/main/" in caught.value.message
    assert "HF_ENDPOINT" in caught.value.hint
