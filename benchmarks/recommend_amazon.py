"""The next product on Amazon, 5-core: Beauty, Toys and Sports, full ranking, by counts and words.

P1 of docs/evaluation.md on the files of Zhou et al., "S3-Rec", 2020,
https://arxiv.org/abs/2008.07873. "statistics from training only": the test is scored by counts in
which the validation's products are not, as for a model that is trained once; a history holds them.
Without these words the counts are taken again with them, which costs three rounds.

Counts in order in two `shrink`s, the files' attributes of products (categories and brands, four of
each on average) and popularity are blended in quarters, chosen by NDCG@10 on each user's last but
one product. Five retailers by a hash of the user; every one has the attributes of all products, so
that "alone" lacks nothing but the others' customers. Best published centralised models, which read
no attributes: Beauty .0928/.0531, Toys .0970/.0580, Sports .0569/.0323 (eSASRec and SASRec with
sampled softmax, https://arxiv.org/abs/2508.06450).
"""

import gzip
import json
from dataclasses import replace
from pathlib import Path

from benchmarks.leave_one_out import dealt, listed, measured
from benchmarks.protocols import CARDS
from benchmarks.rows import Row, need
from grandtotal.algorithms.blend import Candidate
from grandtotal.algorithms.content import Content
from grandtotal.algorithms.content_based import ContentBased
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.transitions import Transitions

SOURCE = "github.com/RUCAIBox/CIKM2020-S3Rec, data/{Beauty,Toys_and_Games,Sports_and_Outdoors}"
BARS = {
    "Beauty": {"HR@10": 0.093, "NDCG@10": 0.056},
    "Toys_and_Games": {"HR@10": 0.105, "NDCG@10": 0.068},
    "Sports_and_Outdoors": {"HR@10": 0.057, "NDCG@10": 0.034},
}
GRID = tuple(Transitions(half_life=2.0, follows=2.0, shrink=shrink) for shrink in (10.0, 30.0))
GRIDS: dict[str, tuple[Candidate, ...]] = {
    "transitions": GRID,
    "content": (ContentBased(half_life=2.0),),
    "popularity": (Popularity(),),
}


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the rows of each department; with --quick of every eighth Beauty user."""
    print(f"  P1: {CARDS['P1']}")
    folder = data / "amazon-5core"
    rows = []
    for name, bars in list(BARS.items())[: 1 if quick else None]:
        sequences, products = listed(need(folder / f"{name}.txt.gz", f"{SOURCE}.txt"))
        words = need(folder / f"{name}_item2attributes.json.gz", f"{SOURCE}_item2attributes.json")
        world = dealt(sequences[:: 8 if quick else 1], products)
        world = replace(world, listings=described(words))
        label = name.split("_")[0]
        rows += measured(world, label, ("auto", *GRIDS), {} if quick else bars, False, GRIDS)
    return rows


def described(path: Path) -> Content:
    """Returns the attributes of each product, numbered from 1, as its words."""
    attributes = json.loads(gzip.decompress(path.read_bytes()))
    words = [[f"attribute {each}" for each in some] for some in attributes.values()]
    return Content.of(words, [int(product) - 1 for product in attributes])
