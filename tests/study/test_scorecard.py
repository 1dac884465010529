"""The page of verdicts: what is shown, what is counted, and what a stored full run adds."""

import base64
import json
import re

import pandas as pd
import pytest

from infocap.study.claims import Claim, exceeds, holds, in_each, scorecard
from infocap.study.scorecard import beside, count, download, section, to_json, with_stored
from infocap.study.tables import Table

TABLE = Table("part/table", "quick", pd.DataFrame({"y": [1.0, 2.0]}), {"device": "cpu", "commit": ["a1", "b2"]})
FULL = Table("part/table", "full", TABLE.frame, {"device": "A <big> GPU", "commit": "c3"})


def rule(values, threshold=0.0):
    def decide(table):
        """The mean exceeds <0>."""
        return exceeds(values, threshold, "gain_x")

    return decide


def claim(name, decide, note="More runs would decide it."):
    return Claim(f"part/{name}", f"Sentence of {name}.", "paper", "a paper", TABLE.name, decide, ".9", "fig-a", note)


CLAIMS = [
    claim("good", rule([1.0, 1.1, 1.2])),
    claim("partly", rule([1.0])),
    claim("bad", rule([-1.0, -1.1, float("nan")]), note=""),
    claim("exact", lambda table: holds(True, "slack 1e-9 | n = 3")),
    claim("several", lambda table: in_each([exceeds([i, i + 1.0], 0.5, f"n = {i}") for i in range(4)])),
]
NAMES = [one.name for one in CLAIMS]


def decided(table=TABLE, claims=CLAIMS):
    return scorecard(claims, {TABLE.name: table})


@pytest.fixture
def full(tmp_path):
    """A file as somebody would store it who ran the full profile: there the good claim is bad and nothing else ran."""
    path = tmp_path / "scorecard.json"
    path.write_text(to_json(decided(FULL, [claim("good", rule([-1.0, -1.2])), claim("gone", rule([1.0, 1.0]))])))
    return path


def row_of(text, name):
    return re.search(rf"\* - Sentence of {name}\.\n(.*?)(?=\n\* - |\n```$)", text, re.DOTALL).group(1)


def test_a_verdict_comes_with_its_numbers(tmp_path):
    text = section(with_stored(decided(), tmp_path / "none.json"), "part")
    assert text.startswith("```{list-table}") and text.endswith("\n```")
    assert "* - claim\n  - verdict\n  - numbers\n" in text
    good = row_of(text, "good")
    numbers = "*thesis* · .9\n\n    *quick* · gain\\_x: 1.100 \\[0.852, 1.348\\], 3 runs\n\n"
    assert f"  - reproduced\n  - {numbers}    *full, stored* · not run in this profile" in good
    assert "*paper* · a paper · {numref}`fig-a`" in good
    assert "<p>The mean exceeds &lt;0&gt;.</p><p>gain_x: 1.100 (95 % interval" in good
    assert "gain\\_x: 1.000, 1 run\n" in row_of(text, "partly")
    assert "gain\\_x: no number, 3 runs\n" in row_of(text, "bad")
    assert "*quick* · slack 1e-9 \\| n = 3\n" in row_of(text, "exact")
    assert "4 means: 0.500 to 3.500, intervals within \\[-5.853, 9.853\\]" in row_of(text, "several")


def test_the_verdict_decides_whether_the_note_is_shown(tmp_path):
    text = section(with_stored(decided(), tmp_path / "none.json"), "part")
    shown = {
        name: "More runs would decide it." in row_of(text, name) for name in ("good", "partly", "exact", "several")
    }
    assert shown == {"good": False, "partly": True, "exact": False, "several": True}
    assert "No note yet." in row_of(text, "bad")


def test_a_stored_full_run_stands_beside(full):
    rows = with_stored(decided(), full)
    good = row_of(section(rows, "part"), "good")
    assert "  - reproduced\n" in good  # this build's own verdict stays
    assert "· not reproduced; gain\\_x: -1.100 \\[-2.371, 0.171\\], 2 runs; A \\<big\\> GPU, 20" in good
    assert "More runs would decide it." in good
    assert rows.set_index("claim")["full"].map(bool).to_dict() == {name: name == "part/good" for name in NAMES}


def test_a_chapter_shows_the_verdict_of_a_stored_full_run_too(full, tmp_path):
    here = decided()
    verdicts = beside(with_stored(here, full))["verdict"]
    assert verdicts[0] == f"{here['verdict'][0]}; in full: not reproduced"
    assert verdicts[1:].tolist() == here["verdict"][1:].tolist()
    assert beside(with_stored(here, tmp_path / "none.json"))["verdict"].tolist() == here["verdict"].tolist()


def test_counts_by_kind_by_part_and_in_full(full):
    counts = count(with_stored(decided(), full)).set_index("claims")
    assert list(counts.index) == ["paper", "part", "all", "all, in full"]
    assert counts.loc["all"].tolist() == counts.loc["paper"].tolist() == [2, 2, 1, 0, 5]
    assert counts.loc["all, in full"].tolist() == [0, 0, 1, 4, 5]


def test_the_file_of_the_page_holds_every_row(full):
    content = re.search(r"base64,([^\"]+)", download(with_stored(decided(), full))).group(1)
    lines = json.loads(base64.b64decode(content))
    assert [line["claim"] for line in lines] == NAMES
    assert lines[0]["full"]["verdict"] == "not reproduced" and lines[1]["full"] is None
    assert lines[0]["estimates"][0]["runs"] == 3 and lines[0]["commit"] == "a1, b2"
    assert lines[1]["estimates"][0] == {"what": "gain_x", "value": 1.0, "low": None, "high": None, "runs": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: "{", "file: Invalid JSON"),
        (lambda lines: json.dumps({}), "file: Input should be a valid array"),
        (lambda lines: json.dumps([lines[0] | {"verdict": "yes"}]), "0.verdict: Input should be 'reproduced'"),
        (lambda lines: json.dumps([lines[0] | {"profile": "quick"}]), "0.profile: Input should be 'full'"),
        (lambda lines: json.dumps([{"claim": "part/good"}]), "0.profile: Field required"),
    ],
)
def test_a_file_that_no_full_run_wrote_is_refused_in_one_line(full, change, message):
    full.write_text(change(json.loads(full.read_text())))
    with pytest.raises(ValueError, match="accepted: what python -m infocap.experiments.kept wrote") as caught:
        with_stored(decided(), full)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_part_without_claims_is_refused(tmp_path):
    with pytest.raises(ValueError, match="part: got 'parts'; accepted: part$"):
        section(with_stored(decided(), tmp_path / "none.json"), "parts")
