"""How good an encoder is, in exact terms; the definitions of 2020 stand beside the strict ones.

Reconstruction is measured on held-out cells; validity on prior draws, scaled to the training
latents (Yan et al., 2020, Appendix B). "Strict" means that the decoded graph is a legal cell as it
stands: nothing is pruned, and the adjacency counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr
from torch import Tensor

from archrep.cells.array import PAD, CellArray, node_pairs
from archrep.cells.cell import Cell
from archrep.cells.space import Space
from archrep.encoder.decoder import Decoded
from archrep.encoder.models import Autoencoder
from archrep.graphs import GraphBatch, PackedGraphs, dense_batch, unpack_decoded
from archrep.seeding import torch_stream
from archrep.walks import distances_along_walk

PRIOR_DRAWS = 10_000
"""Draws from the prior, as in the paper."""

CANDIDATES = 256
"""Cells considered for one latent by verified decoding."""

CANDIDATES_IN_ALL = 100_000
"""Bound on the candidates of one call here, so that measuring a poor model ends soon."""

SAME_EMBEDDING = 1e-4
"""Two embeddings are the same if they are no farther apart than this, in units of the mean standard
deviation of a dimension; float32 rounding stays a hundred times below it."""


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation of training latents, each of the model's latent shape."""

    mean: Tensor
    std: Tensor


def evaluate(
    model: Autoencoder,
    space: Space,
    cells: CellArray,
    train_rows: np.ndarray,
    held_rows: np.ndarray,
    embeddings: np.ndarray,
    *,
    seed: int,
    batch_size: int = 2048,
) -> dict[str, float | int | None]:
    """All metrics of a trained model; `docs/pretrain.md` defines each.

    Args:
        model: In evaluation mode.
        space: The space of the cells.
        cells: All cells of the run.
        train_rows: Rows it was trained on.
        held_rows: Rows it never saw.
        embeddings: Embeddings of all cells, `[N, D]`.
        seed: Of the prior draws and the walk.
        batch_size: Cells at a time.
    """
    graphs = PackedGraphs(cells, next(model.parameters()).device)
    figures: dict[str, float | int | None] = {}
    figures |= reconstruction(model, space, cells, graphs, held_rows, batch_size)
    if model.decodes_embeddings:  # then the embeddings are the latents
        latents = torch.from_numpy(embeddings[train_rows]).to(graphs.ops.device)
        statistics = LatentStatistics(latents.mean(0), latents.std(0))
    else:
        statistics = latent_statistics(model, graphs, train_rows, batch_size)
    figures |= prior_samples(model, space, statistics, cells[train_rows], seed)
    figures["distinct_embeddings"] = distinct_rows(embeddings)
    figures["smoothness"] = smoothness(model, space, seed)
    return figures


def _batched(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]


@torch.no_grad()
def latent_statistics(
    model: Autoencoder, graphs: PackedGraphs, rows: np.ndarray, batch_size: int = 2048
) -> LatentStatistics:
    """Statistics of the posterior means over `rows`, in one pass and constant memory."""
    total = torch.zeros(model.latent_shape, dtype=torch.float64, device=graphs.ops.device)
    squares = torch.zeros_like(total)
    for part in _batched(rows, batch_size):
        latents = model.latents(graphs.batch(torch.from_numpy(part))).double()
        total += latents.sum(0)
        squares += latents.square().sum(0)
    mean = total / len(rows)
    std = (squares / len(rows) - mean.square()).clamp(min=0).sqrt()
    return LatentStatistics(mean.float(), std.float())


def reconstruction(
    model: Autoencoder,
    space: Space,
    cells: CellArray,
    graphs: PackedGraphs,
    rows: np.ndarray,
    batch_size: int = 2048,
) -> dict[str, float | int | None]:
    """How faithfully cells come back from their latents.

    Returns:
        `whole_graph_accuracy`: share of cells that come back as the same graph, all operations and
        edges right. `whole_graph_accuracy_verified`: the same with `verified_decode`, or `None` if
        the latent is not of the whole cell. `entry_accuracy`: share of right entries among the
        operations of real nodes and the pairs of real nodes. `ops_accuracy_2020` and
        `adjacency_accuracy_2020`: the two figures of the authors' code, which count padding too.
    """
    whole = verified = entries = right = ops_2020 = edges_2020 = 0
    for part in _batched(rows, batch_size):
        batch, truth = graphs.batch(torch.from_numpy(part)), cells[part]
        latents = model.latents(batch)
        raw = model.decode(latents)
        decoded = raw if model.decodes_embeddings else _only_real_nodes(raw, batch)
        same = _same_cells(decoded, truth)
        whole += int(same.sum())
        if model.decodes_embeddings and not same.all():
            # A cell that comes back right encodes to its latent, so checking it changes nothing.
            wrong = np.flatnonzero(~same)
            hard = latents[torch.from_numpy(wrong)]
            tries = _affordable(hard)
            best, _ = verified_decode(
                model, space, hard, candidates=tries, refine=tries == CANDIDATES
            )
            verified += int(_same_cells(best, truth[wrong]).sum())
        upper = torch.ones_like(batch.adjacency).triu(1).bool()
        real_pairs = upper & batch.mask[:, :, None] & batch.mask[:, None, :]
        ops_right = decoded.ops == batch.ops
        edges_right = decoded.adjacency == batch.adjacency
        right += int((ops_right & batch.mask).sum() + (edges_right & real_pairs).sum())
        entries += int(batch.mask.sum() + real_pairs.sum())
        # The authors compare argmax with argmax: an all-zero padding row counts as class 0.
        target = torch.where(batch.mask, batch.ops, 0)
        ops_2020 += int((torch.where(raw.ops < batch.num_ops, raw.ops, 0) == target).sum())
        edges_2020 += int(((raw.adjacency == batch.adjacency) & upper).sum())
    nodes, pairs = cells.max_nodes, len(node_pairs(cells.max_nodes))
    return {
        "whole_graph_accuracy": whole / len(rows),
        "whole_graph_accuracy_verified": (
            (whole + verified) / len(rows) if model.decodes_embeddings else None
        ),
        "entry_accuracy": right / entries,
        "ops_accuracy_2020": ops_2020 / (len(rows) * nodes),
        "adjacency_accuracy_2020": edges_2020 / (len(rows) * pairs),
    }


def _only_real_nodes(decoded: Decoded, batch: GraphBatch) -> Decoded:
    """Node latents cannot say which slots are padding: take that from the cell itself."""
    mask = batch.mask
    ops = torch.where(mask, decoded.ops, batch.num_ops)
    return Decoded(ops, decoded.adjacency * mask[:, :, None] * mask[:, None, :])


def _same_cells(decoded: Decoded, truth: CellArray) -> np.ndarray:
    """Whether each decoded graph is the true cell, in whatever node order, `[B]`."""
    graphs = unpack_decoded(decoded.ops, decoded.adjacency, truth.vocabulary)
    same = (graphs.ops == truth.ops).all(1) & (graphs.adjacency_bits == truth.adjacency_bits)
    rest = np.flatnonzero(~same)
    if len(rest):
        same[rest] = graphs[rest].colour_hash() == truth[rest].colour_hash()
    return same


@torch.no_grad()
def verified_decode(
    model: Autoencoder,
    space: Space,
    latents: Tensor,
    *,
    candidates: int = CANDIDATES,
    refine: bool = False,
    until_legal: bool = False,
    seed: int = 0,
) -> tuple[Decoded, np.ndarray]:
    """Decode each latent several times and keep what encodes closest to it.

    The likeliest cell and draws from the decoder's distribution are encoded again; of those that
    are legal in `space`, the one nearest to the latent wins. A latent whose cell encodes to itself
    needs no more.

    Args:
        model: One whose latent is of the whole cell.
        space: Says what is legal.
        latents: `[B, D]`.
        candidates: Cells considered for each latent.
        refine: Then step from neighbour to neighbour of the winner as long as that leads closer;
            some 50 ms a latent.
        until_legal: Take the first legal candidate rather than the nearest.
        seed: Of the draws.

    Returns:
        The cells, and whether each is legal `[B]` (if no candidate was, the likeliest stands).
    """
    generator = torch_stream(seed, "verified decoding", str(latents.device))
    best = model.decode(latents)
    ops, adjacency = best.ops.clone(), best.adjacency.clone()
    distance = torch.full((len(latents),), torch.inf, device=latents.device)
    found = 1e-3  # a prior of unit variance: far below the distance of any two cells
    rows = torch.arange(len(latents), device=latents.device)
    for k in range(candidates):
        if not len(rows):
            break
        decoded = model.decode(latents[rows], generator) if k else best
        cells = unpack_decoded(decoded.ops, decoded.adjacency, space.ops)
        legal = torch.from_numpy(space.legal(cells)).to(latents.device)
        graph = GraphBatch(decoded.ops, decoded.adjacency.float(), len(space.ops))
        gap = (model.latents(graph) - latents[rows]).norm(dim=1)
        gap = torch.where(legal, gap, torch.inf)
        better = gap < distance[rows]
        won = rows[better]
        distance[won], ops[won] = gap[better], decoded.ops[better]
        adjacency[won] = decoded.adjacency[better]
        rows = rows[distance[rows] > (torch.finfo(torch.float32).max if until_legal else found)]
    if refine:
        for row in rows[torch.isfinite(distance[rows])].tolist():
            start = unpack_decoded(ops[row : row + 1], adjacency[row : row + 1], space.ops)[0]
            cell = _climb(model, space, start, latents[row], float(distance[row]))
            batch = dense_batch(space.pack([cell]), latents.device)
            ops[row], adjacency[row] = batch.ops[0], batch.adjacency[0].to(torch.uint8)
    return Decoded(ops, adjacency), torch.isfinite(distance).cpu().numpy()


def _climb(model: Autoencoder, space: Space, cell: Cell, latent: Tensor, distance: float) -> Cell:
    """The cell that no neighbour is closer to `latent` than, on the steepest way from `cell`."""
    while True:
        neighbours = space.neighbours(cell)
        gaps = (model.latents(dense_batch(space.pack(neighbours), latent.device)) - latent).norm(
            dim=1
        )
        if not len(gaps) or float(gaps.min()) >= distance:
            return cell
        distance, cell = float(gaps.min()), neighbours[int(gaps.argmin())]


def _affordable(latents: Tensor) -> int:
    """Candidates for each of so many latents."""
    return min(CANDIDATES, max(4, CANDIDATES_IN_ALL // len(latents)))


@torch.no_grad()
def draw_prior(model: Autoencoder, statistics: LatentStatistics, count: int, seed: int) -> Tensor:
    """Latents `z * std + mean` with standard normal z, `[count, *latent_shape]`."""
    device = statistics.mean.device
    generator = torch_stream(seed, "prior", str(device))
    drawn = torch.randn((count, *model.latent_shape), generator=generator, device=device)
    return drawn * statistics.std + statistics.mean


def prior_samples(
    model: Autoencoder,
    space: Space,
    statistics: LatentStatistics,
    train_cells: CellArray,
    seed: int,
    count: int = PRIOR_DRAWS,
) -> dict[str, float | int | None]:
    """What the prior decodes to.

    Returns:
        `validity`: share of draws whose likeliest graph is a legal cell as it stands.
        `validity_verified`: the same for `verified_decode`. `validity_2020`: by the check of the
        authors' code, which prunes first on NAS-Bench-101 and ignores the adjacency on
        NAS-Bench-201; `None` for other spaces. `uniqueness`: distinct cells among the strictly
        valid. `uniqueness_2020`: distinct unpruned graphs among the valid of 2020.
        `uniqueness_uniform`: what as many uniform draws from the whole space would give on
        average, since draws repeat by chance; `None` for a space without a size. `novelty`: share
        of the distinct valid cells that were not trained on.
    """
    latents = draw_prior(model, statistics, count, seed)
    decoded = model.decode(latents)
    graphs = unpack_decoded(decoded.ops, decoded.adjacency, space.ops)
    valid = space.legal(graphs)
    hashes = np.unique(graphs[valid].colour_hash())
    old = validity_2020(space, graphs)
    figures: dict[str, float | int | None] = {
        "validity": float(valid.mean()),
        "validity_verified": None,
        "validity_2020": None if old is None else float(old.mean()),
        "uniqueness": len(hashes) / max(int(valid.sum()), 1),
        "uniqueness_2020": None,
        "uniqueness_uniform": None,
        "novelty": 0.0,
    }
    if len(hashes):
        known = np.isin(hashes, train_cells.colour_hash())
        figures["novelty"] = float(1 - known.mean())
    if model.decodes_embeddings:
        rest = torch.from_numpy(np.flatnonzero(~valid))
        figures["validity_verified"] = 1.0
        if len(rest):
            _, legal = verified_decode(
                model, space, latents[rest], candidates=_affordable(rest), until_legal=True
            )
            figures["validity_verified"] = float((valid.sum() + legal.sum()) / count)
    if old is not None:
        kept = graphs[old]
        figures["uniqueness_2020"] = len(np.unique(kept.colour_hash())) / max(len(kept), 1)
    if space.size is not None and valid.any():
        drawn = int(valid.sum())
        figures["uniqueness_uniform"] = (
            space.size * -np.expm1(drawn * np.log1p(-1 / space.size)) / drawn
        )
    return figures


def validity_2020(space: Space, graphs: CellArray) -> np.ndarray | None:
    """The validity check of the authors' code, `[N]`, or `None` for a space it does not know.

    NAS-Bench-101: dangling nodes are pruned first, then nodes, edges and labels are checked.
    NAS-Bench-201: the labels, but that of node 1 and all edges go unchecked. DARTS: the labels, and
    that every operation has an edge from a node before its block.
    """
    ops = graphs.ops
    if space.name == "nasbench101":
        pruned = _pruned(graphs)
        last = np.maximum(graphs.num_nodes - 1, 0)
        labels = ops[np.arange(len(graphs)), last] == 4
        labels &= ops[:, 0] == 0
        live = np.logical_or(pruned.any(1), pruned.any(2))
        live[:, 0] = False
        live[np.arange(len(graphs)), last] = False
        fine = ((ops >= 1) & (ops <= 3)) | ~live
        edges = pruned.sum((1, 2))
        return labels & fine.all(1) & (edges >= 1) & (edges <= 9)
    if space.name == "nasbench201":
        known = (ops[:, 2:7] >= 1) & (ops[:, 2:7] <= 5)
        return (ops[:, 0] == 0) & (ops[:, 7] == 6) & known.all(1)
    if space.name == "darts":
        labels = (ops[:, 0] == 0) & (ops[:, 1] == 1) & (ops[:, 10] == 10)
        labels &= ((ops[:, 2:10] >= 2) & (ops[:, 2:10] <= 9)).all(1)
        for v in range(2, 10):
            before = 2 * (v // 2)  # nodes in front of the block of v
            labels &= np.logical_or.reduce([graphs.edge(u, v) for u in range(before)])
        return labels
    return None


def _pruned(graphs: CellArray) -> np.ndarray:
    """Adjacency `[N, V, V]` without nodes off every path from the first to the last node."""
    adjacency = graphs.adjacency.astype(bool)
    count, nodes = graphs.num_nodes, graphs.max_nodes
    reached = np.zeros((len(graphs), nodes), bool)
    reached[:, 0] = True
    for j in range(1, nodes):
        reached[:, j] |= (adjacency[:, :, j] & reached).any(1)
    leads = np.zeros_like(reached)
    leads[np.arange(len(graphs)), np.maximum(count - 1, 0)] = True
    for i in range(nodes - 2, -1, -1):
        leads[:, i] |= (adjacency[:, i] & leads).any(1)
    alive = reached & leads & (graphs.ops != PAD)
    return adjacency & alive[:, :, None] & alive[:, None, :]


def distinct_rows(embeddings: np.ndarray, tolerance: float = SAME_EMBEDDING) -> int:
    """Number of different embeddings; those closer than `tolerance` (see there) count as one.

    Rows are sorted along one random direction, where equal rows are neighbours; every pair close
    enough there is then compared in full, and chains of equal rows are merged.
    """
    vectors = embeddings.astype(np.float64)
    reach = tolerance * float(vectors.std(0).mean())
    if reach == 0:
        return min(len(vectors), 1)
    # One of each box of a fine grid stands for all: many equal rows would make many pairs.
    boxes = np.round(4 / reach * vectors).astype(np.int64).view(np.uint64)
    odd = np.random.default_rng(0).integers(0, 2**63, vectors.shape[1], np.uint64) * 2 + 1
    vectors = vectors[np.unique((boxes * odd).sum(1), return_index=True)[1]]
    direction = np.random.default_rng(0).standard_normal((vectors.shape[1], 1))
    direction = direction / np.linalg.norm(direction, axis=0)
    order = np.argsort((vectors @ direction)[:, 0])
    vectors = vectors[order]
    along = (vectors @ direction)[:, 0]
    lower, upper = [], []
    for lag in range(1, len(vectors)):
        start = np.flatnonzero(along[lag:] - along[:-lag] <= reach)
        if not len(start):
            break
        apart = np.linalg.norm(vectors[start + lag] - vectors[start], axis=1)
        equal = start[apart <= reach]
        lower.append(equal)
        upper.append(equal + lag)
    if not lower:
        return len(vectors)
    i, j = np.concatenate(lower), np.concatenate(upper)
    graph = coo_matrix((np.ones(len(i), bool), (i, j)), (len(vectors), len(vectors)))
    return int(connected_components(graph)[0])


@torch.no_grad()
def smoothness(model: Autoencoder, space: Space, seed: int, steps: int = 250) -> float:
    """Rank correlation of latent and edit distance along a random walk: the data of Figure 3.

    A walk of `steps` neighbours; all pairs 1 to 8 steps apart; Spearman's coefficient between the
    Euclidean distance of their embeddings and their exact edit distance.
    """
    device = next(model.parameters()).device
    latent, edits = distances_along_walk(
        lambda cells: model.embed(PackedGraphs(cells, device).batch(slice(None))).cpu().numpy(),
        space,
        steps=steps,
        seed=seed,
    )
    if latent.min() == latent.max():  # all embeddings equal: no order to compare
        return 0.0
    return float(spearmanr(latent, edits).statistic)
