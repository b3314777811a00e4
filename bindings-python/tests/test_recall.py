"""What a memory knows of time, sessions and duplicates, in Python's own types."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

import triune

from .conftest import Opened


def test_times_are_pythons(opened: Opened) -> None:
    mind = opened()
    london = mind.recall.store("Ada lives in London", id="london", valid_from=date(2020, 1, 1))
    since = datetime(2024, 1, 1, tzinfo=timezone.utc)
    mind.recall.store("Ada lives in Paris", id="paris", valid_from=since, supersedes=london)
    [hit] = mind.recall.query("Where does Ada live?")
    assert (hit.id, hit.valid_from, hit.valid_to) == ("paris", since, None)
    [hit] = mind.recall_knowledge("Where does Ada live?", valid_at="2022-06-01")
    assert (hit.id, hit.valid_to, hit.superseded_by) == ("london", since, "paris")
    assert [hit.id for hit in mind.recall.query("Ada", as_of=datetime(2019, 1, 1))] == []
    assert {hit.id for hit in mind.recall.query("Ada", include_ended=True)} == {"london", "paris"}
    assert [version.id for version in mind.recall.history("paris")] == ["london", "paris"]
    mind.recall.store("Ada lives in Rome", id="paris")
    versions = mind.recall.history("paris")
    assert versions[1].text == "Ada lives in Paris" and versions[1].replaced is not None


def test_what_lives_for_a_time_expires(opened: Opened) -> None:
    mind = opened()
    mind.recall.store("The code is 1234", ttl=timedelta(hours=1))
    [hit] = mind.recall.query("code")
    assert hit.expires is not None
    left = hit.expires - datetime.now(timezone.utc)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    for ttl in (float("nan"), -1.0):
        with pytest.raises(triune.InvalidError, match="seconds"):
            mind.recall.store("x", ttl=ttl)


def test_sessions_contexts_and_graphs(opened: Opened) -> None:
    mind = opened()
    mind.recall.store_many(
        [
            {"content": "Which instrument did your brother pick?", "id": "1", "session": "s", "speaker": "Bob Marsh"},
            {
                "content": "He took the violin",
                "id": "2",
                "session": "s",
                "speaker": "Ada",
                "valid_from": datetime(2024, 5, 1, tzinfo=timezone.utc),
                "relations": [{"kind": "about", "to": "violin"}],
            },
        ]
    )
    hits = mind.recall.query("Which instrument?")
    assert [hit.id for hit in hits] == ["1", "2"] and hits[1].why.boosts["neighbours"] > 0
    context = mind.recall.context("instrument", 100)
    assert "Bob Marsh" in context.text and context.tokens <= 100 and context.hits[0].id == "1"
    path = mind.recall.path("2", "violin")
    assert path is not None and path[0].kind == "about"
    assert mind.recall.path("2", "trumpet") is None
    assert [name for name, _ in mind.recall.rank("violin")] == ["violin", "2"]
    assert mind.recall.subgraph("2")[0].to == "violin"


def test_a_passage_of_a_long_text_is_found(opened: Opened) -> None:
    mind = opened()
    long = "Nothing is said here at all, in so many words. " * 60 + "Zebras sleep standing."
    mind.recall.store(long, id="long")
    [hit] = mind.recall.query("zebras")
    assert hit.passage is not None and long[hit.passage.start : hit.passage.end] == hit.text
    item = mind.recall.get("long")
    assert item is not None and item.text == long


async def test_the_async_memory_has_the_same_calls(folder: str) -> None:
    async with await triune.open_async(folder, config={"discover": False}) as mind:
        await mind.recall.store("Ada lives in London", id="a", duplicates="refuse", importance=0.7)
        with pytest.raises(triune.ConflictError):
            await mind.recall.store("Ada lives in London", duplicates="refuse")
        [hit] = await mind.recall.query("Ada", half_life=86400.0, diversity=0.5)
        assert hit.importance == pytest.approx(0.7)
        assert (await mind.recall.context("Ada", 50)).hits[0].id == "a"
        assert len(await mind.recall.history("a")) == 1
        assert await mind.recall.path("a", "b") is None
        assert await mind.recall.rank(["a"]) == []
        assert await mind.recall.subgraph("a") == []
        assert [hit.id for hit in await mind.recall_knowledge("Ada", 3)] == ["a"]


def test_export_import_backup_and_statistics(opened: Opened, tmp_path: Path) -> None:
    mind = opened()
    mind.recall.store("Ada lives in London", id="a", metadata={"n": 1})
    mind.recall.store("Ada lives in Paris", id="a", tenant="acme")
    mind.recall.relate("Ada", "knows", "Bob")
    state = mind.recall.statistics()
    assert (state.tenant, state.namespace, state.items, state.reembedding) == ("", "default", 1, None)
    assert state.bytes["items"] > 0 and state.index.kind == "exact"
    path = tmp_path / "mind.jsonl"
    written = mind.recall.export(path, vectors=True)
    assert (written.items, written.relations) == (1, mind.recall.statistics().relations)
    assert "London" in path.read_text() and "Paris" not in path.read_text()
    read = mind.recall.import_(path, namespace="copy", tenant="other")
    assert (read.stored, read.unchanged) == (1, 0)
    assert mind.recall.import_(path, namespace="copy", tenant="other").unchanged == 1
    assert mind.recall.namespaces(tenant="other") == ["copy"]
    assert mind.recall.get("a", namespace="copy", tenant="other").metadata == {"n": 1}  # type: ignore[union-attr]
    path.write_text("{}\n")
    with pytest.raises(triune.InvalidError, match="content"):
        mind.recall.import_(path)
    with pytest.raises(triune.NotFoundError):
        mind.recall.statistics(namespace="none")
    mind.backup(tmp_path / "backup")
    with pytest.raises(triune.ConflictError):
        mind.backup(tmp_path / "backup")
    with triune.open(tmp_path / "backup", config={"discover": False}) as copy:
        assert copy.recall.get("a").text == "Ada lives in London"  # type: ignore[union-attr]
