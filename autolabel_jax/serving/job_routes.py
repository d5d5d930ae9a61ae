"""The routes of jobs: /v1/jobs."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.responses import FileResponse

from autolabel_jax.serving import jobs as jobs_lib
from autolabel_jax.serving import uploads
from autolabel_jax.serving.jobs import Asked, Job, Jobs
from autolabel_jax.serving.uploads import Limits

PARQUET = "application/vnd.apache.parquet"
Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
BODY = {"required": True, "content": {uploads.JSON: {"schema": Asked.model_json_schema()}}}


def router(jobs: Jobs, limits: Limits, errors: Callable[..., dict[int | str, Any]]) -> APIRouter:
    """Makes the routes.

    Args:
      jobs: the jobs.
      limits: limits of requests.
      errors: function of status codes that describes them for OpenAPI.
    """
    made = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    def found(job_id: str) -> Job:
        if job_id not in jobs.by_id:
            raise HTTPException(404, f"there is no job {job_id}")
        return jobs.by_id[job_id]

    @made.post(
        "",
        status_code=202,
        responses=errors(400, 403, 413, 415, 422, 503, 504),
        openapi_extra={"requestBody": BODY},
    )
    async def submit(request: Request) -> Job:
        """Learns labels and a model from a manifest below the data root."""
        async with asyncio.timeout(limits.seconds):
            value = await uploads.read_json(request, limits.num_bytes)
            try:
                return await jobs.submit(uploads.parse(Asked, value))
            except jobs_lib.OutsideError as error:
                raise HTTPException(403, str(error)) from error
            except (ValueError, OSError) as error:
                raise HTTPException(422, str(error)) from error

    @made.get("", responses=errors())
    async def listed() -> list[Job]:
        """Lists the jobs, the oldest first."""
        return list(jobs.by_id.values())

    @made.get("/{job_id}", responses=errors(404, 422))
    async def show(job_id: Id) -> Job:
        """Returns a job with its state."""
        return found(job_id)

    @made.delete("/{job_id}", status_code=204, responses=errors(404, 422))
    async def delete(job_id: Id) -> Response:
        """Stops a job, and removes all its files."""
        await jobs.delete(found(job_id))
        return Response(status_code=204)

    @made.get(
        "/{job_id}/labels.parquet",
        response_class=FileResponse,
        responses=errors(404, 409, 422) | {200: {"content": {PARQUET: {}}}},
    )
    async def labels(job_id: Id) -> FileResponse:
        """Returns the labels of a finished job."""
        job = found(job_id)
        if job.state != "finished":
            raise HTTPException(409, f"job {job_id} is {job.state}; it has no labels")
        return FileResponse(jobs.path(job, jobs_lib.LABELS), media_type=PARQUET)

    return made
