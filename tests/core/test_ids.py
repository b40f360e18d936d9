from arcfusion.core.ids import unused_id


def test_the_same_thing_filed_often_gets_as_many_ids():
    taken: set[str] = set()
    for _ in range(320):  # more than 30 for each length below the longest
        taken.add(unused_id("x", "the same", taken.__contains__))
    assert len(taken) == 320
    assert max(map(len, taken)) == len("x-") + 12
