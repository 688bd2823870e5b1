"""The clustering engine beside its peers: one table of ratios.

    nice -n -10 python -m benchmarks.cluster [--devices 2] [--small]

k-means beside scikit-learn and faiss, k-medoids beside `kmedoids`, mixtures and spectral clustering beside
scikit-learn; what is compared, and how, stands in `benchmarks/{k_means,k_medoids,mixtures}.py`, which run alone, too.
Peers run in the same process, warm; `cold` in the notes is our first call, with compilation. `--devices 2` cuts the
work over two virtual CPU devices, so that loops use both cores; a user who sets nothing has one.
"""

from __future__ import annotations

import argparse

import jax


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--devices", type=int, default=1)
  parser.add_argument("--small", action="store_true", help="a tenth of the sizes, to see that it runs")
  options = parser.parse_args()
  if options.devices > 1:
    jax.config.update("jax_num_cpu_devices", options.devices)
  from benchmarks import k_means, k_medoids, mixtures
  from ue_jax.report import tables

  lines = [line for part in (k_means, k_medoids, mixtures) for line in part.rows(options.small)]
  print(tables.text(list(k_means.HEADER), [list(line) for line in lines]))


if __name__ == "__main__":
  main()
