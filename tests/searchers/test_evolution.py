"""Evolutionary search: against enumeration, within limits, and with an end."""

import numpy as np
import pytest

from archrep.errors import ConfigError, ShapeError
from archrep.searchers.evolution import (
    PRESETS,
    BlockGenes,
    EvolutionSettings,
    PlaceGenes,
    evolve,
    genes_of,
)
from archrep.supernets.base import Edge
from archrep.supernets.mobilenet import MobileNetSupernet, allowed_operations, cost
from archrep.supernets.nasbench201 import NasBench201Supernet

CELLS = np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), 1)
"""All cells of NAS-Bench-201, `[15625, 6]`."""

EDGES = [
    Edge(cell, source, target)
    for cell in ("normal", "reduce")
    for target in range(2, 6)
    for source in range(target)
]
"""Of the cells of DARTS; operation 0 is `none`."""
BLOCKS = [(cell, target) for cell in ("normal", "reduce") for target in range(2, 6)]

NASBENCH = PlaceGenes(np.ones((6, 5), bool), none=0)
MOBILENET = PlaceGenes(allowed_operations())
DARTS = BlockGenes(np.ones((28, 8), bool), EDGES)


def linear(places, ops, seed=0):
    """A score that is a sum over places, and its terms."""
    terms = np.random.default_rng(seed).normal(size=(places, ops))
    return lambda choices: terms[np.arange(places), choices].sum(1), terms


def macs(choices):
    return cost(choices).macs


class TestFindsTheOptimum:
    @pytest.mark.parametrize("seed", range(3))
    def test_of_nasbench201(self, seed):
        score, _ = linear(6, 5, seed)
        found = evolve(NASBENCH, score, np.random.default_rng(seed), PRESETS["nasbench201"])
        best = score(CELLS).argmax()
        np.testing.assert_array_equal(found.choices, CELLS[best])
        assert found.score == score(CELLS)[best]
        assert found.evaluated == 2_000

    def test_of_mobilenets_nearly(self):
        score, terms = linear(21, 7)
        found = evolve(MOBILENET, score, np.random.default_rng(0))
        assert found.score > 0.95 * np.where(MOBILENET.allowed, terms, -9).max(1).sum()

    def test_of_darts_nearly(self):
        score, terms = linear(28, 8)
        gains = (terms[:, 1:] - terms[:, :1]).max(1)  # of an edge that is live
        optimum = terms[:, 0].sum() + sum(
            np.sort(gains[[e for e, edge in enumerate(EDGES) if (edge.cell, edge.target) == b]])[
                -2:
            ].sum()
            for b in BLOCKS
        )
        settings = EvolutionSettings(generations=60)
        found = evolve(DARTS, score, np.random.default_rng(0), settings)
        assert 0.9 * optimum < found.score <= optimum


class TestHistory:
    @pytest.fixture
    def told(self):
        return []

    @pytest.fixture
    def found(self, told):
        score, _ = linear(21, 7)

        def remembered(choices):
            told.append(choices.copy())
            return score(choices)

        return evolve(MOBILENET, remembered, np.random.default_rng(0))

    def test_best_and_mean_of_each_generation(self, found, told):
        score, _ = linear(21, 7)
        scores = [score(choices) for choices in told]
        assert [g.mean for g in found.history] == [s.mean() for s in scores]
        best = np.maximum.accumulate([s.max() for s in scores])
        assert [g.best for g in found.history] == best.tolist()
        assert found.score == best[-1]

    def test_no_architecture_is_scored_twice(self, found, told):
        assert [len(choices) for choices in told] == [50] * 20
        everything = np.concatenate(told)
        assert len(np.unique(everything, axis=0)) == len(everything) == found.evaluated == 1_000

    def test_later_generations_are_better(self, found):
        assert found.history[-1].mean > found.history[0].mean + 5


class TestLimits:
    @pytest.mark.parametrize("repair", [True, False])
    def test_are_kept(self, repair):
        score, _ = linear(21, 7)
        told = []

        def remembered(choices):
            told.append(choices)
            return score(choices)

        found = evolve(
            MOBILENET,
            remembered,
            np.random.default_rng(0),
            EvolutionSettings(generations=4),
            fits=lambda choices: macs(choices) <= 475e6,
            cost=macs if repair else None,
        )
        everything = np.concatenate(told)
        assert MOBILENET.legal(everything).all()
        assert (macs(everything) <= 475e6).all()
        assert macs(found.choices[None]) <= 475e6
        if repair:  # a random network in 290 fits
            assert [g.evaluated for g in found.history] == [50] * 4

    def test_are_nearly_reached(self):
        found = evolve(
            MOBILENET,
            macs,
            np.random.default_rng(0),
            EvolutionSettings(generations=3),
            fits=lambda choices: macs(choices) <= 475e6,
            cost=macs,
        )
        assert 474e6 < found.score <= 475e6

    def test_of_darts(self):
        weights = np.array([0, 0, 0, 0, 2, 4, 1, 2])
        found = evolve(
            DARTS,
            linear(28, 8)[0],
            np.random.default_rng(0),
            EvolutionSettings(generations=3),
            fits=lambda choices: weights[choices].sum(1) <= 5,
            cost=lambda choices: weights[choices].sum(1),
        )
        assert weights[found.choices].sum() <= 5
        assert DARTS.legal(found.choices[None]).all()
        assert found.evaluated == 150

    @pytest.mark.parametrize("repair", [True, False])
    def test_that_nothing_keeps(self, repair):
        with pytest.raises(ConfigError, match="No architecture was found that fits"):
            evolve(
                MOBILENET,
                macs,
                np.random.default_rng(0),
                EvolutionSettings(population=2, mutants=1, crossovers=1),
                fits=lambda choices: macs(choices) < 1,
                cost=macs if repair else None,
            )


class TestExhaustedSpaces:
    def test_end_the_search_with_everything_seen(self):
        genes = PlaceGenes(np.ones((2, 3), bool))
        found = evolve(genes, lambda choices: choices.sum(1), np.random.default_rng(0))
        assert found.evaluated == 9
        assert len(found.history) == 1
        assert found.choices.tolist() == [2, 2]

    def test_of_which_little_fits(self):
        genes = PlaceGenes(np.ones((6, 5), bool))
        found = evolve(
            genes,
            lambda choices: choices.sum(1),
            np.random.default_rng(0),
            fits=lambda choices: choices.sum(1) <= 1,
            cost=lambda choices: choices.sum(1),
        )
        assert found.evaluated == 7

    def test_of_one_architecture(self):
        genes = PlaceGenes(np.eye(3, dtype=bool))
        found = evolve(genes, lambda choices: choices.sum(1), np.random.default_rng(0))
        assert found.choices.tolist() == [0, 1, 2]
        assert found.evaluated == 1


class TestRandomness:
    @pytest.mark.parametrize("genes", [NASBENCH, MOBILENET, DARTS])
    def test_the_same_seed_gives_the_same(self, genes):
        score, _ = linear(len(genes.together), 8)
        runs = [evolve(genes, score, np.random.default_rng(seed)) for seed in (3, 3, 4)]
        np.testing.assert_array_equal(runs[0].choices, runs[1].choices)
        assert runs[0].history == runs[1].history
        assert runs[0].history != runs[2].history

    def test_the_random_members_may_come_from_elsewhere(self):
        genes = PlaceGenes(np.ones((6, 5), bool), sample=lambda rng: rng.integers(2, size=6))
        drawn = genes.random(200, np.random.default_rng(0))
        assert sorted(np.unique(drawn)) == [0, 1]
        supernet = MobileNetSupernet([0], width=0.05)
        genes = PlaceGenes(supernet.allowed, sample=supernet.sample)
        assert genes.legal(genes.random(50, np.random.default_rng(0))).all()


class TestPlaces:
    def test_random_ones_are_uniform(self):
        drawn = MOBILENET.random(7_000, np.random.default_rng(0))
        assert MOBILENET.legal(drawn).all()
        np.testing.assert_allclose(np.bincount(drawn[:, 0]) / 7_000, np.full(6, 1 / 6), atol=0.02)
        np.testing.assert_allclose(np.bincount(drawn[:, 1]) / 7_000, np.full(7, 1 / 7), atol=0.02)

    def test_only_genes_that_are_hit_change(self):
        rng = np.random.default_rng(0)
        parents = NASBENCH.random(500, rng)
        hit = rng.random((500, 6)) < 0.3
        children = NASBENCH.mutate(parents, hit, rng, release=False)
        assert (children == parents)[~hit].all()
        assert (children != parents)[hit].mean() == pytest.approx(4 / 5, abs=0.05)

    def test_the_release_never_mutates_to_none(self):
        rng = np.random.default_rng(0)
        parents, hit = np.ones((500, 6), int), np.ones((500, 6), bool)
        assert (NASBENCH.mutate(parents, hit, rng, release=False) == 0).any()
        assert not (NASBENCH.mutate(parents, hit, rng, release=True) == 0).any()

    def test_children_are_of_both_parents(self):
        rng = np.random.default_rng(0)
        children = NASBENCH.cross(np.zeros((500, 6), int), np.ones((500, 6), int), rng)
        np.testing.assert_allclose(children.mean(0), np.full(6, 0.5), atol=0.08)


class TestBlocks:
    def test_random_ones_have_two_inputs_a_block(self):
        drawn = DARTS.random(4_000, np.random.default_rng(0))
        assert DARTS.legal(drawn).all()
        for n, edge in enumerate(EDGES):
            assert (drawn[:, n] != 0).mean() == pytest.approx(2 / edge.target, abs=0.03)
        live = drawn[drawn != 0]
        np.testing.assert_allclose(np.bincount(live)[1:] / len(live), np.full(7, 1 / 7), atol=0.01)

    @pytest.mark.parametrize("release", [False, True])
    def test_mutants_are_legal(self, release):
        rng = np.random.default_rng(0)
        parents = DARTS.random(300, rng)
        before = parents.copy()
        children = DARTS.mutate(parents, rng.random((300, 32)) < 0.5, rng, release=release)
        assert DARTS.legal(children).all()
        np.testing.assert_array_equal(parents, before)
        changed = (children != parents).any(0)
        assert changed[:14].all()
        assert changed[14:].all() != release
        assert changed[14:].any() != release

    def test_one_gene_moves_an_input_or_changes_an_operation(self):
        rng = np.random.default_rng(0)
        parents = DARTS.random(400, rng)
        for gene in range(32):
            hit = np.zeros((400, 32), bool)
            hit[:, gene] = True
            children = DARTS.mutate(parents, hit, rng, release=False)
            block = DARTS.blocks[gene // 4]
            outside = np.setdiff1d(np.arange(28), block)
            np.testing.assert_array_equal(children[:, outside], parents[:, outside])
            moved = ((children != 0) != (parents != 0)).any(1)
            if gene % 2:
                assert not moved.any()
                assert ((children != parents).sum(1) <= 1).all()
            else:
                # To a free input or back, the operation goes with it.
                free = len(block) - 2
                assert moved.mean() == pytest.approx(free / (free + 1), abs=0.1)
                np.testing.assert_array_equal(np.sort(children, 1), np.sort(parents, 1))

    def test_children_have_whole_blocks_of_their_parents(self):
        rng = np.random.default_rng(0)
        mothers, fathers = DARTS.random(200, rng), DARTS.random(200, rng)
        children = DARTS.cross(mothers, fathers, rng)
        assert DARTS.legal(children).all()
        for block in DARTS.blocks:
            of_mother = (children[:, block] == mothers[:, block]).all(1)
            of_father = (children[:, block] == fathers[:, block]).all(1)
            assert (of_mother | of_father).all()
            assert 0.3 < of_mother.mean() < 0.75

    def test_operations_that_an_edge_lacks_are_not_drawn(self):
        allowed = np.random.default_rng(1).random((28, 8)) < 0.3
        allowed[:, 3] = True
        genes, rng = BlockGenes(allowed, EDGES), np.random.default_rng(0)
        parents = genes.random(300, rng)
        children = genes.mutate(parents, rng.random((300, 32)) < 0.5, rng, release=False)
        for found in (parents, children):
            assert genes.legal(found).all()
            live = found != 0
            assert allowed[np.arange(28), found][live].all()

    def test_illegal_ones(self):
        good = DARTS.random(1, np.random.default_rng(0))
        three, one = good.copy(), good.copy()
        three[0, np.flatnonzero(good[0, 2:5] == 0)[0] + 2] = 1
        one[0, np.flatnonzero(good[0])[0]] = 0
        assert DARTS.legal(np.concatenate([good, three, one])).tolist() == [True, False, False]


class TestGenesOfSupernets:
    def test_of_places(self):
        genes = genes_of(NasBench201Supernet([0], channels=1, cells=1))
        assert isinstance(genes, PlaceGenes)
        rng, hit = np.random.default_rng(0), np.ones((500, 6), bool)
        assert not (genes.mutate(np.ones((500, 6), int), hit, rng, release=True) == 0).any()
        genes = genes_of(MobileNetSupernet([0], width=0.05))
        assert genes.count == 21

    def test_of_blocks(self):
        from archrep.supernets.darts import DartsSupernet

        for variant in ("s0", "s2", "s4"):
            supernet = DartsSupernet([0], variant=variant, channels=2, cells=3)
            genes = genes_of(supernet)
            assert isinstance(genes, BlockGenes)
            assert genes.count == 32
            drawn = genes.random(20, np.random.default_rng(0))
            assert genes.legal(drawn).all()
            supernet.check_path(drawn[0])
            path = supernet.sample(np.random.default_rng(0))
            assert genes.legal(path[None]).all()


class TestBadInput:
    def test_settings(self):
        with pytest.raises(ConfigError, match="at least 1. Got 50, 0, 20"):
            EvolutionSettings(select=0)
        with pytest.raises(ConfigError, match="at most `population`. Got 26, 25 and 50"):
            EvolutionSettings(mutants=26)
        with pytest.raises(ConfigError, match="`mutation` must be from 0 to 1. Got nan"):
            EvolutionSettings(mutation=float("nan"))
        with pytest.raises(ConfigError, match="'correct' or 'release'. Got 'clean'"):
            EvolutionSettings(variant="clean")

    def test_scores(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ShapeError, match=r"`score` must return \[50\].*Got \(50, 6\)"):
            evolve(NASBENCH, lambda choices: choices, rng)
        with pytest.raises(ShapeError, match="returned a NaN"):
            evolve(NASBENCH, lambda choices: np.full(len(choices), np.nan), rng)
        with pytest.raises(ShapeError, match="`fits` must return"):
            evolve(NASBENCH, lambda choices: choices.sum(1), rng, fits=lambda choices: True)
