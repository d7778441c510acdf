"""benchmarks/near_ties.py keeps the mazes whose second shortest path is hardly longer."""

from __future__ import annotations

from pathlib import Path

from hrm_cli.data.request import BuildRequest, build_request

from ..running import run_script  # noqa: TID252

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "near_ties.py"
TWO_WAYS = "S...\n.##.\n.#..\nG..#\n"
ONE_WAY = "S###\n.###\n.###\nG...\n"


def test_mazes_whose_second_path_is_at_most_so_much_longer_are_kept(tmp_path: Path) -> None:
    (tmp_path / "mazes.txt").write_text(f"{TWO_WAYS}\n{ONE_WAY}")
    settings = {"source": str(tmp_path / "mazes.txt"), "num_test": 0}
    build_request(BuildRequest("maze", tmp_path / "data", settings))
    # The second path of the first maze takes 9 moves instead of 3.
    for longer, near in ((6, 1), (5, 0)):
        done = run_script(SCRIPT, tmp_path / "data", "--longer", longer)
        assert done.status == 0, done.stderr
        assert f"of 2 mazes, {near} of them near ties" in done.stderr
        kept = done.stdout.replace("\n", "")
        assert kept.startswith("question,answer")
        if near:
            assert TWO_WAYS.replace("\n", "").replace(".", " ") in kept
