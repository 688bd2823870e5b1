"""The secret of a protection: a key file, made once, from which the same protection can be painted again.

Whoever knows the key can draw the same noise or the same filters and take them out again. The figures, the config and
the page of a run do not name it. Its seed does stand in plain text in the workdir (`artefacts/*/manifest.json`), and
checkpoints hold the key made of it: so the workdir of a run with a key file is made its owner's alone (0700), as the
file is (0600). Copy the protected pictures out of it, and nothing else.

How much a key hides differs: `cuda`, `lsp`, `ar`, `noise`, `tap` and (by a network that begins at random) `error_min`,
`bayes_error` and `t2ue` draw from it what they paint, or where it begins. `unlearnable_clusters` as it comes
(`param="direct"`, `start="zeros"`, no augmentation) depends on it only through the order of its batches, and not at all
where one batch holds all pictures: who has the originals and the surrogate makes nearly the same noise with any key
(that of two keys correlates by .98 on 41 pictures; with `t2ue`, whose pairs and surrogate are as public, by .17 on 143
digits painted by captions). What draws nothing from it is refused (`public`).
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import secrets
import stat
from collections.abc import Mapping
from typing import Any

from experiments.check import argument, clear, many
from ue_jax.core.errors import Invalid, require

BYTES, BITS = 32, 62  # of the file; of the seed: what an int64 holds, with its sign, in checkpoints


def key(path: str | os.PathLike) -> int:
  """The seed that a key file stands for; the file is made, readable by its owner alone, if there is none.

  The file holds 64 hexadecimal digits; the seed is the first 62 bits of their SHA-256, below 2**62.

  Raises:
    Invalid: for a file that is none, or cannot be read or made.
  """
  place = pathlib.Path(path)
  try:
    if not place.exists():
      place.parent.mkdir(parents=True, exist_ok=True)
      with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(BYTES) + "\n")
    text = place.read_text(encoding="ascii").strip()
    drawn = bytes.fromhex(text)
  except OSError as error:
    raise Invalid("key_file", str(path), f"it cannot be read or made: {error.strerror}") from None
  except ValueError:
    raise Invalid("key_file", str(path), f"give a file of {2 * BYTES} hexadecimal digits, or a new name") from None
  require(len(drawn) == BYTES, "key_file", str(path), f"it has {len(drawn)} bytes; give one of {BYTES}, or a new name")
  return int.from_bytes(hashlib.sha256(drawn).digest()[:8], "big") >> (64 - BITS)


def private(workdir: pathlib.Path) -> None:
  """Makes the workdir, if it is not there, and bars it to everybody but its owner (0700).

  Raises:
    Invalid: if it cannot be made, or stays open to others.
  """
  try:
    workdir.mkdir(0o700, parents=True, exist_ok=True)
    workdir.chmod(0o700)
    mode = stat.S_IMODE(workdir.stat().st_mode)
  except OSError as error:
    fix = f"the key would be read there, and it cannot be made private: {error.strerror}; choose another folder"
    raise Invalid("workdir", str(workdir), fix) from None
  require(not mode & 0o077, "workdir", str(workdir), "others can read the key there; choose one on another file system")


def public(stage: Mapping[str, Any]) -> str:
  """Why the noise of a `protect` stage does not depend on its key; empty if it does."""
  name, of = stage.get("name"), lambda field: argument("protect", stage, field)
  if name == "protect.cuda" and of("compat") == "numpy":
    return "with compat='numpy' the filters are made from compat_seed, which is public; use compat='jax'"
  if name == "protect.ops":
    return "it draws nothing: whoever has the pictures finds the same pixels"
  if name == "protect.bayes_error" and of("space") == "raw":
    return "with space='raw' it draws nothing but perhaps who votes; use space='features'"
  if name == "protect.tap" and of("start") == "zeros" and of("restarts") == 1 and not of("augment"):
    return "from start='zeros' without an augmentation it draws nothing; use start='uniform'"
  return ""


def applied(config: Mapping[str, Any], path: str) -> dict[str, Any]:
  """The config with the seed of a key file as the one key of its protections; unchanged without a path.

  Raises:
    Invalid: as `key`; for an experiment that protects nothing, has keys of its own, or protects by what does not depend
      on a key.
  """
  if not path:
    return dict(config)
  require("protect" in config, "key_file", path, "leave it out: this experiment protects nothing")
  require("keys" not in config, "config.keys", config.get("keys"), "leave it out: the key file is the key")
  for stage in many(clear(config), "protect").values():
    why = public(stage)
    require(not why, "key_file", path, f"leave it out, or choose another protection than {stage.get('name')}: {why}")
  return {**config, "keys": (key(path),)}
