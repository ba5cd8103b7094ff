import networkx as nx
import numpy as np

from archrep.cells import get_space
from archrep.predictors.structure import structure_features


def test_longest_and_shortest_paths_are_those_of_networkx():
    space = get_space("nasbench101")
    cells = space.enumerate()[np.arange(0, 423_624, 9001)]
    found = structure_features(space, cells)
    longest, shortest = [], []
    for row in range(len(cells)):
        last = int(cells.num_nodes[row]) - 1
        graph = nx.from_numpy_array(cells.adjacency[row], create_using=nx.DiGraph)
        paths = [len(p) - 2 for p in nx.all_simple_paths(graph, 0, last)]
        longest.append(max(paths))
        shortest.append(min(paths))
    for column, wanted in zip(found.T[:2], (longest, shortest), strict=True):
        wanted = np.array(wanted, float)
        np.testing.assert_allclose(column, (wanted - wanted.mean()) / wanted.std(), atol=1e-12)


def test_every_column_has_deviation_one():
    space = get_space("nasbench201")
    features = structure_features(space, space.enumerate())
    np.testing.assert_allclose(features.std(0), 1)
    assert np.isfinite(features).all()
