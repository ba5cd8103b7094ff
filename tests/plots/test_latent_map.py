"""Maps: one seed gives one map, columns agree with networkx, pictures say what they are."""

from __future__ import annotations

import importlib.util
import random

import networkx
import numpy as np
import pytest

from archrep import latent_map as latent_map_module
from archrep.cell_columns import space_columns
from archrep.cells import SPACES
from archrep.errors import ConfigError, RunError, ShapeError
from archrep.latent_map import (
    LatentMap,
    MapNotKept,
    cached_map,
    latent_map,
    telling_columns,
)
from archrep.plots.latent_map import map_figure, plot_latent_map

RNG = np.random.default_rng(0)
BLOBS = (RNG.normal(size=(3, 16)) * 8)[np.arange(90) % 3] + RNG.normal(size=(90, 16))


@pytest.fixture(scope="module")
def blobs_map() -> LatentMap:
    return latent_map(BLOBS, seed=3)


def texts(figure) -> str:
    parts = [figure.get_suptitle(), figure.get_supxlabel()]
    for ax in figure.axes:
        parts += [ax.get_xlabel(), ax.get_ylabel(), ax.get_title()]
    return "\n".join(parts)


class TestTheOthers:
    @pytest.mark.parametrize("method", ["tsne", "pca"])
    def test_fitted_cells_stay_where_they_are(self, method):
        some = latent_map(BLOBS, method=method, max_points=30)
        whole = latent_map(BLOBS, method=method, max_points=30, everything=True)
        assert whole.rows.tolist() == list(range(90))
        np.testing.assert_allclose(whole.xy[some.rows], some.xy, rtol=1e-5)
        assert (whole.placed, whole.total) == (60, 90)
        assert "30 of 90 cells, 60 placed beside their nearest" in whole.caption

    def test_others_are_placed_within_their_cluster_and_equals_on_their_equal(self):
        table = np.concatenate([BLOBS, BLOBS])
        points = latent_map(table, max_points=60, everything=True)
        clusters = [points.xy[np.arange(180) % 3 == k] for k in range(3)]
        for k, own in enumerate(clusters):
            middle = [np.linalg.norm(own - other.mean(0), axis=1) for other in clusters]
            assert (np.argmin(middle, 0) == k).all()
        drawn = latent_map(table, max_points=60).rows
        fitted = np.isin(np.arange(180), drawn)
        alone = [row for row in drawn if not fitted[(row + 90) % 180]]
        equals = [(row + 90) % 180 for row in alone]
        np.testing.assert_allclose(points.xy[equals], points.xy[alone], rtol=1e-4, atol=1e-4)

    def test_maps_of_two_seeds_look_alike(self):
        first, second = (latent_map(BLOBS, max_points=80, seed=s) for s in (0, 1))
        both, one, two = np.intersect1d(first.rows, second.rows, return_indices=True)
        assert len(both) > 60
        for k in range(2):
            assert np.corrcoef(first.xy[one, k], second.xy[two, k])[0, 1] > 0.9

    def test_many_points_are_mapped_by_a_grid(self, monkeypatch):
        monkeypatch.setattr(latent_map_module, "_TREE_POINTS", 50)
        xy = latent_map(BLOBS).xy
        distance = np.linalg.norm(xy[:, None] - xy, axis=-1)
        np.fill_diagonal(distance, np.inf)
        assert (distance.argmin(1) % 3 == np.arange(90) % 3).all()

    @pytest.mark.filterwarnings("ignore")  # of umap-learn, at import
    def test_umap_is_asked_for_by_name(self):
        if importlib.util.find_spec("umap") is None:
            with pytest.raises(ConfigError, match="pip install 'archrep.umap.'"):
                latent_map(BLOBS, method="umap")
        else:
            points = latent_map(BLOBS, method="umap")
            assert (points.xy.shape, "UMAP, neighbours 29.7" in points.caption) == ((90, 2), True)


class TestKept:
    def test_a_map_is_computed_once_for_what_it_is_of(self, tmp_path, monkeypatch):
        asked = {"method": "pca", "folder": tmp_path, "max_points": 50}
        first = cached_map(BLOBS, **asked)
        computed = []
        monkeypatch.setattr(
            latent_map_module,
            "latent_map",
            lambda *args, **kwargs: computed.append(kwargs) or latent_map(*args, **kwargs),
        )
        again = cached_map(BLOBS, **asked)
        assert not computed
        np.testing.assert_array_equal(first.xy, again.xy)
        assert again.caption == first.caption
        for change in ({"seed": 1}, {"max_points": 60}, {"everything": True}, {"method": "tsne"}):
            cached_map(BLOBS, **asked | change)
        cached_map(BLOBS + 1e-6, **asked)
        assert len(computed) == 5

    def test_a_cut_off_file_is_computed_anew(self, tmp_path):
        first = cached_map(BLOBS, method="pca", folder=tmp_path)
        (file,) = tmp_path.glob("*.npz")
        whole = file.read_bytes()
        for content in (whole[:100], whole[:60] + bytes(200) + whole[260:]):
            file.write_bytes(content)
            again = cached_map(BLOBS, method="pca", folder=tmp_path)
            np.testing.assert_array_equal(again.xy, first.xy)
        assert len(LatentMap.load(file)) == 90

    def test_a_folder_that_cannot_be_written_costs_no_map(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.warns(MapNotKept, match="The map is not kept"):
            points = cached_map(BLOBS, method="pca", folder=tmp_path / "file" / "maps")
        assert len(points) == 90

    def test_the_folder_is_that_of_the_environment(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ARCHREP_MAPS", str(tmp_path / "maps"))
        cached_map(BLOBS, method="pca")
        assert len(list((tmp_path / "maps").iterdir())) == 1


class TestComputing:
    @pytest.mark.parametrize("method", ["tsne", "pca"])
    def test_same_seed_gives_same_map(self, method):
        first, second = (latent_map(BLOBS, method=method, max_points=60, seed=5) for _ in range(2))
        np.testing.assert_array_equal(first.xy, second.xy)
        np.testing.assert_array_equal(first.rows, second.rows)

    def test_another_seed_draws_other_cells(self):
        first, second = (latent_map(BLOBS, method="pca", max_points=60, seed=s) for s in (5, 6))
        assert first.rows.tolist() != second.rows.tolist()

    def test_tsne_keeps_separate_clusters_apart(self, blobs_map):
        distance = np.linalg.norm(blobs_map.xy[:, None] - blobs_map.xy, axis=-1)
        np.fill_diagonal(distance, np.inf)
        assert (distance.argmin(1) % 3 == np.arange(90) % 3).all()

    def test_pca_distances_are_those_of_points_in_a_plane(self):
        plane = RNG.normal(size=(30, 2))
        turned = plane @ np.linalg.qr(RNG.normal(size=(16, 2)))[0].T
        xy = latent_map(turned, method="pca").xy
        between = [np.linalg.norm(p[:, None] - p, axis=-1) for p in (plane, xy)]
        np.testing.assert_allclose(*between, atol=1e-5)

    def test_large_table_is_thinned_to_distinct_ascending_rows(self):
        points = latent_map(BLOBS, method="pca", max_points=50)
        assert len(points) == 50
        assert (np.diff(points.rows) > 0).all()
        assert (points.total, points.rows.max() < 90) == (90, True)

    def test_whole_table_is_kept_if_it_fits(self, blobs_map):
        np.testing.assert_array_equal(blobs_map.rows, np.arange(90))

    @pytest.mark.parametrize("count", [4, 5, 20])
    def test_fewer_points_than_the_perplexity_lower_it(self, count):
        points = latent_map(BLOBS[:count])
        assert points.perplexity == (count - 1) / 3
        assert np.isfinite(points.xy).all()

    @pytest.mark.parametrize("method", ["tsne", "pca"])
    def test_equal_embeddings_fall_on_one_place(self, method):
        xy = latent_map(np.repeat(BLOBS[:30], 2, 0), method=method).xy
        size = np.ptp(xy, axis=0).max()
        assert np.abs(xy[::2] - xy[1::2]).max() < 0.05 * size

    @pytest.mark.parametrize("method", ["tsne", "pca"])
    def test_embeddings_of_one_number_are_mapped(self, method):
        xy = latent_map(BLOBS[:, :1], method=method).xy
        assert xy.shape == (90, 2)
        assert np.isfinite(xy).all()

    @pytest.mark.parametrize("scale", [1e-30, 1e30])
    def test_scale_of_embeddings_does_not_matter(self, scale, blobs_map):
        xy = latent_map(BLOBS * scale, seed=3).xy
        assert np.isfinite(xy).all()
        assert np.ptp(xy) == pytest.approx(np.ptp(blobs_map.xy), rel=0.5)

    def test_embeddings_are_not_changed_and_may_be_float32(self):
        points = BLOBS.astype(np.float32)
        points.setflags(write=False)
        latent_map(points[:10])

    def test_global_random_state_is_left_alone(self):
        before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        latent_map(BLOBS, max_points=20)
        assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002

    @pytest.mark.parametrize("shape", [(90,), (3, 16), (90, 0), (9, 2, 5)])
    def test_wrong_shape_is_named(self, shape):
        with pytest.raises(ShapeError, match=r"`embeddings` must be \[N, D\] with N of at least 4"):
            latent_map(np.zeros(shape))

    def test_embeddings_that_are_not_finite_are_named(self):
        broken = BLOBS.copy()
        broken[7, 3], broken[9, 0] = np.nan, np.inf
        with pytest.raises(ConfigError, match="2 of 90 rows are not, the first is row 7"):
            latent_map(broken)

    @pytest.mark.parametrize("method", ["tsne", "pca"])
    def test_constant_embeddings_are_refused(self, method):
        with pytest.raises(ConfigError, match=r"must differ\. All 50 are equal"):
            latent_map(np.ones((50, 16)), method=method)

    def test_all_impossible_options_are_reported_at_once(self):
        with pytest.raises(ConfigError) as error:
            latent_map(BLOBS, method="mds", max_points=1, perplexity=0.0)
        text = str(error.value)
        assert "`method` must be one of tsne, pca, umap. Got 'mds'." in text
        assert "`max_points` must be at least 4. Got 1." in text
        assert "`perplexity` must be at least 1. Got 0.0." in text


class TestFile:
    @pytest.mark.parametrize("method", ["tsne", "pca"])
    def test_saved_map_is_read_back(self, method, tmp_path):
        points = latent_map(BLOBS, method=method, max_points=30, seed=2)
        again = LatentMap.load(points.save(tmp_path / "map.npz"))
        np.testing.assert_array_equal(again.xy, points.xy)
        np.testing.assert_array_equal(again.rows, points.rows)
        assert again.caption == points.caption
        assert (again.method, again.perplexity, again.seed, again.total) == (
            points.method,
            points.perplexity,
            2,
            90,
        )
        assert [file.name for file in tmp_path.iterdir()] == ["map.npz"]

    def test_missing_and_damaged_files_are_told_apart(self, tmp_path):
        with pytest.raises(RunError, match=r"No map at .*map\.npz\. Make one with"):
            LatentMap.load(tmp_path / "map.npz")
        (tmp_path / "map.npz").write_bytes(b"PK\x03\x04 half a file")
        with pytest.raises(RunError, match="is not a map, or is damaged"):
            LatentMap.load(tmp_path / "map.npz")
        np.savez(tmp_path / "other.npz", xy=np.zeros((3, 2)))
        with pytest.raises(RunError, match="is not a map, or is damaged"):
            LatentMap.load(tmp_path / "other.npz")

    def test_points_and_rows_must_agree(self):
        with pytest.raises(ShapeError, match=r"`xy` must be \[M, 2\] and `rows` \[M\]"):
            LatentMap(np.zeros((3, 2)), np.arange(4), "pca", None, 0, 4)


class TestColumns:
    @pytest.mark.parametrize("name", SPACES)
    def test_columns_agree_with_networkx_and_counting(self, name):
        space = SPACES[name]
        cells = space.sample_array(200, seed=1)
        columns = space_columns(space, cells)
        for n, cell in enumerate(cells):
            graph = cell.to_networkx()
            assert columns["depth"][n] == networkx.dag_longest_path_length(graph)
            assert columns["edges"][n] == graph.number_of_edges()
            assert columns["nodes"][n] == graph.number_of_nodes()
            for op in space.ops:
                assert columns[f"count_{op}"][n] == cell.ops.count(op)

    def test_group_counts_all_operations_of_its_kind(self):
        columns = space_columns("darts", SPACES["darts"].sample_array(50))
        pools = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
        np.testing.assert_array_equal(
            columns["pool_skip"], sum(columns[f"count_{op}"] for op in pools)
        )
        assert "conv_1x1" not in columns  # the space has none

    def test_cells_of_another_space_are_refused(self):
        with pytest.raises(ConfigError, match="`cells` must be cells of NAS-Bench-201"):
            space_columns("nasbench201", SPACES["darts"].sample_array(3))

    def test_no_cells_give_empty_columns(self):
        cells = SPACES["nasbench201"].enumerate()[:0]
        assert {c.shape for c in space_columns("nasbench201", cells).values()} == {(0,)}

    def test_columns_that_are_the_same_everywhere_are_not_shown(self, blobs_map):
        cells = SPACES["nasbench201"].enumerate()[np.arange(90)]
        shown = telling_columns(space_columns("nasbench201", cells), blobs_map)
        assert not {"edges", "nodes", "depth"} & set(shown)
        assert all(np.ptp(column) > 0 for column in shown.values())

    def test_no_operation_is_shown_twice(self, blobs_map):
        cells = SPACES["nasbench101"].sample_array(90)
        shown = telling_columns(space_columns("nasbench101", cells), blobs_map)
        assert list(shown) == ["edges", "depth", "conv_3x3", "pool_skip"]


class TestPicture:
    def test_map_of_a_subset_states_how_it_was_made(self):
        points = latent_map(np.tile(BLOBS, (20, 1)) + np.arange(1800)[:, None], max_points=30)
        text = texts(plot_latent_map(points).figure)
        assert "t-SNE, perplexity 9.67, seed 0, 30 of 1,800 cells" in text

    def test_every_point_is_drawn_where_the_map_has_it(self, blobs_map):
        ax = plot_latent_map(blobs_map)
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), blobs_map.xy)
        assert ax.get_aspect() == 1
        assert not ax.get_xticks().size
        assert not ax.get_yticks().size

    def test_values_of_table_rows_and_of_points_give_the_same_colours(self):
        points = latent_map(BLOBS, method="pca", max_points=30)
        table = np.linspace(0.1, 0.9, 90)
        drawn = [plot_latent_map(points, v).collections[0] for v in (table, table[points.rows])]
        np.testing.assert_array_equal(drawn[0].get_array(), drawn[1].get_array())

    def test_colour_bar_carries_the_label(self, blobs_map):
        figure = plot_latent_map(blobs_map, np.linspace(0, 1, 90), label="accuracy").figure
        assert "accuracy" in texts(figure)

    def test_small_counts_have_one_colour_each_and_whole_ticks(self, blobs_map):
        figure = plot_latent_map(blobs_map, np.arange(90) % 4).figure
        figure.canvas.draw()
        assert figure.axes[1].get_yticks().tolist() == [0, 1, 2, 3]

    def test_points_without_a_value_are_drawn_grey_and_named(self, blobs_map):
        values = np.linspace(0, 1, 90)
        values[:10] = np.nan
        ax = plot_latent_map(blobs_map, values)
        assert [len(c.get_offsets()) for c in ax.collections] == [10, 80]
        assert [t.get_text() for t in ax.get_legend().get_texts()] == ["no value"]

    def test_text_is_listed_in_a_legend(self, blobs_map):
        ax = plot_latent_map(blobs_map, np.array(["a", "b", "c"])[np.arange(90) % 3], label="blob")
        assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b", "c"]
        assert ax.get_legend().get_title().get_text() == "blob"

    def test_wrong_number_of_values_is_named(self):
        points = latent_map(BLOBS, method="pca", max_points=30)
        with pytest.raises(ShapeError, match=r"a table row, \[90\], or one a point, \[30\]. Got"):
            plot_latent_map(points, np.zeros(31))

    def test_too_many_categories_are_refused(self, blobs_map):
        with pytest.raises(ConfigError, match=r"tells 8 categories apart\. Got 90 values of row"):
            plot_latent_map(blobs_map, np.arange(90), label="row", categorical=True)

    def test_column_without_any_value_is_refused(self, blobs_map):
        with pytest.raises(ConfigError, match="No point has a value of accuracy"):
            plot_latent_map(blobs_map, np.full(90, np.nan), label="accuracy")

    @pytest.mark.parametrize("name", SPACES)
    def test_overview_shows_four_columns_its_title_and_the_small_print_once(
        self, name, blobs_map, tmp_path
    ):
        space = SPACES[name]
        columns = space_columns(space, space.sample_array(90))
        figure = map_figure(blobs_map, columns, title=f"{space.title}, preset small")
        assert sum(len(ax.collections) == 1 and not ax.get_xticks().size for ax in figure.axes) == 4
        text = texts(figure)
        assert space.title in text
        assert text.count("90 of 90 cells") == 1
        figure.savefig(tmp_path / "map.png", dpi=150)
        assert (tmp_path / "map.png").stat().st_size < 1_000_000

    def test_overview_without_a_telling_column_shows_the_points(self, blobs_map):
        figure = map_figure(blobs_map, {"edges": np.ones(90)})
        assert [len(ax.collections[0].get_offsets()) for ax in figure.axes] == [90]

    def test_five_thousand_points_make_a_picture_below_a_megabyte(self, tmp_path):
        xy = RNG.normal(size=(5_000, 2)).astype(np.float32)
        points = LatentMap(xy, np.arange(5_000), "tsne", 30.0, 0, 5_000)
        columns = {name: RNG.integers(0, 7, 5_000) for name in ("edges", "depth", "a", "b")}
        map_figure(points, columns, title="noise").savefig(tmp_path / "map.png", dpi=150)
        assert (tmp_path / "map.png").stat().st_size < 1_000_000

    def test_pyplot_keeps_no_figure_and_settings_stay(self, blobs_map):
        import matplotlib
        from matplotlib import _pylab_helpers

        settings = dict(matplotlib.rcParams)
        map_figure(blobs_map, {"edges": np.arange(90)}).canvas.draw()
        assert dict(matplotlib.rcParams) == settings
        assert not _pylab_helpers.Gcf.figs
