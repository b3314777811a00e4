"""Routers written in Python."""

import asyncio
from typing import Any

import pytest

import triune


class Says:
    def __init__(self, name: str, local: bool = True) -> None:
        self.profile = {"id": name, "context_length": 1000, "local": local}

    def chat(self, request: triune.ChatRequest) -> str:
        return str(self.profile["id"])


@pytest.fixture
def mind(tmp_path):
    with triune.open(tmp_path, models=[Says("a"), Says("b"), Says("far", local=False)], config={"discover": False}) as mind:
        yield mind


def test_a_function_chooses_the_models(mind) -> None:
    asked: list[Any] = []

    def route(request, models):
        asked.append((request, [model["profile"]["id"] for model in models]))
        return ["b", {"model": "a", "reason": "second best"}]

    mind.set_router(route)
    reply = mind.generate("hello", local_only=True)
    assert reply.text == "b"
    assert [step.reason for step in reply.route.steps] == ["chosen by the program", "second best"]
    request, models = asked[0]
    assert request["needs"]["local_only"] is True and sorted(models) == ["a", "b"]


def test_what_it_may_not_choose_is_refused(mind) -> None:
    mind.set_router(lambda request, models: ["far"])
    with pytest.raises(triune.InvalidError, match="far"):
        mind.generate("hello", local_only=True)
    assert mind.generate("hello").text == "far"


def test_its_errors_are_the_callers(mind) -> None:
    class Mine(Exception):
        pass

    mine = Mine("no")

    def route(request, models):
        raise mine

    mind.set_router(route)
    with pytest.raises(Mine) as raised:
        mind.generate("hello")
    assert raised.value is mine


def test_a_coroutine_chooses_too(mind) -> None:
    async def route(request, models):
        await asyncio.sleep(0)
        return ["b"]

    mind.set_router(route)
    assert mind.generate("hello").model == "b"


def test_settings_are_replaced_while_calls_go_on(mind) -> None:
    budgets = [{"period": "total", "limit_usd": 0.5}]
    mind.reload({"discover": False, "router": {"budgets": budgets}})
    assert [state.limit_nano_usd for state in mind.router.budgets()] == [500_000_000]
    assert mind.generate("hello").text in {"a", "b"}
    with pytest.raises(triune.InvalidError, match="models"):
        mind.reload({"discover": False, "team": {"agents": 3}})
