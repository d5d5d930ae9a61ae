"""Makes tables, figures and reports from the files of runs alone."""
