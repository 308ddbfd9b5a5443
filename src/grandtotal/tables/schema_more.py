"""The tables that a retailer adds one by one: what is seen, promised, stocked and thought."""

from grandtotal.tables.kinds import Table, may, must, recorded

EVENT_TYPES = ("view", "cart", "try-on", "search", "purchase")

EVENTS = Table(
    "events",
    (
        must("session", "id", "the visit that the event belongs to"),
        recorded("time", "time", "when it happened", "the retailer's local time"),
        must("type", "text", f"one of {', '.join(EVENT_TYPES)}; other words are kept and said"),
        may("customer", "id", "who it was; empty for a visitor who is not known"),
        may("product", "id", "what it was about; empty for a search or a page"),
        may("store", "id", "where; empty for the web shop"),
        may("query", "text", "what was searched for"),
    ),
    "one thing that a visitor did, on the web or at a mirror in a store",
    enables="recommendations from what is looked at, and search",
)

SESSIONS = Table(
    "sessions",
    (
        must("session", "id", "the visit"),
        recorded("time", "time", "when it began, or its month", "the retailer's local time"),
        may(
            "purchased",
            "flag",
            "whether something was bought; empty while the visit goes on",
            enables="purchase intent",
        ),
        may("customer", "id", "who it was; empty for a visitor who is not known"),
        may("product_pages", "number", "pages of products", "pages", least=0.0),
        may("product_seconds", "number", "how long on them", "seconds", least=0.0),
        may("account_pages", "number", "pages of the own account", "pages", least=0.0),
        may("account_seconds", "number", "how long on them", "seconds", least=0.0),
        may("information_pages", "number", "pages about the shop", "pages", least=0.0),
        may("information_seconds", "number", "how long on them", "seconds", least=0.0),
        may("bounce_rate", "number", "of its pages, the mean", "share", least=0.0, most=1.0),
        may("exit_rate", "number", "of its pages, the mean", "share", least=0.0, most=1.0),
        may("page_value", "number", "what its pages usually lead to, the mean", least=0.0),
        may("special_day", "number", "how near one is: 1 is on it", "share", least=0.0, most=1.0),
        may("weekend", "flag", "where the time is a month only"),
        may("visitor_type", "text", 'such as "new" and "returning"'),
        may("traffic_type", "text", "where the visitor came from"),
        may("device", "text", "such as the browser"),
        may("region", "text", "where the visitor is; measures gaps and is no feature"),
    ),
    "one visit to the web shop",
    key=("session",),
    enables="purchase intent, from exports that have one row a visit",
)

PROMOTIONS = Table(
    "promotions",
    (
        must("product", "id", "as in transactions"),
        recorded("start", "date", "its first day"),
        must("end", "date", "its last day, itself included; not before the first"),
        may("store", "id", "where; empty for everywhere"),
        may("depth", "number", "the reduction: 0.2 is 20 % off", "share", least=0.0, most=1.0),
        may("kind", "text", 'such as "price", "leaflet", "two for one"'),
    ),
    "one product in one promotion, planned or past",
    enables="forecasts that know the coming promotions",
)

RATINGS = Table(
    "ratings",
    (
        must("product", "id", "as in transactions"),
        must("rating", "number", "1 is worst and 5 is best", "stars", least=1.0, most=5.0),
        recorded("time", "time", "when it was given", "the retailer's local time"),
        may("customer", "id", "who gave it; empty if that is not known"),
        may("title", "text", "the heading of the review"),
        may("text", "text", "the review"),
    ),
    "one rating, with its review if there is one",
    enables="recommendations that know what was liked",
)

STOCK = Table(
    "stock",
    (
        must("product", "id", "as in transactions"),
        recorded("date", "date", "the day, at whose end it was counted"),
        must("on_hand", "number", "how many were there; negative where the books say so", "units"),
        may("store", "id", "where; empty for all together"),
        may("on_order", "number", "ordered from the supplier and not there yet", "units"),
    ),
    "what one store had of one product on one day",
    key=("product", "store", "date"),
    enables="demand told from empty shelves, and orders",
)

SUPPLY = Table(
    "supply",
    (
        must("product", "id", "as in transactions"),
        may("store", "id", "for which store it holds; empty for all"),
        may("lead_time", "number", "from the order to the shelf", "days", least=0.0),
        may("pack", "number", "how many are ordered at once", "units", least=0.0),
        may("minimum_order", "number", "the fewest that can be ordered", "units", least=0.0),
        may("shelf_life", "number", "how long it can be sold", "days", least=0.0),
        may("space", "number", "how many fit on the shelf", "units", least=0.0),
        may("unit_cost", "money", "what one unit costs", "the retailer's currency", least=0.0),
    ),
    "how one product is ordered",
    key=("product", "store"),
    enables="orders",
)

PRICES = Table(
    "prices",
    (
        must("product", "id", "as in transactions"),
        recorded("start", "date", "from when on; it holds until the next"),
        must(
            "list_price",
            "money",
            "the price before any reduction",
            "the retailer's currency",
            least=0.0,
        ),
        may("store", "id", "where; empty for everywhere"),
        may("cost", "money", "what one unit cost", "the retailer's currency", least=0.0),
    ),
    "one list price, from one day on",
    key=("product", "store", "start"),
    enables="how deep a reduction is, and margins over time",
)

VISITS = Table(
    "visits",
    (
        recorded("time", "time", "the day, or where its hour begins", "the retailer's local time"),
        must("visits", "number", "how many came in", "visits", least=0.0),
        may("store", "id", "where; empty for all together"),
    ),
    "how many people entered a store in one day or hour",
    key=("store", "time"),
    enables="the share of visitors who buy, and staffing",
)

MORE = (EVENTS, SESSIONS, PROMOTIONS, RATINGS, STOCK, SUPPLY, PRICES, VISITS)
