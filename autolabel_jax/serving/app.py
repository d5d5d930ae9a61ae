"""The application: predictions, the model, health, metrics, the page, and jobs if asked for."""

import asyncio
import base64
import contextlib
import hashlib
import importlib.resources
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any

import numpy as np
import prometheus_client
import pydantic
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

import autolabel_jax
from autolabel_jax.predictor import LoadedPredictor
from autolabel_jax.serving import access, answers, job_routes, uploads
from autolabel_jax.serving import jobs as jobs_lib
from autolabel_jax.serving.batching import Batcher
from autolabel_jax.serving.jobs import Jobs
from autolabel_jax.serving.measured import Measured, Middleware
from autolabel_jax.serving.uploads import Limits

SHOWN = ("input", "class_names", "metrics", "licence", "run", "versions")  # of predictor.json


class Share(pydantic.BaseModel):
    """A class and its calibrated probability."""

    name: str = pydantic.Field(alias="class")
    probability: float


class Prediction(Share):
    """The most probable class, and the most probable classes in their order."""

    top: list[Share]


class Health(pydantic.BaseModel):
    """Says that the service works."""

    status: str


def create(
    predictor: LoadedPredictor,
    *,
    jobs: Jobs | None = None,
    token: str = "",
    top_k: int = 10,
    limits: Limits | None = None,
) -> FastAPI:
    """Makes the application.

    Args:
      predictor: predictor that classifies.
      jobs: jobs to run; None for a service without them.
      token: token that requests below /v1 must bring; '' for a service that is for this machine
        alone.
      top_k: most classes in an answer.
      limits: limits of requests.
    """
    limits, measured = limits or Limits(), Measured()
    batcher = Batcher(predictor, limits.waiting, measured.batch_size.observe)
    measured.inside.set_function(lambda: batcher.inside)
    tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        await asyncio.to_thread(batcher.warm)
        tasks.extend(map(asyncio.create_task, [batcher.run(), *([jobs.run()] if jobs else [])]))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(
        title="autolabel",
        version=autolabel_jax.__version__,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # to a host that the request may choose
    )
    app.state.batcher = batcher
    app.add_middleware(Middleware, measured=measured)
    errors = answers.listed(401 if token else 403)
    guard = [Depends(access.with_token(token) if token else access.from_here)]
    app.include_router(_predictions(predictor, batcher, top_k, limits, errors), dependencies=guard)
    if jobs is not None:
        app.include_router(job_routes.router(jobs, limits, errors), dependencies=guard)
        for state in jobs_lib.STATES:
            measured.jobs.labels(state).set_function(_counting(jobs, state))
    app.include_router(_open(measured, tasks))
    answers.handle(app)
    return app


def _counting(jobs: Jobs, state: str) -> Callable[[], float]:
    return lambda: sum(job.state == state for job in jobs.by_id.values())


def _predictions(
    predictor: LoadedPredictor,
    batcher: Batcher,
    top_k: int,
    limits: Limits,
    errors: Callable[..., dict[int | str, Any]],
) -> APIRouter:
    made = APIRouter(prefix="/v1", tags=["predictions"])

    @made.post(
        "/predict",
        responses=errors(400, 413, 415, 422, 503, 504),
        openapi_extra={"requestBody": uploads.described(predictor)},
    )
    async def predict(request: Request) -> Prediction:
        """Classifies a file (an image or a sound), a text, a row of a table, or numbers."""
        with batcher.place():
            async with asyncio.timeout(limits.seconds):
                content = await uploads.read(request, predictor, limits.num_bytes)
                one = await asyncio.to_thread(uploads.decode, content, predictor, limits.pixels)
                found = await batcher(one)
        if not np.isfinite(found).all():
            raise HTTPException(422, "the probabilities of this input are not finite")
        order = np.argsort(-found, kind="stable")[:top_k].tolist()
        top = [Share(**{"class": predictor.class_names[k], "probability": found[k]}) for k in order]
        return Prediction(**top[0].model_dump(by_alias=True), top=top)

    @made.get("/model", responses=errors())
    async def model() -> dict[str, Any]:
        """Describes the model: its input, classes, metrics, licence and versions."""
        shown = {name: predictor.info.get(name) for name in SHOWN}
        return shown | {
            "calibrator": predictor.info["calibrator"]["name"],
            "takes_pictures": predictor.reads_pictures,
            "takes_sounds": predictor.reads_sounds,
        }

    return made


def _open(measured: Measured, tasks: list[asyncio.Task[None]]) -> APIRouter:
    """Makes the routes that need no token."""
    made = APIRouter()
    text, policy = _page()

    @made.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    @made.get(
        "/healthz", responses={503: {"model": answers.Error, "description": "It does not work."}}
    )
    async def healthz() -> Health:
        """Says whether the service works."""
        if any(task.done() for task in tasks):
            raise HTTPException(503, "a part of the service has ended; see its log, and restart it")
        return Health(status="ok")

    @made.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Returns metrics for Prometheus."""
        return Response(measured.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return made


def _page() -> tuple[str, str]:
    """Returns the page, and the policy that lets nothing but its own script and style run."""
    folder = importlib.resources.files("autolabel_jax.serving")
    text = folder.joinpath("page.html").read_text("utf-8")
    rules = ["default-src 'none'", "connect-src 'self'", "img-src blob:"]
    rules += ["media-src blob:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    for name in ("script", "style"):
        (inside,) = re.findall(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        rules.append(f"{name}-src 'sha256-{digest}'")
    return text, "; ".join(rules)
