"""What notebooks show for a run: its curves."""

from __future__ import annotations

from dataclasses import fields
from html import escape
from typing import Self

from hrm_cli.printable import counted, printable
from hrm_cli.runs.execution import RunOutcome
from hrm_cli.runs.records import Curve, read_run
from hrm_cli.views.charts import FIGURES
from hrm_cli.views.plots import PLOT_STYLE, Axis, Series, axis_of, line_chart, share_axis

_COLORS = """
.hrm-run { --text: #101828; --dim: #5c6773; --cellline: #c3c9d1; --line: #d9dee5; --accent: #1d5fd6; --second: #b45309;
  --third: #067647; --card: #ffffff; --bar: #b9cdf3; background: #ffffff; color: var(--text); padding: 12px;
  display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 12px 24px; }
.hrm-run > p { grid-column: 1 / -1; margin: 0; }
"""


class NotebookRun(RunOutcome):
    """A run that shows its curves."""

    @classmethod
    def of(cls, outcome: RunOutcome) -> Self:
        """The same run."""
        return cls(**{entry.name: getattr(outcome, entry.name) for entry in fields(RunOutcome)})

    def _repr_html_(self) -> str:
        run = read_run(self.folder)
        charts = []
        for figure in FIGURES[:2]:
            curves = [("training", run.curve("train", figure.training))]
            if figure.evaluation:
                curves.append(("evaluations", run.curve("eval", figure.evaluation)))
            charts.append(_chart(figure.title, curves, is_share=figure.is_share))
        best = self.result.best
        text = f"{self.folder.name}: {run.state}, {counted(self.result.step, 'step')} in {self.result.seconds:,.0f} s"
        if best is not None:
            text += f"; best exact accuracy {best.exact_accuracy:.1%}, at step {best.step:,}"
        body = "".join(f"<div>{chart}</div>" for chart in charts if chart)
        return f'<style>{PLOT_STYLE}{_COLORS}</style><div class="hrm-run"><p>{escape(printable(text))}</p>{body}</div>'


def _chart(title: str, curves: list[tuple[str, Curve]], *, is_share: bool) -> str:
    series = [
        Series(name, list(zip(curve.steps, curve.values, strict=True)))
        for name, curve in curves
        if curve.values
    ]
    if not series:
        return ""
    last = max(step for one in series for step, _ in one.points)
    values = [value for one in series for _, value in one.points]
    y = share_axis("") if is_share else axis_of("", values)
    drawn = line_chart(title, f"{title} over training steps", series, Axis("step", 0, last, is_count=True), y)
    return f'<div class="plot">{drawn}</div>'
