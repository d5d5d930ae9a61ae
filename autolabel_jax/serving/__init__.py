"""The HTTP service of ``autolabel serve``: classifies inputs, and runs jobs one at a time.

- ``app``: the routes of predictions, their errors, and the page.
- ``job_routes``: the routes of jobs.
- ``measured``: metrics for Prometheus.
- ``uploads``: limits of a request, and a request → an input of the predictor.
- ``batching``: inputs of several requests → one call of the predictor.
- ``jobs``: manifests below a folder → labels and predictors, in processes of their own.

FastAPI, uvicorn, prometheus-client and python-multipart are in the extra ``[serve]``.
"""
