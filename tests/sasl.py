"""The server's half of AUTH (RFC 4954): PLAIN, LOGIN, CRAM-MD5 and XOAUTH2, for relays that check who comes."""

import base64
import hmac
from collections.abc import Awaitable, Callable, Mapping

#: Sends a challenge in the clear and returns the client's answer, decoded.
Ask = Callable[[bytes], Awaitable[bytes]]


async def knows(mechanism: str, initial: str, ask: Ask, passwords: Mapping[str, str]) -> bool:
    """Return whether somebody with one of these passwords (or tokens) signs in."""
    first = base64.b64decode(initial)
    if mechanism == "PLAIN":
        _role, name, password = (first or await ask(b"")).decode().split("\0")
        return passwords.get(name) == password
    if mechanism == "LOGIN":
        name = (first or await ask(b"Username:")).decode()
        return passwords.get(name) == (await ask(b"Password:")).decode()
    if mechanism == "CRAM-MD5":
        challenge = b"<1896.697170952@relay.example>"
        name, _, digest = (await ask(challenge)).decode().rpartition(" ")
        return digest == hmac.new(passwords.get(name, "\0").encode(), challenge, "md5").hexdigest()
    name, bearer = first.decode().removeprefix("user=").split("\x01")[:2]
    if passwords.get(name) == bearer.removeprefix("auth=Bearer "):
        return True
    # Google's way: the reason as a challenge, which an empty answer ends.
    assert await ask(b'{"status":"401"}') == b""
    return False
