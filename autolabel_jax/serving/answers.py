"""Errors: their statuses, their messages of one line, and their description for OpenAPI."""

from collections.abc import Callable
from typing import Any

import pydantic
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from autolabel_jax.serving import batching, jobs, uploads

RETRY = {"Retry-After": "1"}  # seconds
MEANINGS = {
    400: "The body is damaged.",
    401: "The token is missing or wrong.",
    403: "A path is not below the data root, or the request names another host.",
    404: "There is no such job.",
    409: "The job is not finished.",
    413: "The body has too many bytes, or the image too many pixels.",
    415: "The body, or the image, is of a type that is not read.",
    422: "A value is not valid; the message names it.",
    503: "Too many requests wait.",
    504: "The request took too long.",
}


class Error(pydantic.BaseModel):
    """Says in one line what is wrong."""

    detail: str


def listed(always: int) -> Callable[..., dict[int | str, Any]]:
    """Returns a function of statuses that describes them, and one that all routes have."""

    def described(*codes: int) -> dict[int | str, Any]:
        return {c: {"model": Error, "description": MEANINGS[c]} for c in sorted({always, *codes})}

    return described


def handle(app: FastAPI) -> None:
    """Answers exceptions with their status and a message of one line."""

    def answer(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"detail": detail}, status, headers)

    async def full(request: Request, error: Exception) -> JSONResponse:
        return answer(503, "too many requests wait; try again", RETRY)

    async def late(request: Request, error: Exception) -> JSONResponse:
        return answer(504, "the request took too long")

    async def gone(request: Request, error: Exception) -> JSONResponse:
        return answer(400, "the client has left")

    async def invalid(request: Request, error: Any) -> JSONResponse:
        return answer(422, uploads.first(error.errors()))

    async def failed(request: Request, error: Exception) -> JSONResponse:
        return answer(500, "an error of the service; see its log")

    async def other_method(request: Request, error: Any) -> JSONResponse:
        # Starlette names the methods of the first route of a path alone.
        path = getattr(request.scope.get("route"), "path", "")
        listed = sorted(app.openapi()["paths"].get(path, ()))
        methods = ", ".join(listed).upper() or error.headers["Allow"]
        return answer(405, f"{request.method}: expected one of: {methods}", {"Allow": methods})

    app.add_exception_handler(405, other_method)
    app.add_exception_handler(batching.FullError, full)
    app.add_exception_handler(jobs.FullError, full)
    app.add_exception_handler(TimeoutError, late)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, failed)
