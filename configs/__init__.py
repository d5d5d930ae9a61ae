"""One file an experiment; ``get_config(arg)``, where arg 'tiny' makes a one-minute variant."""
