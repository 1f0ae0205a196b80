"""Somebody who asks for a stream and reads none of it."""

from __future__ import annotations

import socket
import urllib.parse


def deaf(url: str, token: str) -> socket.socket:
    """Ask for a stream, with little room for it, and read nothing."""
    place = urllib.parse.urlsplit(url)
    asking = socket.socket()
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asking.connect((place.hostname, place.port))
    head = (f"GET {place.path}?{place.query} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", "", "")
    asking.sendall("\r\n".join(head).encode())
    return asking
