from arcfusion.core.ids import unused_id


def test_the_same_thing_filed_a_thousand_times_gets_a_thousand_ids():
    taken: set[str] = set()
    for _ in range(1_000):
        taken.add(unused_id("x", "the same", taken.__contains__))
    assert len(taken) == 1_000
    assert max(map(len, taken)) == len("x-") + 12
