"""distill: a corpus and an LLM in, a small embedding model out, measured against its teacher."""

import os

__version__ = "0.1.0"

# Where another process wants the same cores, OpenMP's threads spin waiting for one another and
# small matrix products become an order of magnitude slower. Waiting passively costs about a fifth
# of their speed where the cores are free: OMP_WAIT_POLICY=ACTIVE, set outside, takes it back.
# OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
