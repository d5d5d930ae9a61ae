"""Run files → tables, figures and reports; reads nothing else."""
