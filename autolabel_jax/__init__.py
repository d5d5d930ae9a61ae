"""AutoLabel in JAX: labels for augmented images, learned from calibration.

The folder list is the data path, see docs/layout.md.
"""

__version__ = "0.1.0"
# Raised when a change moves bits of a run: runs compare when config and this number agree.
NUMERICS_VERSION = 2
