"""AR: autoregressive perturbations (Sandoval-Segura, Singla, Geiping, Goldblum, Goldstein, Jacobs; NeurIPS 2022).

Every class has one autoregressive process a channel: a value is a weighted sum of the eight before it in its 3x3
window. A filter of nine taps, the weights with -1 in the last place, gives zero on all noise of its class and on no
other; nothing is optimised and no picture is looked at, so the noise of one data set fits any other.

Departures from the reference: only the borders of a signal are drawn (all else is overwritten), and norms and the
least response are scaled with the size of the pictures: the figures of the paper are for 32x32 with 3 channels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ue_jax.core.errors import require
from ue_jax.core.nouns import Data
from ue_jax.core.procedure import Procedure
from ue_jax.protect import publish
from ue_jax.protect.noise import class_of_each

NORMS = ("l2", "linf")
VALUES = 32 * 32 * 3  # of a picture in the paper
CROP = 4  # rows and columns that are left out, so that borders die away
TRIALS = 3  # signals that a new process is judged by
CANDIDATES = 32  # judged at a time


class State(NamedTuple):
  """`processes` float32 `[classes, 3, 3, c]`; `groups` int32 `[n]`: whose process; `eps`; two options as bools."""

  key: jax.Array
  step: jax.Array
  processes: jax.Array
  found: jax.Array
  groups: jax.Array
  eps: jax.Array
  linf: jax.Array
  floor: jax.Array


class Search(NamedTuple):
  """The processes so far, how many they are, and how many rounds of candidates were judged."""

  processes: jax.Array
  found: jax.Array
  round: jax.Array


def protect(
  eps=1.0,
  norm: str = "l2",
  label: str = "label",
  response: float = 10.0,
  largest: float = 50.0,
  rounds: int = 500,
  permuted: bool = False,
  quantise: str = "round",
) -> Procedure:
  """Adds autoregressive noise to the pictures: Data -> Data.

  Args:
    eps: with `l2`: the L2 norm of a noise picture in units of [0, 1] at 32x32 and 3 channels; at other sizes it is
      scaled with the root of their number of values. With `linf`: the largest value. May be traced.
    norm: `l2` as published, or `linf`, which is weaker.
    label: name of the labelling.
    response: of every earlier process' filter to the signals of a new one, at least; 10 for 10 classes, 3 for 100.
    largest: a process is refused if one of its signals has a larger L2 norm.
    rounds: the search gives up after so many rounds of 32 candidates.
    permuted: True gives every picture the noise of a random class: the control.
    quantise: `round` as in the reference, or `floor`.

  Raises:
    Invalid: for values out of range, (from init) a labelling that is missing or has one class, or (from finish) if the
      search gave up.
  """
  require(norm in NORMS, "protect.norm", norm, f"choose one of {list(NORMS)}")
  publish.check_budget(eps, norm)
  require(response >= 0, "protect.response", response, "give a number from 0")
  require(largest > 0, "protect.largest", largest, "give a number above 0")
  require(isinstance(rounds, int) and rounds > 0, "protect.rounds", rounds, "give a whole number above 0")
  require(quantise in ("round", "floor"), "protect.quantise", quantise, "choose 'round' or 'floor'")

  def init(key, data: Data) -> State:
    publish.set_rows(data, "train")
    key, key_groups, key_search = jax.random.split(key, 3)  # with the first, every picture's index makes a key
    groups, classes = class_of_each(data, label, key_groups, permuted)
    shape = data.arrays["image"].shape[1:]
    done = search(key_search, classes, shape, response, largest, rounds)
    budget = jnp.asarray(eps, jnp.float32)
    options = jnp.asarray(norm == "linf"), jnp.asarray(quantise == "floor")
    return State(key, jnp.int32(0), done.processes, done.found, groups, budget, *options)

  def step(state: State, batch, axis=None):
    del batch, axis
    return state._replace(step=state.step + 1), {}

  def finish(state: State, data: Data) -> Data:
    noise = noise_of(state, data)
    return publish.publish(data, lambda image, rows: publish.noised(image, *noise(rows)), quantise="none")

  return Procedure(init, step, finish, steps=0)


@functools.partial(jax.jit, static_argnames=("classes", "shape"))
def search(key: jax.Array, classes: int, shape: tuple[int, int, int], response=10.0, largest=50.0, rounds=500):
  """Processes that stay small and whose filters tell each other's signals apart.

  A candidate is refused if one of three signals is larger than `largest` in L2 norm (scaled with the size) or not
  finite, or if the filter of a process found before responds with less than `response` (scaled, too) to one of them.
  Of each round the first that passes is taken.
  """
  scale = np.prod(shape) / VALUES
  apart = jax.vmap(jax.vmap(respond, (None, 0)), (0, None))  # [signals] x [processes]

  def going(state: Search):
    return (state.found < classes) & (state.round < rounds)

  def judged(state: Search, signals):
    """Of one candidate's signals `[3, h, w, c]`."""
    size = jnp.sqrt(jnp.sum(signals * signals, (1, 2, 3), keepdims=True))
    small = jnp.all(jnp.isfinite(size) & (size <= largest * np.float32(np.sqrt(scale))) & (size > 0))
    known = jnp.arange(classes) < state.found
    responses = apart(jnp.where(small, signals, 0), state.processes)
    return small & jnp.all(jnp.where(known, responses, jnp.inf) >= response * np.float32(scale))

  def body(state: Search) -> Search:
    key_round = jax.random.fold_in(key, state.round)
    drawn = jax.vmap(lambda i: process(jax.random.fold_in(key_round, i), shape[2]))(jnp.arange(CANDIDATES))
    keys = jax.random.split(jax.random.fold_in(key_round, CANDIDATES), (CANDIDATES, TRIALS))
    signals = jax.vmap(lambda ks, p: jax.vmap(lambda k: signal(k, p, shape[:2]))(ks))(keys, drawn)
    good = jax.vmap(lambda s: judged(state, s))(signals)
    taken = state.processes.at[state.found].set(drawn[jnp.argmax(good)])
    any_good = jnp.any(good)
    processes = jnp.where(any_good, taken, state.processes)
    return Search(processes, state.found + any_good.astype(jnp.int32), state.round + 1)

  start = Search(jnp.zeros((classes, 3, 3, shape[2]), jnp.float32), jnp.int32(0), jnp.int32(0))
  return jax.lax.while_loop(going, body, start)


@functools.partial(jax.jit, static_argnames="channels")
def process(key: jax.Array, channels: int) -> jax.Array:
  """Random weights `[3, 3, c]`: Gaussian over their sum, 0 in the last place."""
  drawn = jax.random.normal(key, (9, channels), jnp.float32).at[8].set(0)
  return (drawn / jnp.sum(drawn, 0)).reshape(3, 3, channels)


@functools.partial(jax.jit, static_argnames="size")
def signal(key: jax.Array, weights: jax.Array, size: tuple[int, int]) -> jax.Array:
  """One autoregressive signal, float32 `[h, w, c]`, not scaled.

  The two first rows and columns of a picture larger by `CROP` are Gaussian, then value [i, j] is the sum of
  `weights` `[3, 3, c]` times the window that ends there. A scan over rows holds the last two; what they give to the
  next is summed for the whole row, then a scan along the row adds the two values before each.
  """
  h, w, channels = size[0] + CROP, size[1] + CROP, weights.shape[-1]
  key_top, key_side = jax.random.split(key)
  top = jax.random.normal(key_top, (2, w, channels), jnp.float32)
  side = jax.random.normal(key_side, (h - 2, 2, channels), jnp.float32)

  def row(above, first):
    given = sum(weights[a, b] * above[a][b : b + w - 2] for a in range(2) for b in range(3))

    def along(last, value):
      new = value + weights[2, 0] * last[0] + weights[2, 1] * last[1]
      return (last[1], new), new

    rest = jax.lax.scan(along, (first[0], first[1]), given)[1]
    whole = jnp.concatenate([first, rest])
    return (above[1], whole), whole

  rows = jax.lax.scan(row, (top[0], top[1]), side)[1]
  return rows[CROP - 2 :, CROP:]


def filtered(x: jax.Array, weights: jax.Array) -> jax.Array:
  """The filter of a process over `[h, w, c]`, each channel by itself: `[h - 2, w - 2, c]`, 0 on its own noise."""
  taps = weights.at[2, 2].set(-1)
  h, w = x.shape[0] - 2, x.shape[1] - 2
  return sum(taps[a, b] * x[a : a + h, b : b + w] for a in range(3) for b in range(3))


def respond(x: jax.Array, weights: jax.Array) -> jax.Array:
  """The response of a process' filter, float32 scalar: channels added, cut at zero, summed over the picture."""
  return jnp.sum(jax.nn.relu(jnp.sum(filtered(x, weights), -1)))


@functools.partial(jax.jit, static_argnames="shape")
def patterns(key, index, weights, eps, linf, shape: tuple[int, int, int]) -> jax.Array:
  """The noise of pictures, float32 `[b, h, w, c]` in units of [0, 1], before rounding and clipping.

  Args:
    key: with `index` int32 `[b]` it names each picture's signal.
    weights: float32 `[b, 3, 3, c]`.
    eps, linf: the budget and whether it is that of the largest value; may be traced.
    shape: `(h, w, c)`.
  """
  made = jax.vmap(lambda i, p: signal(jax.random.fold_in(key, i), p, shape[:2]))(index, weights)
  made = made / jnp.max(jnp.abs(made), (1, 2, 3), keepdims=True)  # squares of large values would be infinite
  l2 = jnp.sqrt(jnp.sum(made * made, (1, 2, 3), keepdims=True))
  return made * jnp.where(linf, eps, eps * np.sqrt(np.prod(shape) / VALUES).astype(np.float32) / l2)


def noise_of(state: State, data: Data) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
  """`fn(rows)`: the noise of rows of `data`, float32 `[b, h, w, c]`, and in whole grey levels, int16.

  Raises:
    Invalid: if the search did not find a process for every class.
  """
  processes, found = np.asarray(state.processes), int(state.found)
  why = f"the search found {found}; use fewer classes, a smaller response or more rounds"
  require(found == len(processes), "protect.rounds", f"{len(processes)} processes", why)
  groups, index = np.asarray(state.groups), np.asarray(data.arrays["index"], np.int32)
  shape, eps = data.arrays["image"].shape[1:], float(state.eps)
  norm, quantise = "linf" if state.linf else "l2", "floor" if state.floor else "round"

  def noise(rows):
    """As crafted, and in grey levels."""
    delta = patterns(state.key, index[rows], processes[groups[rows]], state.eps, state.linf, shape)
    return np.asarray(delta), publish.levels(delta, eps, norm, quantise)

  return noise


def painter(state: State, data: Data) -> Callable[[np.ndarray, int], np.ndarray]:
  """`fn(picture, row)` for pictures of any size: the noise of that row of `data`, stretched to the picture.

  It is made at the crafted size and stretched by nearest neighbour, which its filter does not survive: that finds the
  class again only where a thief resizes the pictures back to the crafted size (measured on four classes crafted at 64
  pixels: all of them for a thief at 64, .39 to .53 for one at 224, where .25 is chance).

  Returns:
    A function of a picture `[height, width, channels]` (uint8, or float in [0, 1]) and its row, to uint8.
  """
  noise = noise_of(state, data)
  return lambda picture, row: publish.paint_levels(picture, noise(np.asarray([row]))[1][0])
