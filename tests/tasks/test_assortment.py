import numpy as np
import pytest

from grandtotal.privacy.fingerprint import fingerprints
from grandtotal.tasks.assortment import Assortment, gtin14, plain_id

KEY = b"k" * 32


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("4006381333931", "04006381333931"),  # EAN-13
        (" 4006381333931 ", "04006381333931"),
        ("036000291452", "00036000291452"),  # UPC-A
        ("0036000291452", "00036000291452"),
        ("00036000291452", "00036000291452"),
        ("96385074", "00000096385074"),  # EAN-8
        ("10614141000415", "10614141000415"),  # a case of another unit
    ],
)
def test_the_same_bar_code_is_the_same_however_it_is_padded(text, normalised):
    assert gtin14(text) == normalised


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4006381333932",
        "400638133393",
        "36000291452",
        "40063813339a1",
        "٤٠٠٦٣٨١٣٣٣٩٣١",
        "4006381-333931",
        "00000000",
        "0000000000000",
        "140063813339310",
    ],
)
def test_what_is_no_gtin_names_nothing(text):
    assert gtin14(text) is None


@pytest.mark.parametrize("place", range(13))
def test_every_single_digit_that_is_wrong_is_found(place):
    digits = "4006381333931"
    for digit in set("0123456789") - {digits[place]}:
        assert gtin14(digits[:place] + digit + digits[place + 1 :]) is None


def test_an_id_is_the_same_in_any_unicode_form_and_case_counts():
    assert plain_id(" cafe\u0301 ") == plain_id("caf\u00e9") == "caf\u00e9"
    assert plain_id("47503J") != plain_id("47503j")
    assert plain_id("  ") is None


LISTED = {"a": "1", "b": "2", "c": "2", "d": None, "e": "3"}
SOLD = {"a": 5.0, "b": 7.0, "c": 8.0, "x": 1.0}


def test_the_less_sold_of_two_entries_for_one_product_is_left_out_and_counted():
    found = Assortment.of(LISTED, SOLD, KEY)
    assert set(found.products) == {"a", "c", "e"}
    assert (found.doubled, found.without_key, found.unlisted) == (1, 1, 1)
    assert (np.diff(found.fingerprints.astype(object)) > 0).all()
    expected = dict(zip(("a", "c", "e"), fingerprints(KEY, "product", "123"), strict=True))
    assert dict(zip(found.products, found.fingerprints, strict=True)) == expected


def test_entries_that_sold_the_same_are_chosen_by_id_in_any_order():
    tied = {"b": "2", "c": "2"}
    for listed in (tied, dict(reversed(tied.items()))):
        assert Assortment.of(listed, {}, KEY).products == ("b",)


def test_a_catalogue_is_read_in_own_ids_and_others_keep_their_number():
    found = Assortment.of(LISTED, SOLD, KEY)
    (foreign,) = fingerprints(KEY, "product", ["9"])
    own = dict(zip(found.products, found.fingerprints, strict=True))
    buckets = np.sort(np.array([own["a"], own["c"], foreign]))
    names = found.named(buckets)
    assert {*names} == {"a", "c", f"#{foreign:016x}"}
    assert [names[place] for place in found.absent(buckets)] == [f"#{foreign:016x}"]
    assert found.account(buckets) == {
        "shared": 2,
        "not shared": 1,
        "doubled": 1,
        "without key": 1,
        "unlisted": 1,
        "of others": 1,
    }
