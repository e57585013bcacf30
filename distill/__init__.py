"""distill: a corpus and an LLM in, a small embedding model out, measured against its teacher."""

import os

__version__ = "0.1.0"

# Where another process wants the same cores, OpenMP's threads spin waiting for one another and
# small matrix products become an order of magnitude slower. Waiting passively costs next to
# nothing where they do not. OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
