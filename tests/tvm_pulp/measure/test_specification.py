import pytest

from tvm_pulp.measure.specification import SOURCE, Key, parse_specification
from tvm_pulp.target.errors import UserError

KINDS = {
    "matmul": [Key("m"), Key("n", 4), Key("pad", 0, least=0), Key("layout", "nn", ("nn", "tn")), SOURCE],
    "relu": [Key("elements")],
}


def test_values_and_defaults():
    found = parse_specification("matmul:m=48,layout=tn,pad=0,source=l1", KINDS)
    assert (found.kind, found.text) == ("matmul", "matmul:m=48,layout=tn,pad=0,source=l1")
    assert dict(found.values) == {"m": 48, "n": 4, "pad": 0, "layout": "tn", "source": "l1"}
    assert (found.number("m"), found.word("layout")) == (48, "tn")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv:m=1", "there is no kernel 'conv'; choose of matmul, relu"),
        ("matmul:q=1", "matmul has no key 'q'; write key=value of m, n, pad, layout, source"),
        ("matmul:m", "matmul has no key 'm'; write key=value of m, n, pad, layout, source"),
        ("matmul:n=1", "m is missing; matmul has the keys m, n, pad, layout, source"),
        ("relu", "elements is missing; relu has the keys elements"),
        ("matmul:m=1,m=2", "m is given twice; leave one out"),
        ("matmul:m=0", "m=0 is not allowed; give a whole number >= 1"),
        ("matmul:m=1,pad=-1", "pad=-1 is not allowed; give a whole number >= 0"),
        ("matmul:m=1.5", "m=1.5 is not allowed; give a whole number >= 1"),
        ("matmul:m=²", "m=² is not allowed; give a whole number >= 1"),
        ("matmul:m=1,layout=nt", "layout=nt is not allowed; choose of nn, tn"),
        ("matmul:m=1,source=l3", "source=l3 is not allowed; choose of l1, l2"),
    ],
)
def test_a_wrong_one_is_named(text, message):
    with pytest.raises(UserError) as caught:
        parse_specification(text, KINDS)
    assert str(caught.value) == f"'{text}': {message}"
