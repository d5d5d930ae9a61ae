"""What ``experiments.diagnose`` is made of: its parts, their tables and figures."""
