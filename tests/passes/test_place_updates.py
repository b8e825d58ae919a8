from tvm import relax

from tests.passes.single_operator import variables
from tvm_pulp.passes.operators.update import accumulate
from tvm_pulp.passes.place_updates import Update, place_updates

ARGUMENTS = variables({name: (4,) for name in ("x", "w", "g", "total")})
X, W, G, TOTAL = ARGUMENTS.values()


def bind(name: str, value: relax.Expr) -> tuple[relax.Var, relax.Expr]:
    value = relax.BlockBuilder().normalize(value)
    return relax.DataflowVar(name, value.ty), value


def update(target: relax.Var, source: relax.Var) -> Update:
    return Update(accumulate("layer", "update", (4,)), (target, source), (0,), "updated")


def test_after_the_last_reader_of_the_old_value() -> None:
    a = bind("a", relax.op.add(X, W))
    b = bind("b", relax.op.multiply(a[0], W))
    c = bind("c", relax.op.multiply(b[0], X))
    made = update(W, G)
    assert place_updates([a, b, c], [made]) == [a, b, made, c]


def test_after_its_operand_is_there() -> None:
    a = bind("a", relax.op.add(X, X))
    b = bind("b", relax.op.multiply(a[0], X))
    c = bind("c", relax.op.multiply(b[0], X))
    made = update(W, b[0])
    assert place_updates([a, b, c], [made]) == [a, b, made, c]


def test_readers_of_a_view_count() -> None:
    view = bind("view", relax.op.reshape(W, (2, 2)))
    again = bind("again", relax.op.reshape(view[0], (4,)))
    a = bind("a", relax.op.add(X, again[0]))
    made = update(W, G)
    assert place_updates([view, again, a], [made]) == [view, again, a, made]


def test_at_the_start_if_nothing_is_in_the_way() -> None:
    a = bind("a", relax.op.add(X, X))
    made = update(W, G)
    assert place_updates([a], [made]) == [made, a]


def test_several_updates_keep_their_order() -> None:
    first, second = update(W, G), update(TOTAL, G)
    assert place_updates([], [first, second]) == [first, second]
