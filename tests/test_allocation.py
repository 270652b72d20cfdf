import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skec.allocation import SCOPES, allocate, allocate_ratios, split_count

seeds = st.integers(0, 2**31 - 1)
ratios = st.floats(0, 1, exclude_max=True)
shapes = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4)
sizes = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def random_scores(shapes, seed, n_values=None):
    """Scores of layers of these shapes; of a few values only, where ties are wanted."""
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    if n_values is not None:
        scores = [(score * n_values).floor() for score in scores]
    return {f"layer_{i}": score for i, score in enumerate(scores)}


def count(scores):
    return sum(score.numel() for score in scores.values())


def removed(masks):
    return sum(int((~mask).sum()) for mask in masks.values())


class TestAllocate:
    @given(shapes=shapes, ratio=ratios, scope=st.sampled_from(SCOPES), seed=seeds)
    def test_the_number_removed_is_the_ratio_rounded(self, shapes, ratio, scope, seed):
        scores = random_scores(shapes, seed)
        masks = allocate(scores, ratio, scope, scores)
        assert {name: mask.shape for name, mask in masks.items()} == {
            name: score.shape for name, score in scores.items()
        }
        assert removed(masks) == round(ratio * count(scores))

    @given(shapes=shapes, ratio=st.floats(0.4, 0.99), scope=st.sampled_from(SCOPES), seed=seeds)
    def test_no_layer_is_emptied_while_another_can_give(self, shapes, ratio, scope, seed):
        scores = random_scores(shapes, seed, n_values=3)
        masks = allocate(scores, ratio, scope, scores)
        if count(scores) - removed(masks) >= len(shapes):
            assert all(mask.any() for mask in masks.values())

    @pytest.mark.parametrize("scope", SCOPES)
    def test_the_first_layer_is_not_emptied_before_the_last(self, scope):
        scores = random_scores([(8, 4), (8, 8), (1, 8)], 0)
        masks = allocate(scores, 0.95, scope, scores)
        assert all(mask.any() for mask in masks.values())

    @given(shapes=shapes, ratio=ratios, seed=seeds, n_values=st.sampled_from([None, 2]))
    def test_globally_the_lowest_go_except_the_best_of_a_layer(self, shapes, ratio, seed, n_values):
        scores = random_scores(shapes, seed, n_values)
        masks = allocate(scores, ratio)
        gone = [score[~masks[name]] for name, score in scores.items()]
        highest_gone = torch.cat(gone).max() if removed(masks) else -torch.inf
        for name, score in scores.items():
            kept = score[masks[name]]
            if len(kept):
                assert (kept.sort().values[:-1] >= highest_gone).all()
                assert kept.max() >= min(highest_gone, score.max())

    @given(shapes=shapes, ratio=ratios, scope=st.sampled_from(["layer", "row"]), seed=seeds)
    def test_in_each_group_the_lowest_go(self, shapes, ratio, scope, seed):
        scores = random_scores(shapes, seed)
        for name, mask in allocate(scores, ratio, scope, scores).items():
            groups = [(scores[name], mask)]
            if scope == "row":
                groups = zip(scores[name], mask, strict=True)
            for score, kept in groups:
                if kept.any() and not kept.all():
                    assert score[kept].min() >= score[~kept].max()

    @given(ratio=ratios, n_out=st.integers(1, 9), n_in=st.integers(1, 9), seed=seeds)
    def test_rows_of_a_layer_lose_the_same_number_to_within_one(self, ratio, n_out, n_in, seed):
        (mask,) = allocate(random_scores([(n_out, n_in)], seed), ratio, "row").values()
        kept = mask.sum(1)
        assert kept.max() - kept.min() <= 1

    @given(
        shapes=st.lists(st.tuples(st.integers(4, 7), st.integers(4, 7)), min_size=1, max_size=4),
        ratio=st.floats(0, 0.9),
        seed=seeds,
    )
    def test_layers_lose_the_ratio_to_within_a_weight(self, shapes, ratio, seed):
        for mask in allocate(random_scores(shapes, seed), ratio, "layer").values():
            assert abs(int((~mask).sum()) - ratio * mask.numel()) <= 1.5

    @given(shapes=shapes, scope=st.sampled_from(SCOPES), seed=seeds)
    def test_what_went_stays_away(self, shapes, scope, seed):
        gone = {name: torch.zeros(shape) for name, shape in zip("abcd", shapes, strict=False)}
        before = {name: torch.ones_like(score, dtype=torch.bool) for name, score in gone.items()}
        for step, ratio in enumerate([0.2, 0.35, 0.5, 0.65, 0.8, 0.9]):
            scores = random_scores(shapes, seed + step)
            scores = dict(zip(gone, scores.values(), strict=True))
            ranked = {k: v.masked_fill(~before[k], -torch.inf) for k, v in scores.items()}
            masks = allocate(ranked, ratio, scope, scores)
            assert all((masks[name] <= before[name]).all() for name in masks)
            before = masks

    def test_what_went_stays_away_also_with_layers_of_unequal_size(self):
        # the shares of a small layer may shrink when there is more to share out
        shapes = [(6, 10), (6, 10), (2, 10)]
        first = allocate(random_scores(shapes, 0), 10 / 140, "layer")
        ranked = {
            name: score.masked_fill(~first[name], -torch.inf)
            for name, score in random_scores(shapes, 1).items()
        }
        second = allocate(ranked, 11 / 140, "layer")
        assert all((second[name] <= first[name]).all() for name in first)

    @given(shapes=shapes, ratio=ratios, scope=st.sampled_from(SCOPES))
    def test_ties_are_decided_by_position(self, shapes, ratio, scope):
        scores = {str(i): torch.ones(shape) for i, shape in enumerate(shapes)}
        first, again = (allocate(scores, ratio, scope, scores) for _ in range(2))
        assert all(torch.equal(first[name], again[name]) for name in scores)
        if len(shapes) == 1 and scope == "layer":
            kept = first["0"].flatten()
            assert torch.equal(kept, kept.sort().values)

    @pytest.mark.parametrize("scope", SCOPES)
    def test_leaves_the_scores_as_they_were(self, scope):
        scores = random_scores([(3, 4)], 0)
        before = scores["layer_0"].clone()
        allocate(scores, 0.5, scope, scores)
        assert torch.equal(scores["layer_0"], before)


class TestAllocateRatios:
    @given(shapes=shapes, drawn=st.lists(ratios, min_size=4, max_size=4), seed=seeds)
    def test_each_layer_has_its_ratio(self, shapes, drawn, seed):
        scores = random_scores(shapes, seed)
        given_ratios = dict(zip(list(scores)[1:], drawn, strict=False))
        masks = allocate_ratios(scores, given_ratios)
        assert list(masks) == list(scores)
        for name, mask in masks.items():
            n = mask.numel()
            assert n - int(mask.sum()) == round(given_ratios.get(name, 0.0) * n)
            if mask.any() and not mask.all():
                assert scores[name][mask].min() >= scores[name][~mask].max()


class TestSplitCount:
    @given(sizes=sizes, data=st.data())
    def test_the_parts_sum_to_the_whole_and_fit(self, sizes, data):
        total = data.draw(st.integers(0, sum(sizes)))
        parts = split_count(total, sizes)
        assert sum(parts) == total
        assert all(0 <= part <= size for part, size in zip(parts, sizes, strict=True))
        if sum(sizes) - total >= len(sizes):
            assert all(part < size for part, size in zip(parts, sizes, strict=True))

    @given(size=st.integers(2, 12), n=st.integers(1, 8), data=st.data())
    def test_equal_groups_get_equal_parts_to_within_one(self, size, n, data):
        parts = split_count(data.draw(st.integers(0, size * n)), [size] * n)
        assert max(parts) - min(parts) <= 1

    @given(sizes=st.lists(st.integers(10, 60), min_size=1, max_size=6), data=st.data())
    def test_parts_are_proportional_to_within_one(self, sizes, data):
        total = data.draw(st.integers(0, sum(sizes) * 8 // 10))
        for part, size in zip(split_count(total, sizes), sizes, strict=True):
            assert abs(part - total * size / sum(sizes)) < 1

    @given(sizes=sizes, data=st.data())
    def test_no_part_is_less_than_it_must_be(self, sizes, data):
        at_least = [data.draw(st.integers(0, size)) for size in sizes]
        total = data.draw(st.integers(sum(at_least), sum(sizes)))
        parts = split_count(total, sizes, at_least)
        assert sum(parts) == total
        assert all(a <= b <= c for a, b, c in zip(at_least, parts, sizes, strict=True))
