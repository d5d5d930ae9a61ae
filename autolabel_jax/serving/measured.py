"""Counts and times requests for Prometheus."""

import time
from typing import Any

import prometheus_client
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
NO_ROUTE = "none"


class Measured:
    """Holds the metrics of one service."""

    def __init__(self):
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        own: dict[str, Any] = {"registry": self.registry, "namespace": "autolabel"}
        self.requests = prometheus_client.Counter(
            "requests", "requests by route and status", ["route", "status"], **own
        )
        self.seconds = prometheus_client.Histogram(
            "request_seconds", "time to an answer", ["route"], buckets=SECONDS, **own
        )
        self.batch_size = prometheus_client.Histogram(
            "batch_size", "inputs in a call of the predictor", buckets=SIZES, **own
        )
        self.inside = prometheus_client.Gauge(
            "predictions_inside", "requests for predictions now", **own
        )
        self.jobs = prometheus_client.Gauge("jobs", "jobs by state", ["state"], **own)

    def text(self) -> bytes:
        """Returns the metrics in the text format of Prometheus."""
        return prometheus_client.generate_latest(self.registry)


class Middleware:
    """Measures each request, and forbids browsers to guess types.

    Args:
      app: application that answers.
      measured: metrics to write to.
    """

    def __init__(self, app: ASGIApp, measured: Measured):
        self._app, self._measured = app, measured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            self._measured.requests.labels(route, status).inc()
            self._measured.seconds.labels(route).observe(time.perf_counter() - start)
