from tasks.runners.kept import Kept


class Connection:
    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


def test_the_last_one_given_is_the_first_taken_and_only_once():
    kept = Kept(idle_s=60)
    old, new = Connection(), Connection()
    kept.give("a", old)
    kept.give("a", new)
    assert kept.take("b") is None
    assert kept.take("a") is new
    assert kept.take("a") is old
    assert kept.take("a") is None


def test_too_old_and_too_many_are_closed():
    stale = Connection()
    kept = Kept(idle_s=0)
    kept.give("a", stale)
    assert kept.take("a") is None
    assert stale.closed
    kept = Kept(idle_s=60, per_key=1)
    one, two = Connection(), Connection()
    kept.give("a", one)
    kept.give("a", two)
    assert two.closed
    assert not one.closed
    kept.close()
    assert one.closed
    assert kept.take("a") is None
