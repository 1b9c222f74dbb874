"""When the server is asked whether a Redis has moved: not too early or often, at once for a password."""

from appliance.queue.absence import JITTER, LONGEST_S, Absence


def least(low: float, _: float) -> float:
    return low


def most(_: float, high: float) -> float:
    return high


def asked_at(absence: Absence, until_s: int, *, refused: bool = False) -> list[int]:
    """The seconds at which the server is asked while the Redis stays away."""
    found = []
    for now_s in range(until_s):
        if absence.look(float(now_s), available=False, refused=refused):
            found.append(now_s)
            absence.asked(float(now_s))
    return found


def test_it_is_asked_after_a_while_and_then_ever_more_seldom() -> None:
    assert asked_at(Absence(30.0, least), 1_500) == [30, 90, 210, 450, 750, 1050, 1350]
    assert LONGEST_S == 300.0


def test_a_fleet_does_not_ask_together() -> None:
    assert asked_at(Absence(30.0, most), 60) == [int(30 * (1 + JITTER)) + 1]


def test_a_password_that_is_refused_is_asked_about_at_once_and_then_as_seldom() -> None:
    assert asked_at(Absence(30.0, least), 100, refused=True) == [0, 60]


def test_a_refusal_in_the_middle_of_an_absence_is_asked_about_at_once() -> None:
    absence = Absence(30.0, least)

    assert not absence.look(0.0, available=False, refused=False)
    assert absence.look(5.0, available=False, refused=True)


def test_a_password_that_only_new_connections_need_is_asked_about_too() -> None:
    assert Absence(30.0, least).look(0.0, available=True, refused=True)


def test_a_redis_that_is_back_is_forgotten() -> None:
    absence = Absence(30.0, least)
    asked_at(absence, 100)

    assert not absence.look(200.0, available=True, refused=False)
    assert not absence.look(201.0, available=False, refused=False)
    assert not absence.look(230.0, available=False, refused=False)
    assert absence.look(231.0, available=False, refused=False)


def test_a_redeployment_asks_at_once_about_what_is_away_and_about_nothing_else() -> None:
    away, here = Absence(30.0, least), Absence(30.0, least)
    away.look(0.0, available=False, refused=False)
    here.look(0.0, available=True, refused=False)

    away.hurry()
    here.hurry()

    assert away.look(1.0, available=False, refused=False)
    assert not here.look(1.0, available=False, refused=False)
