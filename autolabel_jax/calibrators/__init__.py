"""Calibrators: fitted on held-out logits, applied to the logits of any other set."""
