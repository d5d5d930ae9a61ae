"""Holds one experiment per file; ``get_config('tiny')`` makes a variant that runs in a minute."""
