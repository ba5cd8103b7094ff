"""Random graphs and an isomorphism oracle that shares no code with archrep."""

from __future__ import annotations

import networkx
import numpy as np
import pytest

from archrep.cells import Cell


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def random_order():
    """Function (cell, rng): a random topological order of the nodes of a cell."""

    def draw(cell: Cell, rng: np.random.Generator) -> list[int]:
        order: list[int] = []
        while len(order) < len(cell):
            free = [
                v
                for v in range(len(cell))
                if v not in order and set(cell.predecessors(v)) <= set(order)
            ]
            order.append(int(rng.choice(free)))
        return order

    return draw


@pytest.fixture(scope="session")
def random_dag():
    """Function (rng, nodes, ops): a labelled DAG of no search space, half of its edges present."""

    def draw(rng: np.random.Generator, nodes: int, ops: str = "ab") -> Cell:
        matrix = np.triu(rng.integers(0, 2, (nodes, nodes)), 1)
        return Cell.from_matrix(matrix, rng.choice(list(ops), nodes))

    return draw


@pytest.fixture(scope="session")
def isomorphic():
    """Function (first, second): the answer of networkx."""

    def ask(first: Cell, second: Cell) -> bool:
        graphs = first.to_networkx(), second.to_networkx()
        return networkx.is_isomorphic(*graphs, node_match=lambda a, b: a["op"] == b["op"])

    return ask


@pytest.fixture
def measured():
    """Function (network, image_size): multiply-adds by kind of layer, and parameters, by running.

    Convolutions and linear layers count their products; the second number is what the counter thop
    adds, two for each element of a batch norm and ten for each output of 3 x 3 average pooling.
    """
    import torch
    from torch import nn

    def run(network: nn.Module, image_size: int) -> tuple[int, int, int]:
        counts = {"products": 0, "thop": 0}

        def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                counts["products"] += module.weight[0].numel() * out[0].numel()
            else:
                counts["thop"] += (2 if isinstance(module, nn.BatchNorm2d) else 10) * out[0].numel()

        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)) or (
                isinstance(module, nn.AvgPool2d) and module.kernel_size == 3
            ):
                module.register_forward_hook(count)
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, image_size, image_size))
        params = sum(p.numel() for p in network.parameters())
        return counts["products"], counts["thop"], params

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # quicker for tiny networks, and on busy machines
    yield run
    torch.set_num_threads(threads)
