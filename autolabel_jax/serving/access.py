"""Who may call the routes below /v1: those with the token, or without one this machine alone."""

import hmac
import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

LOCAL = ("127.0.0.1", "localhost", "[::1]")


def with_token(token: str) -> Callable[..., Any]:
    """Returns a dependency of routes that refuses requests without the token."""
    bearer, secret = HTTPBearer(auto_error=False), token.encode(errors="surrogateescape")

    async def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        sent = given.credentials if given else ""
        # Starlette reads headers as Latin-1; any bytes are compared as they were sent.
        if not hmac.compare_digest(sent.encode("latin-1"), secret):
            raise HTTPException(
                401,
                "expected the header 'Authorization: Bearer' with the token of the service",
                {"WWW-Authenticate": "Bearer"},
            )

    return check


async def from_here(request: Request) -> None:
    """Refuses pages of other hosts whose name was made to lead to this machine."""
    host = request.headers.get("host", "")
    if re.sub(r":\d+$", "", host) not in LOCAL:
        raise HTTPException(403, f"Host: got {host!r}; without a token it must be 127.0.0.1")
