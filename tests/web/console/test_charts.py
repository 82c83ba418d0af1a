from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.web.console.charts import HEIGHT, WIDTH, Column, bar, columns

SVG = "{http://www.w3.org/2000/svg}"
counts = st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), max_size=30)


def draw(data: list[tuple[int, int]]) -> ET.Element:
    markup = columns(
        [Column(str(index), values) for index, values in enumerate(data)],
        title="A <title>",
        description="d",
        series=("allow", "block"),
    )
    return ET.fromstring(markup)


@given(counts)
@settings(max_examples=50)
def test_columns_have_one_scale_and_stay_in_the_drawing(data: list[tuple[int, int]]) -> None:
    bars = [
        (float(rect.attrib["y"]), float(rect.attrib["height"]), rect.attrib["class"])
        for rect in draw(data).iter("rect")
    ]

    assert all(y >= 0 and y + height <= HEIGHT for y, height, _ in bars)
    tall = [height for _, height, name in bars if name == "allow"]
    values = [allow for allow, _ in data if allow]
    assert len(tall) == len(values)
    for height, value in zip(tall, values, strict=True):
        assert abs(height - value * max(tall) / max(values)) <= 0.11  # to a tenth, both of them


def test_the_blocked_stand_upon_those_let_in() -> None:
    allow, block = draw([(3, 1)]).iter("rect")

    assert float(block.attrib["y"]) + float(block.attrib["height"]) == float(allow.attrib["y"])
    assert float(allow.attrib["height"]) == 3 * float(block.attrib["height"])


def test_a_chart_is_an_image_with_a_name() -> None:
    drawing = draw([(1, 2)])

    assert drawing.attrib["role"] == "img"
    title, description = drawing.attrib["aria-labelledby"].split()
    texts = {each.attrib["id"]: each.text for each in drawing if "id" in each.attrib}
    assert texts == {title: "A <title>", description: "d"}


def test_names_in_a_chart_are_text() -> None:
    markup = columns([Column("<script>\"'&", [1])], title="</svg>", description="<!--", series=("allow",))

    assert "<script" not in markup
    assert [text.text for text in ET.fromstring(markup).iter("text")][-1] == "<script>\"'&"


def test_nothing_is_drawn_with_styles_of_its_own() -> None:
    assert "style" not in columns([Column("a", [1])], title="", description="", series=("allow",)) + bar(1, 2)


def test_a_bar_is_its_part_of_the_most() -> None:
    assert re.findall(r'width="([\d.]+)"', bar(1, 4)) == ["100", "25.0"]
    assert re.findall(r'width="([\d.]+)"', bar(9, 4)) == ["100", "100.0"]
    assert re.findall(r'width="([\d.]+)"', bar(0, 0)) == ["100", "0.0"]
    assert WIDTH > 0
