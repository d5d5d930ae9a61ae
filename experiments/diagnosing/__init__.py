"""Provides the parts of ``experiments.diagnose``, with their tables and figures."""
