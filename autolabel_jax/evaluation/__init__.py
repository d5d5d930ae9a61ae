"""Evaluators of a trained model, one a file: (predictor, data) → metrics.

- ``predict``: logits of a split; ``Predictor``, a trained model with its scaling.
- ``scaling``: logits → logits after each calibrator, by the suffix of their metrics' names.
- ``clean``: metrics of the test split, their intervals and resamples.
- ``held_out``: clean and moved calibration images, on which calibrators are fitted.
- ``calibrated``: metrics of every calibrator, on clean and corrupted test images.
- ``corrupted``, ``published``: one corrupted set, made on the device or read from a folder.
- ``ood``: how well scores tell the test split from other data sets and noise.
- ``attacked``: test images under one attack, in chunks.
- ``run``: plans these units, and evaluates those that the ``ledger`` lacks.
- ``summary``: finished units → what ``result.json`` gets.

Training imports ``clean``, ``predict`` and ``scaling`` alone, so that it needs no attack and no
corruption. Nothing is imported here for that reason.
"""
