from fractions import Fraction
from math import floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skec.allocation import (
    SCOPES,
    PatternScope,
    allocate,
    allocate_units,
    erdos_renyi_counts,
    n_removed_units,
    split_count,
)
from skec.utils import lamp_scores

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
    @given(shapes=shapes, ratio=ratios, scope=st.sampled_from(sorted(SCOPES)), seed=seeds)
    def test_the_number_removed_is_the_ratio_rounded(self, shapes, ratio, scope, seed):
        scores = random_scores(shapes, seed)
        masks = allocate(scores, ratio, scope, scores)
        assert {name: mask.shape for name, mask in masks.items()} == {
            name: score.shape for name, score in scores.items()
        }
        assert removed(masks) == round(ratio * count(scores))

    @given(
        shapes=shapes, ratio=st.floats(0.4, 0.99), scope=st.sampled_from(sorted(SCOPES)), seed=seeds
    )
    def test_no_layer_is_emptied_while_another_can_give(self, shapes, ratio, scope, seed):
        scores = random_scores(shapes, seed, n_values=3)
        masks = allocate(scores, ratio, scope, scores)
        if count(scores) - removed(masks) >= len(shapes):
            assert all(mask.any() for mask in masks.values())

    @pytest.mark.parametrize("scope", sorted(SCOPES))
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

    @given(shapes=shapes, scope=st.sampled_from(sorted(SCOPES)), seed=seeds)
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

    @given(shapes=shapes, ratio=ratios, scope=st.sampled_from(sorted(SCOPES)))
    def test_ties_are_decided_by_position(self, shapes, ratio, scope):
        scores = {str(i): torch.ones(shape) for i, shape in enumerate(shapes)}
        first, again = (allocate(scores, ratio, scope, scores) for _ in range(2))
        assert all(torch.equal(first[name], again[name]) for name in scores)
        if len(shapes) == 1 and scope == "layer":
            kept = first["0"].flatten()
            assert torch.equal(kept, kept.sort().values)

    @pytest.mark.parametrize("scope", sorted(SCOPES))
    def test_leaves_the_scores_as_they_were(self, scope):
        scores = random_scores([(3, 4)], 0)
        before = scores["layer_0"].clone()
        allocate(scores, 0.5, scope, scores)
        assert torch.equal(scores["layer_0"], before)


class TestErdosRenyi:
    @given(shapes=shapes, ratio=ratios)
    def test_densities_are_proportional_to_inputs_plus_outputs_over_their_product(
        self, shapes, ratio
    ):
        sizes = [n_out * n_in for n_out, n_in in shapes]
        total = round(ratio * sum(sizes))
        counts = erdos_renyi_counts(shapes, total)
        assert sum(counts) == pytest.approx(total)
        factors = []
        for (n_out, n_in), count, size in zip(shapes, counts, sizes, strict=True):
            assert -1e-9 <= count <= size
            factors.append((1 - count / size) * size / (n_out + n_in))
        whole = [count == 0 for count in counts]
        below = [factor for factor, full in zip(factors, whole, strict=True) if not full]
        assert below == pytest.approx(below[:1] * len(below), abs=1e-12)
        for factor, full in zip(factors, whole, strict=True):
            if full and below:  # it would need a density above one
                assert factor <= below[0] + 1e-9

    def test_by_hand(self):
        # kept: proportional to 110, 20 and 11 of 70; the last would keep 5.5 of its 10
        shapes = [(10, 100), (10, 10), (1, 10)]
        expected = [1000 - 70 * 110 / 141, 100 - 70 * 20 / 141, 10 - 70 * 11 / 141]
        assert erdos_renyi_counts(shapes, 1040) == pytest.approx(expected)
        # kept 300: 23.4 of 10 in the last layer are too many, so the others share 290
        expected = [1000 - 290 * 110 / 130, 100 - 290 * 20 / 130, 0]
        assert erdos_renyi_counts(shapes, 810) == pytest.approx(expected)

    @given(ratio=st.floats(0.1, 0.9), seed=seeds)
    def test_masks_follow_to_within_a_weight(self, ratio, seed):
        shapes = [(8, 9), (8, 8), (3, 8)]
        scores = random_scores(shapes, seed)
        masks = allocate(scores, ratio, "erdos_renyi")
        exact = erdos_renyi_counts(shapes, round(ratio * count(scores)))
        for mask, part in zip(masks.values(), exact, strict=True):
            assert abs(int((~mask).sum()) - part) < 1 + 1e-9


class TestLayerAdaptive:
    @given(shapes=shapes, ratio=ratios, seed=seeds)
    def test_of_magnitudes_is_global_by_their_scores(self, shapes, ratio, seed):
        weights = {name: score - 0.5 for name, score in random_scores(shapes, seed).items()}
        magnitudes = {name: weight.abs() for name, weight in weights.items()}
        found = allocate(magnitudes, ratio, "lamp", weights)
        expected = allocate({n: lamp_scores(w) for n, w in weights.items()}, ratio)
        for name, mask in expected.items():
            assert torch.equal(found[name], mask)

    def test_the_numbers_come_from_the_weights_and_the_choice_from_the_scores(self):
        weights = random_scores([(6, 7), (4, 6)], 0)
        scores = random_scores([(6, 7), (4, 6)], 1)
        found, by_weight = (
            allocate(scores, 0.6, "lamp", weights),
            allocate(weights, 0.6, "lamp", weights),
        )
        for name, mask in found.items():
            assert mask.sum() == by_weight[name].sum()
            assert scores[name][mask].min() > scores[name][~mask].max()

    def test_needs_the_weights(self):
        with pytest.raises(ValueError, match=r"scope='lamp' needs the weights .* got None"):
            allocate(random_scores([(2, 2)], 0), 0.5, "lamp")


patterns = st.tuples(st.integers(1, 7), st.integers(1, 7)).map(lambda p: (p[0], p[0] + p[1]))


class TestGroups:
    def groups(self, mask, m):
        return [mask[:, start : start + m] for start in range(0, mask.shape[1], m)]

    @given(pattern=patterns, n_out=st.integers(1, 4), n_in=st.integers(1, 20), seed=seeds)
    def test_n_of_m_stay_and_they_are_the_highest(self, pattern, n_out, n_in, seed):
        n, m = pattern
        ((_, scores),) = random_scores([(n_out, n_in)], seed).items()
        mask = allocate({"a": scores}, 1 - n / m, f"{n}:{m}")["a"]
        assert mask.shape == scores.shape
        for kept, score in zip(self.groups(mask, m), self.groups(scores, m), strict=True):
            size = kept.shape[1]  # the last group may be smaller
            assert (kept.sum(1) == min(n, size)).all()
            for row_kept, row_score in zip(kept, score, strict=True):
                if not row_kept.all():
                    assert row_score[row_kept].min() > row_score[~row_kept].max()

    @given(pattern=patterns, n_in=st.integers(1, 20), seed=seeds, n_steps=st.integers(1, 6))
    def test_stages_never_bring_a_weight_back(self, pattern, n_in, seed, n_steps):
        n, m = pattern
        before = torch.ones(3, n_in, dtype=torch.bool)
        for step in range(1, n_steps + 1):
            ((_, scores),) = random_scores([(3, n_in)], seed + step).items()
            ratio = (1 - n / m) * step / n_steps
            ranked = {"a": scores.masked_fill(~before, -torch.inf)}
            mask = PatternScope(n, m).allocate(ranked, 0.0, reached=lambda _, now=ratio: now)["a"]
            assert (mask <= before).all()
            for kept in self.groups(mask, m):
                assert (kept.sum(1) >= min(n, kept.shape[1])).all()
            before = mask
        for kept in self.groups(before, m):
            assert (kept.sum(1) == min(n, kept.shape[1])).all()

    def test_stages_remove_some_in_each_group(self):
        scores = random_scores([(3, 16)], 0)

        def after(ratio):
            return PatternScope(2, 8).allocate(scores, 0.0, reached=lambda _: ratio)["layer_0"]

        counts = [
            [int(group.sum()) for group in self.groups(after(r), 8)] for r in (0.0, 0.25, 0.5, 0.75)
        ]
        assert counts == [[24, 24], [18, 18], [12, 12], [6, 6]]

    @pytest.mark.parametrize("scope", ["4:2", "0:4", "2:2", "0:0"])
    def test_patterns_that_keep_none_or_all_are_named(self, scope):
        with pytest.raises(ValueError, match=f"scope='{scope}' must keep at least one .*'2:4'"):
            PatternScope.parse(scope)

    @pytest.mark.parametrize("scope", ["a:b", "2:", ":4", "2", "-1:4", "2:4:8", "2.0:4", "global"])
    def test_other_strings_are_no_patterns(self, scope):
        assert PatternScope.parse(scope) is None


class TestAllocateRatios:
    @given(shapes=shapes, drawn=st.lists(ratios, min_size=4, max_size=4), seed=seeds)
    def test_each_layer_has_its_ratio(self, shapes, drawn, seed):
        scores = random_scores(shapes, seed)
        given_ratios = dict(zip(list(scores)[1:], drawn, strict=False))
        masks = allocate(scores, 0.0, given_ratios)
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


def unit_scores(sizes, seed, n_values=None):
    return random_scores([(size,) for size in sizes], seed, n_values)


def lowest_first(score, count):
    """Positions of the lowest scores; of equal ones those that come first."""
    return sorted(sorted(range(len(score)), key=lambda i: (score[i], i))[:count])


class TestAllocateUnits:
    @pytest.mark.parametrize("tenths", range(1, 10))
    def test_keeps_exactly_the_share_rounded_down(self, tenths):
        for n in range(1, 401):
            kept = floor(n * (1 - Fraction(tenths, 10)))
            assert n - n_removed_units(n, tenths / 10) == kept
            (mask,) = allocate_units({"layer": torch.arange(float(n))}, tenths / 10).values()
            assert mask.tolist() == [i >= n - max(kept, 1) for i in range(n)]

    @given(n=st.integers(1, 1000), percent=st.integers(0, 99))
    def test_keeps_exactly_the_share_of_any_percentage(self, n, percent):
        expected = n - floor(n * (1 - Fraction(percent, 100)))
        assert n_removed_units(n, percent / 100) == expected

    @given(sizes=sizes, ratio=ratios, seed=seeds, n_values=st.sampled_from([None, 2]))
    def test_in_each_layer_the_lowest_go_and_of_equal_ones_the_first(
        self, sizes, ratio, seed, n_values
    ):
        scores = unit_scores(sizes, seed, n_values)
        for name, kept in allocate_units(scores, ratio).items():
            count = min(n_removed_units(len(kept), ratio), len(kept) - 1)
            gone = torch.nonzero(~kept).flatten().tolist()
            assert gone == lowest_first(scores[name].tolist(), count)

    @given(sizes=sizes, ratio=ratios, seed=seeds, n_values=st.sampled_from([None, 2]))
    def test_globally_the_lowest_go_except_the_best_of_a_layer(self, sizes, ratio, seed, n_values):
        scores = unit_scores(sizes, seed, n_values)
        masks = allocate_units(scores, ratio, "global")
        total = sum(sizes)
        assert removed(masks) == min(n_removed_units(total, ratio), total - len(sizes))
        assert all(kept[scores[name].argmax()] for name, kept in masks.items())
        candidates = [
            (float(value), name, i)
            for name, score in scores.items()
            for i, value in enumerate(score)
            if i != int(score.argmax())
        ]
        gone = [value for value, name, i in candidates if not masks[name][i]]
        assert sorted(gone) == sorted(value for value, _, _ in candidates)[: len(gone)]

    @given(sizes=sizes, seed=seeds, scope=st.sampled_from(["layer", "global"]))
    def test_nothing_goes_at_a_ratio_of_zero(self, sizes, seed, scope):
        masks = allocate_units(unit_scores(sizes, seed), 0.0, scope)
        assert all(kept.all() for kept in masks.values())

    @given(
        sizes=sizes,
        drawn=st.lists(ratios, min_size=2, max_size=4),
        scope=st.sampled_from(["layer", "global"]),
        seed=seeds,
    )
    def test_units_that_are_gone_stay_away(self, sizes, drawn, scope, seed):
        before = allocate_units(unit_scores(sizes, seed), 0.0)
        for step, ratio in enumerate(sorted(drawn)):
            scores = unit_scores(sizes, seed + step)
            scores = {n: s.masked_fill(~before[n], -torch.inf) for n, s in scores.items()}
            masks = allocate_units(scores, ratio, scope)
            assert all(before[name][kept].all() for name, kept in masks.items())
            assert all(kept.any() for kept in masks.values())
            before = masks

    @given(sizes=sizes, ratio=ratios, seed=seeds)
    def test_a_mapping_takes_the_place_of_the_ratio(self, sizes, ratio, seed):
        scores = unit_scores(sizes, seed)
        first, *others = scores
        masks = allocate_units(scores, 0.9, {first: ratio})
        assert torch.equal(masks[first], allocate_units({first: scores[first]}, ratio)[first])
        assert all(masks[name].all() for name in others)

    def test_does_not_write_to_the_scores(self):
        scores = unit_scores([5, 3], 0)
        before = {name: score.clone() for name, score in scores.items()}
        for scope in ("layer", "global"):
            allocate_units(scores, 0.5, scope)
        assert all(torch.equal(scores[name], score) for name, score in before.items())
