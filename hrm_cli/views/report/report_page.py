"""The page of `hrm report`, from its document (`hrm_cli.runs.report_facts`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hrm_cli.printable import amount, clock, counted
from hrm_cli.views.report.failures import FAILURES_STYLE, failures_script, failures_section
from hrm_cli.views.report.files import card, definitions, note, numbers, page, table, text_of, tiles
from hrm_cli.views.report.score_charts import curves, scores
from hrm_cli.views.web.boards import Board
from hrm_cli.views.web.boards import style as web_style

GENERATOR = "hrm report"

Document = Mapping[str, Any]


def report_page(document: Document, boards: Sequence[Board] = ()) -> str:
    """The whole page. `boards`: those of the failures, in the document's order."""
    failures, style, scripts = "", "", ""
    if boards:
        failures = failures_section(document["scores"]["failures"], boards)
        style, scripts = web_style() + FAILURES_STYLE, failures_script(boards)
    parts = [*_head(document), *_tiles(document), *_scores(document, failures), *_rest(document)]
    return page(f"Report on {document['report_of']}", GENERATOR, parts, style=style, scripts=scripts)


def _head(document: Document) -> Iterator[str]:
    model, run = document["model"], document["run"]
    yield f"<header><h1>{text_of(document['report_of'])}</h1>"
    if model is not None:
        what = f"{model['puzzles']}: core {model['core']}, mixer {model['mixer']}, step {model['step']:,}"
        yield f"<p>{text_of(what)}</p>"
        if model["purpose"]:
            yield f'<p class="dim">{text_of(model["purpose"])}</p>'
    if run is not None:
        yield f'<p class="dim">{text_of(run_line(run))}</p>'
    yield f'<p class="dim">{text_of("hrm " + document["hrm"])}, {text_of(document["generated"])}</p>'
    has_curves = run is not None and any(run["curves"].values())
    sections = {
        "training": has_curves,
        "scores": True,
        "failures": document["scores"] and document["scores"]["failures"],
    }
    links = {name for name, there in sections.items() if there} | {"model", "details"}
    names = ("training", "scores", "failures", "model", "details")
    yield (
        "<nav>"
        + "".join(f'<a href="#{name}">{name.capitalize()}</a>' for name in names if name in links)
        + "</nav>"
    )
    yield "</header>"


def run_line(run: Document) -> str:
    """State, steps and training time of a run."""
    total = f" of {run['total_steps']:,}" if run["total_steps"] else ""
    time = f", {clock(run['seconds'])} of training" if run["seconds"] is not None else ""
    reason = f" ({run['reason']})" if run["reason"] and run["reason"] != run["state"] else ""
    return f"Run {run['run']}: {run['state']}{reason} at step {run['step']:,}{total}{time}"


def _tiles(document: Document) -> Iterator[str]:
    found, entries = document["scores"], []
    if found is not None:
        low, high = found["interval"]
        figures = found["figures"]
        entries.append(
            (f"{figures['exact_accuracy']:.1%}", f"exact accuracy, one pass (95 %: {low:.1%} to {high:.1%})")
        )
        if len(found["effort"]) > 1:
            last = found["effort"][-1]
            entries.append((f"{last['exact_accuracy']:.1%}", "exact accuracy with further effort"))
        entries.append((f"{found['puzzles']:,}", f"puzzles of {found['split']} evaluated"))
        entries.append((f"{figures['mean_steps']:.1f}", f"mean steps, at most {found['max_steps']}"))
    elif (
        (run := document["run"]) is not None and (best := run["best"]) and best["exact_accuracy"] is not None
    ):
        entries.append(
            (f"{best['exact_accuracy']:.1%}", f"best exact accuracy in training, step {best['step']:,}")
        )
    if document["parameters"] is not None:
        entries.append((amount(document["parameters"]["exact"]["trainable"], ""), "trainable parameters"))
    speed = document["throughput"]["puzzles_per_second"]
    if speed:
        entries.append((f"{speed:,.1f}", f"puzzles per second on {document['throughput']['device']}"))
    if entries:
        yield tiles(entries)


def _scores(document: Document, failures: str) -> Iterator[str]:
    run, found = document["run"], document["scores"]
    if run is not None and (drawn := curves(run)):
        problems = [note(f"In the run's folder: {problem}", is_problem=True) for problem in run["problems"]]
        yield card("training", "Training", [*problems, drawn])
    if found is None:
        how = "hrm build-dataset builds one, and --data DIR names it"
        reason = document["scores_missing"] or "no dataset"
        yield card("scores", "Scores", [note(f"No scores: {reason}. To add them: {how}.", is_problem=True)])
        return
    yield from scores(found)
    if failures:
        yield failures


def _rest(document: Document) -> Iterator[str]:
    model, parameters, speed = document["model"], document["parameters"], document["throughput"]
    if model is not None:
        cycles = "{} × {}".format(*model["cycles"])
        entries = {
            "puzzles": model["puzzles"],
            "core, mixer": f"{model['core']}, {model['mixer']}",
            "hidden size": model["hidden_size"],
            "cycles per step": f"{cycles} (H × L)",
            "steps in training": f"at most {model['halt_max_steps']}",
            "training data": model["training_data"],
            "built-in knowledge": model["built_in_knowledge"],
            "file": f"{model['file']}, {amount(parameters['file_bytes'], 'B')}",
        }
        exact = parameters["exact"]
        rows = [
            (one["name"], f"{one['trainable']:,}", f"{one['buffers']:,}") for one in parameters["modules"]
        ]
        rows.append(("all", f"{exact['trainable']:,}", f"{exact['puzzle_embedding'] + exact['buffers']:,}"))
        counted_by = table(("module", "trainable", "not trained by the network's optimizer"), rows)
        yield card(
            "model",
            "Model",
            [definitions(entries), "<h3>Parameters</h3>", counted_by, _speed(speed, parameters)],
        )
    settings = (
        f"<details><summary>Configuration</summary><pre>{text_of(document['configuration'])}</pre></details>"
    )
    yield card("details", "Details", [settings, _environment(document["environment"])])


def _speed(speed: Document, parameters: Document) -> str:
    entries: dict[str, object] = {"device": speed["device"]}
    if speed["puzzles_per_second"]:
        entries["evaluation"] = (
            f"{speed['puzzles_per_second']:,.1f} puzzles per second, at most {speed['max_steps']} steps each"
        )
    if speed["training_puzzles_per_second"]:
        steps = speed["training_steps_per_second"]
        entries["training"] = (
            f"{speed['training_puzzles_per_second']:,.0f} puzzles per second ({steps:.2f} steps)"
        )
    if parameters["flops_per_step"]:
        entries["compute"] = (
            f"{amount(parameters['flops_per_step'], 'FLOP')} per puzzle and step at inference"
        )
    return f"<h3>Throughput</h3>{definitions(entries)}"


def _environment(environment: Document) -> str:
    lines = []
    for name, value in environment.items():
        if isinstance(value, Mapping):
            lines += [f"{name}:", *(f"  {key}: {inner}" for key, inner in value.items())]
        else:
            lines.append(f"{name}: {value}")
    return f"<details><summary>Environment of this report</summary><pre>{text_of(chr(10).join(lines))}</pre></details>"


__all__ = ["GENERATOR", "counted", "numbers", "report_page", "run_line"]
