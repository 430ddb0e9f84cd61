"""Pages as HTML text; every value is escaped by the template engine."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from karaffe.studio.mos.store import State, Store, Turn
from karaffe.studio.web.forms import form_token
from karaffe.studio.web.templates import make_environment

_KEYS = {"pair": "left and right arrow keys", "scale": "keys 1 to 5"}


class Pages:
    """The pages of one study."""

    def __init__(self, store: Store) -> None:
        self.store = store
        environment = make_environment("karaffe.studio.mos")
        self._templates = {n: environment.get_template(n) for n in environment.list_templates()}

    def render(self, name: str, **values: Any) -> str:
        """Fill the template ``name``; every page knows the study's heading."""
        return self._templates[name].render(heading=self.store.config.heading, **values)

    def message(self, title: str, text: str) -> str:
        return self.render("message.html", title=title, text=text)

    def front(self, csrf: str) -> str:
        return self.render("front.html", open=self.store.config.entry == "open", csrf=csrf)

    def rater(self, link: str, state: State) -> str:
        """The page a rater's link shows now: consent, the trial, or the end."""
        csrf = form_token(self.store.secret, "link", link)
        if state.turn is None:
            return self.render("end.html", code=state.code, completion=state.completion_code)
        if not state.consented:
            return self.render("consent.html", csrf=csrf, link=link, turn=state.turn, **self._need, **self._texts)
        return self._trial(link, csrf, state.turn)

    @cached_property
    def _need(self) -> dict[str, int]:
        """Device pixels that the largest trial needs."""
        sizes = self.store.sizes
        beside = 2 if self.store.config.plan.pictures == 2 and self.store.config.presentation == "together" else 1
        return {
            "need_width": beside * max(width for width, _ in sizes),
            "need_height": max(height for _, height in sizes),
        }

    @cached_property
    def _texts(self) -> dict[str, Any]:
        config = self.store.config
        return {
            "consent": config.consent,
            "instructions": config.instructions,
            "question": config.question or config.plan.question,
            "keys": _KEYS["pair" if config.plan.compares else "scale"],
            "switch": config.presentation == "switch" and config.plan.pictures == 2,
        }

    def _trial(self, link: str, csrf: str, turn: Turn) -> str:
        config, plan = self.store.config, self.store.config.plan
        answers = [(value, label, str(value)) for value, label in plan.answers]
        if plan.compares:
            answers = [(1, "Left", "←"), (2, "Right", "→")]
            if self._texts["switch"]:
                answers = [(1, "First", "←"), (2, "Second", "→")]
            if config.ties:
                answers.insert(1, (0, "No difference", "↓"))
        labels = ["Reference", "To be rated"] if plan.shows_reference else ["First", "Second"]
        rest = config.break_every and turn.after_training > 0 and turn.after_training % config.break_every == 0
        return self.render(
            "trial.html",
            csrf=csrf,
            link=link,
            turn=turn,
            answers=answers,
            labels=labels[: plan.pictures] if plan.pictures == 2 else ["Picture"],
            rest=bool(rest),
            **self._texts,
        )
