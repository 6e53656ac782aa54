import pytest

from suppression.keys import KeyRingError, parse_ring

SECRET = "correct horse battery"


def test_a_ring_keeps_its_order() -> None:
    ring = parse_ring(f"b:{SECRET}, a:{SECRET}:2")
    assert list(ring.items()) == [("b", SECRET.encode()), ("a", f"{SECRET}:2".encode())]


@pytest.mark.parametrize(
    "ring",
    [
        "",
        "  ",
        SECRET,
        f":{SECRET}",
        f"toolongid:{SECRET}",
        f"A:{SECRET}",
        "a:fifteen letters"[:-1],
        f"a:{SECRET},a:{SECRET}x",
        f"a:{SECRET},",
        f"a:{SECRET}\udc80",
    ],
)
def test_a_malformed_ring_is_refused_and_the_secret_is_not_told(ring: str) -> None:
    with pytest.raises(KeyRingError) as refusal:
        parse_ring(ring)
    assert "correct" not in str(refusal.value)
    assert "fifteen" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_secret_of_sixteen_characters_is_enough() -> None:
    assert parse_ring("a:" + "s" * 16) == {"a": b"s" * 16}
