"""What the server of ``faults.start`` imports: all that is slow, and defines no program's flags."""

import experiments.launch  # noqa: F401
import experiments.reporting.catalogue  # noqa: F401
import experiments.reporting.summary  # noqa: F401
from autolabel_jax import train, trained  # noqa: F401
from configs import base  # noqa: F401
