"""What the router learns, keeps and explains."""

from typing import Any

import pytest

import triune

LEARNING = {"discover": False, "router": {"learning": {"enabled": True}}}


class Says:
    profile = {"id": "mine", "context_length": 1000}

    def __init__(self) -> None:
        self.calls = 0

    def chat(self, request: triune.ChatRequest) -> str:
        self.calls += 1
        return "seven"


def judged(prompt: str, quality: float) -> Any:
    outcomes = {"mine": {"quality": quality, "cost_usd": 0.001}, "dear": {"quality": 1.0, "cost_usd": 0.1}}
    return {"prompt": prompt, "tag": "sums", "outcomes": outcomes}


def test_a_reply_is_judged_once(tmp_path) -> None:
    with triune.open(tmp_path, models=[Says()], config=LEARNING) as mind:
        reply = mind.generate("3 + 4?", tag="sums")
        mind.router.feedback(reply.id, 1.0)
        with pytest.raises(triune.NotFoundError):
            mind.router.feedback(reply.id, 0.0)
        assert "from 1 labels" in mind.generate("5 + 6?", tag="sums").route.steps[0].reason


def test_what_is_kept_to_learn_from_is_shown_and_forgotten(tmp_path) -> None:
    with triune.open(tmp_path, models=[Says()], config=LEARNING) as mind:
        first, second = mind.generate("3 + 4?"), mind.generate("4 + 3?")
        assert mind.router.shadowed() == []
        with pytest.raises(triune.InvalidError, match="no other model"):
            mind.router.feedback(first.id, 1.0, shadow_score=1.0)
        mind.router.feedback(first.id, 1.0)
        assert (mind.router.forget(first.id), mind.router.forget(), mind.router.forget(second.id)) == (1, 1, 0)


def test_what_was_learned_is_evaluated_on_other_prompts(tmp_path) -> None:
    with triune.open(tmp_path, models=[Says()], config=LEARNING) as mind:
        assert mind.router.train(judged(f"{n} + {n}?", n % 2) for n in range(20)) == 20
        found = mind.router.evaluate([judged("99 + 1?", 0.0)], retention=0.9)
        assert (found.records, found.best_model, found.best_quality) == (1, "dear", 1.0)
        assert found.best_cost_usd == pytest.approx(0.1)
        assert found.pair is not None and found.tradeoffs[0].keys() == {"lambda", "quality", "cost_usd"}
        calibration = mind.router.cascade(min_retention=0.9)
        assert (calibration.labels, calibration.strong_share) == (0, 1.0)


def test_the_same_question_is_asked_once_and_explained(tmp_path) -> None:
    model = Says()
    with triune.open(tmp_path, models=[model], config={"discover": False}) as mind:
        first = mind.generate("3 + 4?", temperature=0)
        again = mind.generate("3 + 4?", temperature=0)
        assert (model.calls, first.cache_hit, again.cache_hit) == (1, None, "exact")
        assert '"mine" answered' in mind.router.explain(first.id)
        assert "no model was asked" in mind.router.explain(again.id)
        assert mind.router.ledger()[0].cache_hit == "exact"


class Beginnings:
    profile = {"id": "beginnings", "dimensions": 2, "max_tokens": 100}

    def embed(self, texts: list[str]) -> list[list[float]]:
        return [[1.0, 0.0] if text.startswith("hello") else [0.0, 1.0] for text in texts]


def test_the_likeness_of_requests_is_calibrated(tmp_path) -> None:
    with triune.open(tmp_path, models=[Says()], embedder=Beginnings(), config={"discover": False}) as mind:
        pairs = [("hello a", "hello b", True), ("hello", "bye", False)]
        assert mind.router.calibrate_cache(pairs) == pytest.approx(1.0)
        assert mind.router.calibrate_cache([("hello a", "hello b", False)]) is None
