"""The commands that run what `configs/` describe."""

import os

# The small products of NumPy and SciPy (probes, L-BFGS) are slower on many threads, which wait for each other in busy
# loops: ten times as slow where others use the cores. Read when NumPy is first imported: later, in `python -m`.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
