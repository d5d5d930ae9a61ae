"""Diagnosis of a trained model and its augmentation: distances moved, affinity, frequencies."""
