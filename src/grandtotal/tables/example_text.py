"""The texts of the generated example: its products, and the retailer.toml that explains itself."""

# (category, title, brand, list price in euros), the best sellers of a category first.
PRODUCTS: tuple[tuple[str, str, str, float], ...] = (
    ("kitchen > coffee", "Filter coffee 500 g", "Morgen", 6.49),
    ("kitchen > coffee", "Espresso beans 1 kg", "Morgen", 15.9),
    ("kitchen > coffee", "Decaf 250 g", "Morgen", 5.29),
    ("kitchen > coffee", "French press", "Halden", 24.9),
    ("kitchen > coffee", "Coffee grinder", "Halden", 39.0),
    ("kitchen > coffee", "Paper filters 100", "Plain", 2.19),
    ("kitchen > coffee", "Milk frother", "Halden", 19.9),
    ("kitchen > coffee", "Espresso cups 2", "Linde", 12.5),
    ("kitchen > coffee", "Travel mug", "Linde", 14.9),
    ("kitchen > coffee", "Descaler", "Plain", 4.49),
    ("kitchen > coffee", "Moka pot", "Halden", 29.9),
    ("kitchen > coffee", "Oat drink 1 l", "Morgen", 2.29),
    ("garden > balcony", "Potting soil 20 l", "Grow", 5.99),
    ("garden > balcony", "Basil seeds", "Grow", 1.99),
    ("garden > balcony", "Tomato seeds", "Grow", 2.29),
    ("garden > balcony", "Flower box 60 cm", "Linde", 9.9),
    ("garden > balcony", "Watering can 5 l", "Plain", 7.5),
    ("garden > balcony", "Pruning shears", "Halden", 17.9),
    ("garden > balcony", "Plant food 1 l", "Grow", 4.79),
    ("garden > balcony", "Hanging basket", "Linde", 11.9),
    ("garden > balcony", "Garden gloves", "Plain", 4.9),
    ("garden > balcony", "Bamboo sticks 20", "Plain", 3.49),
    ("garden > balcony", "Lavender", "Grow", 4.29),
    ("garden > balcony", "Trowel", "Halden", 8.9),
    ("paper > writing", "Notebook A5", "Blatt", 4.5),
    ("paper > writing", "Notebook A4", "Blatt", 6.5),
    ("paper > writing", "Fountain pen", "Feder", 22.0),
    ("paper > writing", "Ink blue", "Feder", 5.9),
    ("paper > writing", "Pencils 12", "Feder", 6.9),
    ("paper > writing", "Eraser", "Plain", 0.99),
    ("paper > writing", "Ruler 30 cm", "Plain", 1.79),
    ("paper > writing", "Wrapping paper", "Blatt", 3.29),
    ("paper > writing", "Greeting card", "Blatt", 2.49),
    ("paper > writing", "Envelopes 50", "Plain", 3.99),
    ("paper > writing", "Calendar", "Blatt", 9.9),
    ("paper > writing", "Highlighters 4", "Feder", 4.29),
    ("toys > games", "Memory game", "Spiel", 12.9),
    ("toys > games", "Domino", "Spiel", 9.9),
    ("toys > games", "Playing cards", "Spiel", 3.9),
    ("toys > games", "Puzzle 500", "Spiel", 11.9),
    ("toys > games", "Puzzle 1000", "Spiel", 14.9),
    ("toys > games", "Dice 6", "Plain", 2.49),
    ("toys > games", "Chess", "Halden", 34.9),
    ("toys > games", "Word game", "Spiel", 19.9),
    ("toys > games", "Yo-yo", "Plain", 4.5),
    ("toys > games", "Kite", "Linde", 16.9),
    ("toys > games", "Ball", "Plain", 6.9),
    ("toys > games", "Marbles 50", "Plain", 5.5),
    ("home > candles", "Pillar candle red", "Licht", 4.9),
    ("home > candles", "Pillar candle white", "Licht", 4.9),
    ("home > candles", "Tea lights 50", "Licht", 6.5),
    ("home > candles", "Scented candle fig", "Licht", 17.9),
    ("home > candles", "Scented candle pine", "Licht", 17.9),
    ("home > candles", "Candle holder brass", "Linde", 21.9),
    ("home > candles", "Candle holder glass", "Linde", 9.9),
    ("home > candles", "Lantern", "Linde", 26.9),
    ("home > candles", "Matches", "Plain", 1.29),
    ("home > candles", "Lighter", "Plain", 2.99),
    ("home > candles", "Taper candles 10", "Licht", 8.9),
    ("home > candles", "Snuffer", "Halden", 13.9),
)

CONFIG = """\
# What this retailer keeps to itself: where its tables are and how its columns are called.
# `grandtotal check` reads everything named here and says what it found.

retailer = "{name}"            # as in plan.toml
currency = "EUR"               # of every price; others are set aside, or need [rates] USD = ...
time_zone = "Europe/Berlin"    # of times that are written without one
# catalogue_key = "catalogue.key" # of a private catalogue: the same file at every retailer

[tables.transactions]          # the one table that must be there
path = "data/transactions.csv" # .csv, .csv.gz or .parquet; also a folder of them, or a glob
# Or from a database: url = "postgresql://user@host:5432/shop" with query = "select ..." or
# table = "orders", and password_env = "SHOP_PASSWORD"; see docs/sources.md
# Our name on the left, the name in the file on the right; others are found by their own name:
# product, time, quantity, price, customer, store, basket, discount, promotion, currency
columns = {{ basket = "receipt" }}
time_format = "%Y-%m-%d %H:%M" # not needed for ISO 8601; "%d/%m/%Y" for 31/12/2023
separator = ","                # or ";"
decimal = "."                  # or ","
duplicates = "set-aside"       # or "keep", if a line can truly occur twice

[tables.products]              # product, gtin, title, description, category, brand, list_price ...
path = "data/products.csv"

[tables.customers]             # customer, age_band, region, tier, joined
path = "data/customers.csv"
consent = ["consent"]          # all must be yes; others' rows are dropped in every table

[tables.stores]                # store, region, opened, format
path = "data/stores.csv"

[tables.calendar]              # date, region, holiday, weather, trend, known_at
path = "data/calendar.csv"

[tables.events]                # session, time, type, customer, product, store, query
path = "data/events.csv"

[tables.stock]                 # product, date, on_hand, store, on_order
path = "data/stock.csv"

[tables.supply]                # product, store, lead_time, pack, minimum_order, unit_cost ...
path = "data/supply.csv"

[privacy]                      # what you allow, whatever a plan asks; docs/data.md has all keys
door = "door"                  # the folder of your keys and of the ledger of all that left you
epsilon = 10.0                 # of all plans together, at delta; what was spent is never refunded
delta = 1e-6
exact_totals = true            # false: refuse plans without epsilon, which no cap can count
clear_summands = true          # false: refuse plans without secure sums
# purposes = {{ recommend = 4.0 }} # a smaller epsilon for one kind of task
"""
