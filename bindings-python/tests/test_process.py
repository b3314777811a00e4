"""What an import does, what a fork does, and what the package needs."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import subprocess
import sys
import textwrap
import weakref

import triune


def python(program: str, *arguments: str, variables: dict[bytes, bytes] | None = None) -> str:
    code = textwrap.dedent(program)
    environment = {**os.environb, **(variables or {})}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_import_starts_nothing() -> None:
    found = python("""
        import os
        before = set(os.listdir("/proc/self/fd"))
        import triune
        links = [os.readlink(f"/proc/self/fd/{fd}") for fd in set(os.listdir("/proc/self/fd")) - before
                 if os.path.exists(f"/proc/self/fd/{fd}")]
        print(len(os.listdir("/proc/self/task")), [link for link in links if "socket" in link])
    """)
    assert found == "1 []"


def test_the_environment_goes_before_settings_in_code(folder: str) -> None:
    program = """
        import sys, triune
        try:
            with triune.open(sys.argv[1], config={"discover": False, "router": {"reference_model": "gpt-4o"}}):
                print("open")
        except triune.InvalidError as error:
            print("gpt-4oo" in str(error))
    """
    odd = {b"NOT_OURS": b"\xff\xfe"}
    assert python(program, folder, variables=odd) == "open"
    assert python(program, folder, variables={b"TRIUNE__ROUTER__REFERENCE_MODEL": b"gpt-4oo", **odd}) == "True"


def test_a_forked_child_is_refused_instead_of_hanging(folder: str) -> None:
    found = python(
        """
        import os, sys, triune, warnings
        warnings.simplefilter("ignore")
        mind = triune.open(sys.argv[1], config={"discover": False})
        mind.recall.store("kept")
        child = os.fork()
        if child == 0:
            for use in (lambda: mind.recall.namespaces(), lambda: triune.open(sys.argv[1] + "2")):
                try:
                    use()
                except triune.UnsupportedError as error:
                    print("forked" in str(error), flush=True)
            sys.exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
        print(mind.recall.namespaces())
        """,
        folder,
    )
    assert found.splitlines() == ["True", "True", "0", "['default']"]


def test_a_child_of_a_process_that_only_imported_triune_may_use_it(folder: str) -> None:
    found = python(
        """
        import os, sys, triune
        child = os.fork()
        if child == 0:
            with triune.open(sys.argv[1], config={"discover": False}) as mind:
                mind.recall.store("kept")
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
        folder,
    )
    assert found == "7"


def test_a_process_ends_though_nothing_was_closed(folder: str) -> None:
    python(
        """
        import asyncio, contextlib, sys, threading, triune

        class Slow:
            profile = {"id": "slow", "context_length": 100}
            async def chat(self, request):
                await asyncio.sleep(3600)

        mind = triune.open(sys.argv[1], config={"discover": False}, models=[Slow()])
        events = mind.events()

        def ask():
            # Its call may end with the mind, and a daemon that prints a traceback at exit aborts the interpreter.
            with contextlib.suppress(triune.TriuneError):
                mind.generate("x")

        threading.Thread(target=ask, daemon=True).start()
        for event in events:
            break
        """,
        folder,
    )


def test_a_mind_that_its_own_parts_refer_to_is_collected(folder: str) -> None:
    class Asking:
        name = "asking"
        profile: triune.ModelProfile = {"id": "asking", "context_length": 4096}

        def __init__(self, mind: triune.Triune) -> None:
            self.mind = mind

        def call(self, request: object) -> list[str]:
            return self.mind.recall.namespaces()

        def chat(self, request: triune.ChatRequest) -> str:
            return str(self.mind.recall.namespaces())

        def check(self, artifact: triune.Artifact) -> bool:
            return not self.mind.recall.namespaces()

    mind = triune.open(folder, config={"discover": False})
    part = Asking(mind)
    mind.register_engine(part)
    mind.register_model(part)
    mind.register_gate(part)
    mind.register_function(lambda: mind.recall.namespaces(), name="asking")
    gc.collect()
    assert mind.call("asking", {}) == [] and mind.generate("x").text == "[]" and mind.gate.check("x").passed
    assert mind.parallel.run([triune.Task("a", {"function": "asking"})])["a"].value == []
    gone = weakref.ref(mind)
    del mind, part
    gc.collect()
    assert gone() is None
    assert [text for text in open_files() if folder in text] == []


def open_files() -> list[str]:
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return [os.readlink(link) for link in links if os.path.exists(link)]


def test_the_package_needs_nothing() -> None:
    needs = importlib.metadata.requires("triune") or []
    assert [need for need in needs if "extra ==" not in need] == []


def test_the_command_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "triune", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "triune" in done.stdout
