"""The value of arguments that were not given."""

import copy
import pickle

from skec.utils.sentinels import NOT_GIVEN, given


def test_there_is_one_also_after_a_copy():
    assert copy.deepcopy(NOT_GIVEN) is NOT_GIVEN
    assert pickle.loads(pickle.dumps(NOT_GIVEN)) is NOT_GIVEN
    assert repr(NOT_GIVEN) == "NOT_GIVEN"


def test_none_counts_as_given():
    assert given(a=None, b=NOT_GIVEN, c=0) == {"a": None, "c": 0}
