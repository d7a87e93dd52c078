"""The geometry of the charts."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashboard.annotations import Annotation
from app.dashboard.charts import HEIGHT, PANELS, Panel, annotations_svg, area, axis_svg, panel_svg, placed, steps
from app.dashboard.figures import read_outs, table_rows
from app.dashboard.observation import Column, Figures, Past
from app.dashboard.scales import linear, logarithmic
from tests.dashboard.observations import AT, day, past


def parsed(inner: str) -> ElementTree.Element:
    """The inside of a chart as XML."""
    return ElementTree.fromstring(f"<svg>{inner}</svg>")


def note(ago_s: float, kind: str = "switch", label: str = "switch to green") -> Annotation:
    """Something that happened."""
    return Annotation(AT - ago_s, kind, "green", label, "Switched to <green> & more")


def classes(inner: str) -> list[str]:
    """The classes of all paths."""
    return [path.get("class", "") for path in parsed(inner).iter("path")]


class TestShapes:
    """Lines and areas"""

    def test_equal_neighbours_are_one_stroke(self) -> None:
        assert steps([10, 10, 10, 20]) == f"M0 {HEIGHT - 10}H3V{HEIGHT - 20}H4"

    def test_gap_begins_a_new_stroke(self) -> None:
        assert steps([10, None, 10]) == f"M0 {HEIGHT - 10}H1M2 {HEIGHT - 10}H3"

    def test_nothing_draws_nothing(self) -> None:
        assert steps([None, None]) == ""

    def test_area_returns_along_its_floor(self) -> None:
        assert area([20, 30], [0, 10]) == f"M0 {HEIGHT - 20}H1V{HEIGHT - 30}H2V{HEIGHT - 10}H1V{HEIGHT}H0Z"


class TestScales:
    """Where values stand"""

    @given(st.floats(min_value=0, max_value=1e15))
    def test_linear_scale_holds_its_highest_value(self, highest: float) -> None:
        scale = linear(highest, str, 1)
        assert 0 <= scale.place(highest) <= 1.000001
        assert scale.place(scale.ticks[-1][0]) == 1

    @pytest.mark.parametrize(("highest", "top"), [(0, 1), (1.1, 2), (340, 400), (401, 600), (999, 1000)])
    def test_linear_scale_ends_at_a_round_number(self, highest: float, top: float) -> None:
        assert linear(highest, str, 1).ticks[-1][0] == top

    @given(st.lists(st.floats(min_value=0, max_value=1e7), max_size=9))
    def test_logarithmic_scale_holds_all_values(self, values: list[float]) -> None:
        scale = logarithmic(values, str)
        assert all(0 <= scale.place(value) <= 1.000001 for value in values)

    def test_one_slow_request_does_not_flatten_the_rest(self) -> None:
        scale = logarithmic([2, 3, 30_000], str)
        assert scale.place(3) - scale.place(2) > 0.03


class TestPanels:
    """The charts themselves"""

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.key)
    @pytest.mark.parametrize(
        "columns",
        [
            pytest.param((Column(),) * 300, id="empty"),
            pytest.param(day(300, 400, 2, moved_at=0.5), id="busy"),
            pytest.param(day(300, 4e6, 2), id="huge"),
            pytest.param((Column(router=Figures(5, 5, 1.0, 2.0, 1)),) * 300, id="refused"),
        ],
    )
    def test_panel_is_well_formed_and_has_no_inline_style(self, panel: object, columns: tuple[Column, ...]) -> None:
        inner = panel_svg(panel, past(2, columns), [note(10)])  # type: ignore[arg-type]  # of PANELS
        assert all("style" not in element.attrib for element in parsed(inner).iter())

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.key)
    def test_paths_stay_within_the_plot(self, panel: object) -> None:
        inner = panel_svg(panel, past(2, day(300, 400, 2, moved_at=0.9)), [])  # type: ignore[arg-type]  # of PANELS
        for path in parsed(inner).iter("path"):
            d = path.get("d", "")
            assert all(0 <= int(x) <= 300 for x in re.findall(r"[MH](\d+)", d))
            assert all(0 <= int(y) <= HEIGHT for y in re.findall(r"(?:V|M\d+ )(-?\d+)", d))

    def test_requests_are_stacked_blue_below_green(self) -> None:
        both = Column(blue=Figures(requests=2), green=Figures(requests=2))
        inner = panel_svg(PANELS[0], past(2, (both,) * 300), [])
        assert classes(inner) == ["fill blue", "line blue", "fill green", "line green"]
        tops = [path.get("d", "").split("H")[0] for path in parsed(inner).iter("path")]
        assert tops[0] == f"M0 {HEIGHT // 2}"
        assert tops[2] == "M0 0"

    def test_drain_is_a_line_that_falls_to_nothing(self) -> None:
        left = [4, 3, 1, 0, 0, 0]
        columns = tuple(Column(blue=Figures(in_flight=count)) for count in left)
        (line,) = parsed(panel_svg(PANELS[3], past(2, columns), [])).iter("path")
        assert line.get("d", "").endswith(f"V{HEIGHT}H4")

    def test_quiet_chart_says_so(self) -> None:
        assert "No requests in this time" in panel_svg(PANELS[0], past(), [])

    def test_mark_crosses_every_panel_at_its_time(self) -> None:
        for panel in PANELS:
            (line,) = [
                one
                for one in parsed(panel_svg(panel, past(), [note(300)])).iter("line")
                if "annotation" in str(one.attrib)
            ]
            assert line.get("x1") == "50%"


class TestTime:
    """The common axis and its flags"""

    def test_marks_outside_of_the_time_are_left_out(self) -> None:
        assert [round(float(x)) for _, x in placed(past(), [note(5000), note(150), note(-50)])] == [75]

    def test_what_has_just_happened_stands_at_the_right_edge(self) -> None:
        assert [x for _, x in placed(past(), [note(-1.5)])] == ["100"]

    def test_flags_escape_their_texts(self) -> None:
        (title,) = parsed(annotations_svg(past(), [note(300)])).iter("title")
        assert title.text is not None
        assert title.text.endswith("Switched to <green> & more")

    @pytest.mark.parametrize("kind", ["failover", "failback"])
    def test_failover_has_a_sign_of_its_own(self, kind: str) -> None:
        (flag,) = parsed(annotations_svg(past(), [note(300, kind)])).iter("g")
        assert flag.get("class") == f"flag {kind} green"
        assert list(flag.iter("path"))

    def test_labels_do_not_run_into_each_other(self) -> None:
        crowd = [note(300 - second) for second in range(20)]
        labels = list(parsed(annotations_svg(past(), crowd)).iter("text"))
        assert [label.get("text-anchor") for label in labels] == ["end", None]  # around them all

    def test_label_of_a_mark_at_the_right_edge_stands_to_its_left(self) -> None:
        (label,) = parsed(annotations_svg(past(), [note(2)])).iter("text")
        assert label.get("text-anchor") == "end"

    def test_label_goes_to_the_left_where_the_right_is_taken(self) -> None:
        labels = list(parsed(annotations_svg(past(), [note(300), note(290)])).iter("text"))
        assert [label.get("text-anchor") for label in labels] == ["end", None]

    def test_axis_is_at_round_minutes_and_ends_now(self) -> None:
        texts = [text.text for text in parsed(axis_svg(past())).iter("text")]
        assert texts[-1] == "now"
        assert 3 <= len(texts) <= 6
        assert all(re.fullmatch(r"\d\d:\d[02468]", str(text)) for text in texts[:-1])

    def test_six_hours_are_marked_by_the_hour(self) -> None:
        texts = [str(text.text) for text in parsed(axis_svg(Past(60, AT, (Column(),) * 360))).iter("text")]
        assert all(text.endswith(":00") for text in texts[:-1])


class TestFigures:
    """The tables and what is read out"""

    def test_table_has_complete_lines_newest_first(self) -> None:
        rows = table_rows("requests", past(2, day(300, 100, 2)), 10)
        assert len(rows) in (9, 10)
        assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
        assert 50 < float(rows[0][1]) < 150

    @pytest.mark.parametrize("panel", [panel.key for panel in PANELS])
    def test_every_chart_has_a_table(self, panel: str) -> None:
        assert table_rows(panel, past(60, day(360, 10, 60)), 12)

    def test_read_out_has_a_text_for_every_column(self) -> None:
        said = read_outs(past(2, day(300, 400, 2, moved_at=0.5)))
        panels = said["panels"]
        assert isinstance(panels, dict)
        assert set(panels) == {panel.key for panel in PANELS}
        assert all(len(texts) == 300 for texts in panels.values())

    def test_read_out_names_the_routers_own_answers(self) -> None:
        said = read_outs(past(2, (Column(router=Figures(requests=6, failed=6)),) * 300))
        panels = said["panels"]
        assert isinstance(panels, dict)
        assert panels["requests"][0] == "blue 0 · green 0 · router 3.0"
        assert panels["errors"][0].replace("\u00a0", " ") == "100 % · 6 of 6"

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.key)
    def test_what_was_not_counted_is_not_said_to_be_nothing(self, panel: Panel) -> None:
        off = Past(2, AT, (Column(),) * 300, is_counted=False)
        is_known = panel.key == "in_flight"
        assert ("metrics are off" in panel_svg(panel, off, [])) != is_known
        said = read_outs(off)["panels"]
        assert isinstance(said, dict)
        assert (said[panel.key][0] == "not counted") != is_known
        assert (set(table_rows(panel.key, off, 10)[0][1:]) == {"–"}) != is_known

    def test_ticks_are_as_round_as_they_stand(self) -> None:
        busy = past(2, day(300, 2_500_000, 2))
        assert ">4\u00a0M</text>" in panel_svg(PANELS[0], busy, [])
        assert ">2,000</text>" in panel_svg(PANELS[0], past(2, day(300, 1500, 2)), [])
