"""One network at a time, as in the code of NAS-Bench-201: what a batched one must equal."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from archrep.cells.nasbench201 import OFFICIAL_EDGES


class ReferenceCell(nn.Module):
    """Feature-map nodes with operations on edges; every edge is computed."""

    def __init__(self, ops, channels):
        super().__init__()
        self.ops = ops
        # Numbered like the nodes of a `Cell`.
        self.edges = nn.ModuleDict({str(k + 1): _edge(op, channels) for k, op in enumerate(ops)})

    def forward(self, images):
        nodes = [images]
        for target in (1, 2, 3):
            terms = []
            for k, (source, end) in enumerate(OFFICIAL_EDGES):
                if end == target:
                    term = self.edges[str(k + 1)](nodes[source])
                    terms.append(term * 0.0 if self.ops[k] == "none" else term)
            nodes.append(sum(terms))
        return nodes[3]


class ReferenceNetwork(nn.Module):
    def __init__(self, cell, channels, cells_per_stage, classes):
        super().__init__()
        self.stem = _conv_bn(1, channels[0])
        self.cells = nn.ModuleList(
            ReferenceCell(cell.ops[1:7], width)
            for width in channels
            for _ in range(cells_per_stage)
        )
        self.reductions = nn.ModuleList(
            ReferenceReduction(c, d) for c, d in itertools.pairwise(channels)
        )
        last = channels[-1]
        self.head = nn.Sequential(
            nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(last, classes, 1)
        )
        self.cells_per_stage = cells_per_stage

    def forward(self, images):
        features = self.stem(images)
        for n, cell in enumerate(self.cells):
            if n and n % self.cells_per_stage == 0:
                features = self.reductions[n // self.cells_per_stage - 1](features)
            features = cell(features)
        return self.head(features).flatten(1)

    def load(self, weights):
        """Take the weights of one network of a batch; those of dead edges stay as they are."""
        own = {reference_name(name): weight for name, weight in weights.items()}
        assert not self.load_state_dict(own, strict=False).unexpected_keys
        return self


class ReferenceReduction(nn.Module):
    def __init__(self, channels, outputs):
        super().__init__()
        self.first = _relu_conv_bn(channels, outputs, 3, 2)
        self.second = _relu_conv_bn(outputs, outputs, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, outputs, 1, bias=False))

    def forward(self, images):
        return self.shortcut(images) + self.second(self.first(images))


def reference_name(name):
    """What a weight of a `NetworkBatch` is called here."""
    if not name.startswith("cells."):
        return name
    _, place, node, *rest = name.split(".")
    return ".".join(["cells", place, "edges", node, *rest])


def _conv_bn(channels, outputs):
    conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _relu_conv_bn(channels, outputs, kernel, stride=1):
    conv = nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(outputs))


def _edge(op, channels):
    return {
        "none": lambda: nn.Identity(),
        "skip_connect": lambda: nn.Identity(),
        "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        "nor_conv_1x1": lambda: _relu_conv_bn(channels, channels, 1),
        "nor_conv_3x3": lambda: _relu_conv_bn(channels, channels, 3),
    }[op]()


def train(network, steps, learning_rate, momentum, weight_decay):
    """One step of Nesterov SGD, its rate falling along a cosine, on each (images, labels)."""
    optimizer = torch.optim.SGD(
        network.parameters(), learning_rate, momentum, weight_decay=weight_decay, nesterov=True
    )
    network.train()
    for step, (images, labels) in enumerate(steps):
        rate = 0.5 * learning_rate * (1 + math.cos(math.pi * step / len(steps)))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(network, images, labels):
    network.eval()
    return (network(images).argmax(1) == labels).float().mean().item()
