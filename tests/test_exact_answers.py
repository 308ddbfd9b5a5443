"""What queries answer where nothing is clipped, as digests: totals are the same everywhere."""

from grandtotal.durable import arrays_digest
from grandtotal.privacy.fixedpoint import unpack

# Of the rows that tests/conftest.py builds, all holders together. Rankings are not among them:
# they are made of products of floats.
ANSWERS = {
    "catalogue-presence": "7677dbd3ccee129a",
    "category-counts": "7628dcd4e1b2e8a1",
    "co-purchases": "cf5487c44adba589",
    "demand-series": "b1b25136bbbf5ff0",
    "forecast-errors": "0ff25680a3477fb0",
    "forecast-scores": "3fab6701abda484f",
    "glm-moments": "f1d5c8ab9df4550d",
    "purchase-counts": "646c0f0c5d8472df",
    "quantile-counts": "c9a31452928f606e",
    "target-sums": "87870c1989b7a47e",
    "test-scores": "1b2a4287213f0193",
    "tree-histograms": "b5cfa2630746bf28",
    "tree-progress": "b4cb7e9d1a341efe",
    "tree-residuals": "d0ea2d9c6929f142",
    "tree-target": "eaa07f6cc17a8d8f",
}


def test_exact_answers_are_what_they_were_before_there_was_any_clipping(asked):
    if asked.query.name in ANSWERS:
        assert arrays_digest(whole(asked))[:16] == ANSWERS[asked.query.name]


def whole(asked):
    """Returns the answer of all rows, a symmetric matrix as the square that it is."""
    fields = asked.query.fields(asked.broadcast)
    return {
        name: unpack(values, fields[name].shape[0])
        if values.shape != fields[name].shape
        else values
        for name, values in asked.answer(asked.pooled).items()
    }
