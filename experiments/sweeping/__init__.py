"""Implements ``experiments.sweep``: chooses runs, executes them, and reports how they ended."""
