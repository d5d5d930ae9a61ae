"""The HTTP service of ``autolabel serve``: classifies inputs, and runs jobs one at a time.

- ``app``: the application: predictions, the model, health, metrics and the page.
- ``job_routes``: the routes of jobs.
- ``access``, ``answers``: who may call a route, and how errors are answered.
- ``measured``: metrics for Prometheus.
- ``uploads``: limits of a request, and a request → an input of the predictor.
- ``batching``: inputs of several requests → one call of the predictor.
- ``jobs``: manifests below a folder → labels and predictors; ``job_processes`` starts and ends the
  processes.

FastAPI, uvicorn, prometheus-client and python-multipart are in the extra ``[serve]``.
"""
