"""AutoLabel in JAX: labels for augmented images, learned from calibration.

The folder list is the data path; see README.md.
"""

__version__ = "0.1.0"
