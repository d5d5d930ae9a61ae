"""What ``experiments.sweep`` is made of: which runs, where they run, how they end."""
