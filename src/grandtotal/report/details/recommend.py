"""Recommendations on the page."""

from grandtotal.report.details.kind import Kind, Measure, Question, detail, small_columns
from grandtotal.report.details.reach import by_retailer, frontier
from grandtotal.report.markup import Html, joined, paragraph
from grandtotal.report.source import Findings


def details(found: Findings) -> Html:
    """Returns where in the list the hits are, and who is reached."""
    hits = small_columns(
        detail(found, "hits_by_rank"),
        "Where in the list the hits are",
        "Hits per customer at each place of the list, from the first to the last.",
    )
    reached = detail(found, "reach")
    return joined([hits, _kept(found), frontier(list(reached.values())), by_retailer(reached)])


def _kept(found: Findings) -> Html:
    """Returns which retailers keep something of their own on top of the shared model."""
    layers = detail(found, "at_home")
    if not layers:
        return Html("")
    own = [
        f"{who} its {layer['kept']} (ranking quality {layer['gain']:+.3f})"
        for who, layer in layers.items()
        if layer["kept"]
    ]
    return paragraph(
        f"Kept at home, since it was clearly better on the retailer’s own validation: "
        f"{', '.join(own)}. The others keep the shared model as it is."
        if own
        else "Nothing of a retailer’s own on top of the shared model was clearly better on its "
        "validation anywhere; all keep the shared model as it is.",
        class_="note",
    )


_ASKED = {
    "co-purchases": Question(
        "For every pair of products: how many customers bought both before a date. "
        "The diagonal counts the customers of each product.",
        "A cell of 1 is one customer’s basket: exactly one customer bought both products. In a "
        "retailer’s summand that customer is one of its own; in the total it is one of anybody’s.",
    ),
    "purchase-counts": Question(
        "How many customers bought each product before a date, and how many customers there are.",
        "A summand is the retailer’s own bestseller list and the number of its customers.",
    ),
    "ranking-scores": Question(
        "How well a candidate model ranks for the retailer’s customers: three summed scores and "
        "the number of customers scored.",
        "How many customers came back for something new, and how predictable they are on average.",
    ),
    "pair-counts": Question(
        "For every pair of products: how often one was bought shortly before the other, and how "
        "many customers bought both. In a large catalogue for groups of products first, and then "
        "only for groups in which there is something.",
        "A cell of one step is one customer who bought the two in this order, or both. In a "
        "retailer’s summand that customer is one of its own; in the total it is one of anybody’s.",
    ),
    "als-moments": Question(
        "For every product: sums, over its customers, of what a customer’s own factors are, and of "
        "their products with each other. Factors are found at home and leave only inside sums.",
        "Of a product that one customer of all retailers bought, the sum is that customer’s "
        "factors: what was bought can be guessed from them.",
    ),
    "als-products": Question(
        "For every product: the sum of its customers’ own factors, each weighted by how well a "
        "direction fits the customer. It is asked a few times in place of larger sums.",
        "Of a product that one customer of all retailers bought, the sum is a multiple of that "
        "customer’s factors: what was bought can be guessed from them.",
    ),
    "blend-scores": Question(
        "How well several candidate models rank together, for every way to share the weight among "
        "them: three summed scores for each, and the number of customers scored.",
        "How many customers came back for something new, and how predictable they are on average.",
    ),
    "bridge-sums": Question(
        "Sums over the products of the retailers’ products tables: which words come together, and "
        "which factors products with a word have.",
        "Which words a retailer’s products have, as counts of hashed words. No purchase is read.",
    ),
    "content-vectors": Question(
        "For every product: what its words say of its factors, and how many retailers list it.",
        "Which products of the catalogue a retailer lists, and roughly with which words. No "
        "purchase is read.",
    ),
    "offered-products": Question(
        "How many retailers sell each product and let the others show it.",
        "Which products a retailer that said so in its own file sells. Of a product that one "
        "retailer alone offers, others learn that somebody sells it, not who.",
    ),
    "basket-scores": Question(
        "How well a candidate model names the products that the retailer’s customers buy next, for "
        "several weights beside their own habits: three summed scores for each, and the number of "
        "customers scored.",
        "How many customers came back, and how habitual they are on average.",
    ),
    "rebuy-counts": Question(
        "How many customers and products there are by how often, in how many baskets and how long "
        "ago, and how many of them are in the basket that followed; then how many for each "
        "product.",
        "How habitual the retailer’s customers are, and how often each product is bought again. A "
        "product that is bought again once is bought again by one customer, nobody knows by whom.",
    ),
}

RECOMMEND = Kind(
    question="Which products new to a customer will that customer buy next?",
    measures={
        "ndcg": Measure(
            "NDCG@{top}",
            "ranking quality",
            "From 0 to 1: how many of a customer’s later purchases are in the list of {top} "
            "recommendations, those near the top counting more",
        ),
        "recall": Measure("recall@{top}"),
        "hit_rate": Measure("hit rate@{top}"),
        "recall_repeat": Measure("recall@{top} of bought before"),
        "recall_explore": Measure("recall@{top} of new products"),
        "coverage": Measure(
            "coverage", plain="share of the catalogue that was recommended to anybody"
        ),
    },
    models={
        "popularity": "bestsellers",
        "item-knn": "item to item (ItemKNN)",
        "ease": "item to item (EASE)",
        "edlae": "item to item (EDLAE)",
        "content": "products that words describe alike (content)",
        "hybrid": "factors that words of products speak for (hybrid)",
        "als": "factors of customers and products (ALS)",
        "transitions": "what follows what",
        "sasrec": "network over the latest purchases (SASRec)",
        "gru": "network over the latest purchases (GRU)",
        "two-tower": "network of customers and products (two towers)",
    },
    asked=_ASKED,
    details=details,
)
