"""A time-stamp authority (RFC 3161) of our own on the loopback, for tests: real tokens, no network.

Only what C2PA needs: SHA-256, a certificate with the critical usage timeStamping, ECDSA over the signed
attributes (RFC 5652 §5.4). Its clock can be set.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from certificates import Certified
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from patience import PATIENCE

_SHA256 = bytes.fromhex("300b0609608648016503040201")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_TST_INFO = bytes.fromhex("060b2a864886f70d0109100104")
_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
_SIGNING_CERTIFICATE_V2 = bytes.fromhex("060b2a864886f70d010910022f")
_POLICY = bytes.fromhex("06032a0304")


class TimeStampAuthority:
    """Answers requests over HTTP; `url` is its address.

    Args:
        who: its certificate, chain and key (P-256).
        now: the time that its tokens tell; the computer's clock where None.
        broken: answers every request with HTTP 500.
    """

    def __init__(self, who: Certified, now: datetime | None = None, broken: bool = False) -> None:
        self.who, self.now, self.broken = who, now, broken
        self.asked = 0
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[TimeStampAuthority]:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                authority.asked += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = b"" if authority.broken else authority.answer(body)
                self.send_response(500 if authority.broken else 200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: tests are silent."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}/tsa"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join(PATIENCE)
            server.server_close()

    def answer(self, request: bytes) -> bytes:
        """TimeStampResp for a TimeStampReq (RFC 3161 §2.4)."""
        parts = _children(_children(request)[0][1])
        imprint = parts[1][0]
        nonces = [whole for whole, _ in parts[2:] if whole[0] == 0x02]
        now = (self.now or datetime.now(timezone.utc)).strftime("%Y%m%d%H%M%SZ").encode()
        serial = _der(0x02, b"\x01" + hashlib.sha256(request).digest()[:8])
        info = _sequence(_der(0x02, b"\x01"), _POLICY, imprint, serial, _der(0x18, now), *nonces)
        status = _sequence(_der(0x02, b"\x00"))
        return _sequence(status, _sequence(_SIGNED_DATA, _der(0xA0, self._signed(info))))

    def _signed(self, info: bytes) -> bytes:
        ders = [cert.public_bytes(serialization.Encoding.DER) for cert in (self.who.leaf, *self.who.issuers)]
        hashed = _sequence(_sequence(_sequence(_der(0x04, hashlib.sha256(ders[0]).digest()))))
        attributes = sorted(
            (
                _attribute(_CONTENT_TYPE, _TST_INFO),
                _attribute(_MESSAGE_DIGEST, _der(0x04, hashlib.sha256(info).digest())),
                _attribute(_SIGNING_CERTIFICATE_V2, hashed),
            )
        )
        signature = self.who.key.sign(_der(0x31, b"".join(attributes)), ec.ECDSA(hashes.SHA256()))
        signer = _sequence(
            _der(0x02, b"\x01"),
            _sequence(
                self.who.leaf.issuer.public_bytes(),
                _der(0x02, _integer(self.who.leaf.serial_number)),
            ),
            _SHA256,
            _der(0xA0, b"".join(attributes)),
            _ECDSA_SHA256,
            _der(0x04, signature),
        )
        return _sequence(
            _der(0x02, b"\x03"),
            _der(0x31, _SHA256),
            _sequence(_TST_INFO, _der(0xA0, _der(0x04, info))),
            _der(0xA0, b"".join(ders)),
            _der(0x31, signer),
        )


def _attribute(kind: bytes, value: bytes) -> bytes:
    return _sequence(kind, _der(0x31, value))


def _integer(value: int) -> bytes:
    """Shortest form of a positive number, whose first bit is its sign."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, b"".join(parts))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes(4, "big").lstrip(b"\0")
    return bytes([tag, 0x80 | len(size)]) + size + content


def _children(data: bytes) -> list[tuple[bytes, bytes]]:
    """Each element in `data`: the whole of it, and its contents."""
    found, place = [], 0
    while place < len(data):
        length, start = data[place + 1], place + 2
        if length & 0x80:
            size = length & 0x7F
            length, start = int.from_bytes(data[start : start + size], "big"), start + size
        found.append((data[place : start + length], data[start : start + length]))
        place = start + length
    return found
