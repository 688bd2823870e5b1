"""The steps of EM and TAP in plain PyTorch, for `benchmarks.learned`; imported only where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


class Network(torch.nn.Module):
  """`models.cnn` with a flat head and inputs in [-1, 1], from its parameters."""

  def __init__(self, params, widths):
    super().__init__()
    self.depth = len(widths)
    for i in range(self.depth):
      layer = params[f"block_{i}"]
      self.register_parameter(f"kernel_{i}", _parameter(layer["kernel"]))
      self.register_parameter(f"bias_{i}", _parameter(layer["bias"]))
    self.kernel, self.bias = _parameter(params["head"]["kernel"]), _parameter(params["head"]["bias"])

  def forward(self, x):  # [b, c, h, w] in [0, 1]
    x = 2 * x - 1
    for i in range(self.depth):  # "SAME" at stride 2 pads the far side of even pictures only
      x = F.pad(x, (0, 1, 0, 1))
      x = F.relu(F.conv2d(x, getattr(self, f"kernel_{i}"), getattr(self, f"bias_{i}"), stride=2))
    return F.linear(x.permute(0, 2, 3, 1).flatten(1), self.kernel, self.bias)


class ErrorMin:
  """Sample-wise EM: `turns` signed steps of the noise of a batch, then a step of SGD on the noisy batch."""

  def __init__(self, params, widths, shape, eps, size, turns, rate):
    self.net, self.eps, self.size, self.turns = Network(params, widths), eps, size, turns
    self.noise = torch.zeros(shape[0], *shape[1:])
    self.sgd = torch.optim.SGD(self.net.parameters(), lr=rate)

  def step(self, noise, batch):
    rows = torch.from_numpy(np.asarray(batch["row"], np.int64))
    x, y = _pictures(batch["image"]), torch.from_numpy(np.asarray(batch["label"], np.int64))
    delta = noise[rows].permute(0, 3, 1, 2)
    for _ in range(self.turns):
      delta = _move(self.net, x, delta, y, self.size, self.eps)
    noise[rows] = delta.permute(0, 2, 3, 1)
    self.sgd.zero_grad()
    F.cross_entropy(self.net(torch.clip(x + delta, 0, 1)), y).backward()
    self.sgd.step()
    return noise


class Targeted:
  """TAP towards the next class, against a frozen network."""

  def __init__(self, params, widths, image, label, eps, size, turns):
    self.net, self.eps, self.size, self.count = Network(params, widths).requires_grad_(False), eps, size, turns
    self.x, self.y = _pictures(image), (torch.from_numpy(np.asarray(label, np.int64)) + 1) % 10
    self.noise = torch.zeros(*image.shape)

  def turns(self, noise):
    delta = noise.permute(0, 3, 1, 2)
    for _ in range(self.count):
      delta = torch.clip(self.x + _move(self.net, self.x, delta, self.y, self.size, self.eps), 0, 1) - self.x
    return delta.permute(0, 2, 3, 1)


def _move(net, x, delta, y, size, eps):
  """A signed step down the cross entropy, whose gradient is that at the picture which is shown, cut to the budget."""
  shown = torch.clip(x + delta, 0, 1).detach().requires_grad_(True)
  (slope,) = torch.autograd.grad(F.cross_entropy(net(shown), y), shown)
  return torch.clip(delta.detach() - size * slope.sign(), -eps, eps)


def _pictures(image):
  return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(0, 3, 1, 2).contiguous()


def _parameter(array):
  """A flax kernel in PyTorch's order: `[h, w, in, out]` to `[out, in, h, w]`, `[in, out]` to `[out, in]`."""
  array = np.asarray(array, np.float32)
  array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T if array.ndim == 2 else array
  return torch.nn.Parameter(torch.from_numpy(array.copy()))
