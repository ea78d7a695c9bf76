"""A trajectory made readable: as text for a terminal or a log, and as HTML for a notebook.

What the model wrote and what the tools answered must never be mistaken for one another: thoughts, actions and observations are marked apart, and
a step that was refused says so.
"""

import html
import textwrap

from llmsuite_lab.agents.react import Step, Trajectory

COLOURS = {"thought": "#30363B", "action": "#D55E00", "observation": "#0072B2", "refused": "#B00020"}
_GROUND = "text-align:left;background:#ffffff;color:#22272b"  # its own, in every cell: a notebook's theme may be dark


def lines(trajectory: Trajectory) -> list[tuple[str, str]]:
    """(role, text) of every line: "question", "thought", "action", "observation", "refused" (an answer to something that was not run), "end"."""
    rows = [("question", trajectory.opening.removesuffix("\nThought:"))]
    for step in trajectory.steps:
        rows += _step_lines(step)
    if trajectory.ended != "finished":
        rows.append(("end", f"Ended: {trajectory.ended or 'not yet'}, without an answer"))
    return rows


def _step_lines(step: Step) -> list[tuple[str, str]]:
    if not step.action:
        return [("thought", " ".join(step.raw.split())), ("refused", step.observation)]
    rows = [("thought", step.thought), ("action", f"{step.action}[{step.argument}]")]
    return rows if step.kind == "finish" else [*rows, ("observation" if step.ran else "refused", step.observation)]


def as_text(trajectory: Trajectory, width: int = 100) -> str:
    """The trace as plain text, wrapped at `width` characters. Raises ValueError for a width below 40."""
    if not width >= 40:
        raise ValueError(f"width={width} leaves no room for text; use at least 40")
    out = []
    for role, text in lines(trajectory):
        head = "" if role in ("question", "end") else f"{role.capitalize():<12}"
        out += textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head)) or [head]
    return "\n".join(out)


class Trace:
    """A trajectory as a notebook shows it: colours in HTML, plain text elsewhere."""

    def __init__(self, trajectory: Trajectory) -> None:
        self.trajectory = trajectory

    def __repr__(self) -> str:
        """The text form."""
        return as_text(self.trajectory)

    def _repr_html_(self) -> str:
        rows = []
        for role, text in lines(self.trajectory):
            if role in ("question", "end"):
                rows.append(f'<tr><td colspan="2" style="{_GROUND}"><b>{html.escape(text)}</b></td></tr>')
                continue
            body = f"<code style='color:inherit;background:none'>{html.escape(text)}</code>" if role == "action" else html.escape(text)
            mark = f"{_GROUND};border-left:4px solid {COLOURS[role]};vertical-align:top"
            rows.append(f'<tr><td style="{mark}"><b style="color:{COLOURS[role]}">{role}</b></td><td style="{_GROUND}">{body}</td></tr>')
        return f"<table>{''.join(rows)}</table>"
