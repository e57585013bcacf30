"""What some libraries do when they are first used, done at the import of this module: the server
from which processes are forked imports it, and each of them would take a second or two for it.

None of it starts a thread, which a forked process would lack.
"""

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from distill.report.plots.curves import draw_curves
from distill.text.languages import open_identifier

open_identifier()  # unpacks its tables
get_checkpoint_conversion_mapping("bert")  # compiles the names of all models' weights
draw_curves([{"step": step, "loss": 1 / step} for step in range(1, 40)])  # finds its fonts
