"""The command ``autolabel``, for data of one's own; research runs are started by ``experiments``.

Each command is a file with ``add_arguments`` and ``run``. ``main`` lists them, and imports only the
one that is called, so that ``predict`` starts in about a second.
"""
