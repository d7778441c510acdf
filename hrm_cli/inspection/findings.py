"""What an inspection found, as sentences: problems first, then the checks that found none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hrm_cli.printable import counted

_SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One sentence."""

    kind: str
    """`problem`, `note` or `fine`."""
    text: str

    @property
    def mark(self) -> str:
        """A character for plain text."""
        return {"problem": "!", "note": "·", "fine": "✓"}[self.kind]


def how_built(facts: Mapping[str, Any]) -> str:
    """`built from mine.csv, seed 0; ` for the heading of a dataset; empty if the dataset does not say it."""
    if not facts["built_from"]:
        return ""
    source = "by the generator" if facts["built_from"] == "builtin" else f"from {facts['built_from']}"
    return f"built {source}, seed {facts['built_with_seed']}; "


def findings(facts: Mapping[str, Any]) -> list[Finding]:
    """All findings, the problems first."""
    found = [
        *_notes(facts["notes"]),
        *_of_symbols(facts),
        *(finding for name, split in facts["splits"].items() for finding in _of_split(name, split)),
        *(finding for leak in facts["leaks"] for finding in _of_leak(leak, facts)),
        *_of_claims(facts["symmetries"]),
    ]
    if not facts["leaks"]:
        found.append(Finding("note", "leaks: only one split was read, so there is nothing to compare"))
    order = ("problem", "note", "fine")
    return sorted(found, key=lambda finding: order.index(finding.kind))


def _notes(notes: Sequence[str]) -> Iterator[Finding]:
    for note in notes:
        yield Finding("note", note)


def _of_symbols(facts: Mapping[str, Any]) -> Iterator[Finding]:
    if unused := facts["unused_symbols"]:
        yield Finding("note", f"{counted(len(unused), 'symbol')} never used: {_some(unused)}")
    held_out = facts["held_out_only_symbols"]
    if held_out:
        yield Finding(
            "problem",
            f"{counted(len(held_out), 'symbol')} only in held-out examples, so no model can learn to use "
            f"{'it' if len(held_out) == 1 else 'them'}: {_some(held_out)}",
        )
    elif held_out is not None and len(facts["splits"]) > 1:
        yield Finding("fine", "every symbol that is used occurs in training")


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")


def _of_split(name: str, split: Mapping[str, Any]) -> Iterator[Finding]:
    repeated = split["duplicates"]
    total = counted(repeated["examples"], "original example")
    if repeated["inputs"]:
        place = repeated["where"][0]
        which = f"for example {place[0]:,} repeats {place[1]:,}"
        if repeated["conflicts"]:
            repeats = "repeats" if repeated["conflicts"] == 1 else "repeat"
            yield Finding(
                "problem",
                f"{name}: {repeated['conflicts']:,} of {total} {repeats} the input of an earlier one, with a different "
                f"output ({which})",
            )
        if repeated["pairs"]:
            yield Finding(
                "problem", f"{name}: {counted(repeated['pairs'], 'duplicate')} among {total} ({which})"
            )
    else:
        yield Finding("fine", f"{name}: no duplicates among {total}")
    checked = split["checked"]
    if checked is not None:
        yield from _of_checked(name, checked)


def _of_checked(name: str, checked: Mapping[str, Any]) -> Iterator[Finding]:
    sample = counted(checked["puzzles"], "sampled puzzle")
    wrong = checked["puzzles"] - checked["right_answers"]
    if wrong:
        places = ", ".join(f"{place:,}" for place in checked["wrong"])
        yield Finding(
            "problem",
            f"{name}: the answers of {wrong} of {sample} are wrong or not the best (examples {places})",
        )
    unknown = checked["unknown"]
    several = checked["puzzles"] - checked["one_solution"] - unknown
    if unknown:
        yield Finding("note", f"{name}: the exact solver gave up on {unknown} of {sample}")
    if several:
        yield Finding("note", f"{name}: not exactly one solution in {several} of {sample}")
    if not wrong and not several and not unknown:
        yield Finding("fine", f"{name}: all answers of {sample} are right and unique")


def _of_leak(leak: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[Finding]:
    one, other = leak["into"], leak["from"]
    total = counted(leak["examples"], f"{one} example")
    place = leak["where"][0] if leak["where"] else None
    which = "" if place is None else f" (for example {one} {place[0]} and {other} {place[1]})"
    for note in leak["notes"]:
        yield Finding("note", note)
    if leak["identical"]:
        yield Finding("problem", f"leak: {leak['identical']:,} of {total} are also in {other}{which}")
    symmetric = leak["up_to_symmetry"]
    if symmetric is None:
        if not leak["identical"]:
            yield Finding("fine", f"no leak: none of {total} is also in {other}")
        return
    is_arc = (facts["domain"] or {}).get("name") == "arc"
    if is_arc:
        total = counted(leak["compared"][one], f"{one} task")
    elif leak["compared"][one] < leak["examples"]:
        total = f"{leak['compared'][one]:,} compared {one} examples"
    if symmetric:
        shown = which if is_arc or not leak["identical"] else ""
        verb = "share pairs with" if is_arc else "are symmetric to examples of"
        advice = ""
        if not facts["is_dataset"] and not is_arc:
            advice = "; a build with these symmetries keeps them apart"
        is_problem = not advice and (is_arc or not leak["symmetries"].startswith("all"))
        yield Finding(
            "problem" if is_problem else "note",
            f"{symmetric:,} of {total} {verb} {other}, up to {leak['symmetries']}{shown}{advice}",
        )
    elif not leak["identical"]:
        what = f"none of {total} is also in {other}"
        yield Finding("fine", f"no leak: {what}, neither identical nor up to {leak['symmetries']}")


def _of_claims(claims: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for claim in claims:
        refuted = claim["status"] == "refuted"
        claimed = "claimed symmetry " if claim["claimed"] else "symmetry "
        kind = "problem" if refuted and claim["claimed"] else "note"
        yield Finding(kind, f"{claimed}{claim['text']}")
