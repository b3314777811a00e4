"""Errors: ours by class and code, the host's own as they are."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

import triune
from triune.errors import BY_CODE

from .conftest import CONFIG, Echo, Opened


class Mine(Exception):
    pass


class Raises:
    profile: triune.ModelProfile = {"id": "raises", "context_length": 4096}

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def chat(self, request: triune.ChatRequest) -> str:
        self.calls += 1
        raise self.error


def test_every_code_has_one_class() -> None:
    codes = """INVALID NOT_FOUND CONFLICT UNSUPPORTED UNAUTHORIZED RATE_LIMITED OVERLOADED TIMEOUT CANCELLED OVER_BUDGET
    CIRCUIT_OPEN REJECTED CONTEXT_LENGTH CORRUPT UNAVAILABLE HOST UNEXPECTED"""
    assert set(BY_CODE) == set(codes.split())
    assert all(kind.code == code and issubclass(kind, triune.TriuneError) for code, kind in BY_CODE.items())


def test_an_error_of_the_core(opened: Opened) -> None:
    with pytest.raises(triune.NotFoundError, match="no engine is called") as caught:
        opened().call("recal", {})
    error = caught.value
    assert (error.code, error.retryable, isinstance(error, LookupError)) == ("NOT_FOUND", False, True)
    assert error.message in str(error)


def test_errors_cross_processes() -> None:
    error = triune.OverBudgetError("no", retryable=True, operation="here", context={"left": "0"})
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.retryable) == (type(error), "no (during here, left=0)", True)


def test_the_exception_of_a_model_is_the_same_object(opened: Opened) -> None:
    error = Mine("boom")
    with pytest.raises(Mine) as caught:
        opened(Raises(error)).generate("x")
    assert caught.value is error


async def test_the_same_of_coroutines_and_streams(folder: str) -> None:
    error = Mine("boom")

    class Later(Raises):
        async def chat(self, request: triune.ChatRequest) -> str:  # type: ignore[override]
            await asyncio.sleep(0)
            raise self.error

    async with triune.AsyncTriune.open(folder, config=CONFIG, models=[Later(error)]) as mind:
        with pytest.raises(Mine) as caught:
            await mind.generate("x")
        assert caught.value is error
        with pytest.raises(Mine) as caught:
            async for _ in mind.stream("x"):
                pass
        assert caught.value is error


def test_an_exception_of_an_engine_is_the_same_object(opened: Opened) -> None:
    error = Mine("boom")

    class Fails:
        name = "fails"

        def call(self, request: Any) -> Any:
            raise error

    mind = opened()
    mind.register_engine(Fails())
    with pytest.raises(Mine) as caught:
        mind.call("fails", {})
    assert caught.value is error


def test_errors_of_ours_raised_by_a_model_are_tried_again(opened: Opened, folder: str) -> None:
    error = triune.RateLimitedError("slow down")
    model = Raises(error)
    mind = opened(model)
    with pytest.raises(triune.TriuneError) as caught:
        mind.generate("x")
    assert model.calls == 2, "router.attempts of the settings"
    assert caught.value.code == "RATE_LIMITED"


def test_the_next_model_answers(opened: Opened) -> None:
    class Worse(Echo):
        profile: triune.ModelProfile = {
            "id": "worse",
            "context_length": 4096,
            "price": triune.price(input=1, output=1),
        }

    reply = opened(Raises(Mine("boom")), Worse()).generate("x", max_tokens=5)
    assert reply.model == "worse"
    assert [attempt.code for attempt in reply.attempts] == ["HOST", None]


def test_a_failed_task_is_told_in_the_report(opened: Opened) -> None:
    def fails() -> None:
        raise Mine("boom")

    report = opened().parallel.run([triune.Task("fails", fails), triune.Task.value("after", 1)])
    assert (report.state, report["fails"].code, report["after"].outcome) == ("failed", "HOST", "succeeded")
    assert "Mine: boom" in str(report["fails"].error)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda mind: mind.generate("x", temperature=9), triune.InvalidError, "temperature"),
        (lambda mind: mind.recall.store(""), triune.InvalidError, "empty"),
        (lambda mind: mind.recall.store("x", metadata={"when": object()}), triune.InvalidError, "JSON"),
        (lambda mind: mind.recall.store("x", metadata={"n": float("nan")}), triune.InvalidError, "JSON"),
        (lambda mind: mind.generate("x", model="absent"), triune.TriuneError, "absent"),
        (lambda mind: mind.generate("x", tools=["weather"]), triune.InvalidError, "a tool is"),
        (lambda mind: mind.register_model(object()), triune.InvalidError, "profile"),
        (lambda mind: mind.function(print, name="a b"), triune.InvalidError, "name"),
        (lambda mind: mind.generate("x", timeout=-1), triune.InvalidError, "timeout"),
        (lambda mind: mind.generate("x", budget_usd=float("inf")), triune.InvalidError, "money"),
        (lambda mind: mind.generate("x", max_token=1), TypeError, "max_token"),
        (lambda mind: mind.recall.get("x", timout=1), TypeError, "timout"),
    ],
)
def test_what_cannot_be_right_is_refused(opened: Opened, call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(opened(Echo()))


def test_a_model_that_answers_in_another_form(opened: Opened) -> None:
    class Number(Echo):
        def chat(self, request: triune.ChatRequest) -> str:
            return 42  # type: ignore[return-value]

    with pytest.raises(triune.HostError, match="not int"):
        opened(Number()).generate("x")
